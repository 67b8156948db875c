//! State dicts.
use crate::Value;
use indexmap::IndexMap;
/// x
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    #[allow(dead_code)]
    entries: IndexMap<String, Value>,
}
