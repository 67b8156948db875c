//! `MapLocation`: which device tags the storages of a checkpoint get, as `torch.load`'s `map_location` says it. A tag is kept
//! with every storage (`cpu`, `cuda:1`) and tells PyTorch where to put it; here, a tensor lands where its module is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::{Checkpoint, Result, ResultExt as _, StateDict, Value, rebuild};

/// What becomes of the device tags: all the same, by a table, or by a function. Tags that a table or a function does not
/// speak of stay as they are.
///
/// ```
/// # use rekindle_recorder::{Storage, StateDict, Tensor, DType, location::MapLocation, tensor::TensorParts};
/// # let storage = Storage::from_bytes(DType::Float32, vec![0; 4]).with_location("cuda:1");
/// # let tensor = Tensor::new(TensorParts::strided(DType::Float32, vec![1], storage, 0, vec![1]))?;
/// # let state_dict = StateDict::from_iter([("weight", tensor)]);
/// let on_cpu = state_dict.map_location(&"cpu".into())?;
/// let moved = state_dict.map_location(&[("cuda:1", "cuda:0")].into())?;
/// let folded = state_dict.map_location(&MapLocation::with(|tag| tag.starts_with("cuda").then(|| "cuda:0".into())))?;
/// # let tag = |sd: &StateDict| sd.get("weight").unwrap().device().to_owned();
/// # assert_eq!([tag(&on_cpu), tag(&moved), tag(&folded)], ["cpu", "cuda:0", "cuda:0"]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone)]
pub struct MapLocation(Kind);

/// Gives the new tag, or `None` to leave the old.
type Function = dyn Fn(&str) -> Option<String> + Send + Sync;

#[derive(Clone)]
enum Kind {
    All(String),
    Table(HashMap<String, String>),
    Function(Arc<Function>),
}

impl MapLocation {
    /// By a function of the tag; `None` leaves it.
    #[must_use]
    pub fn with(function: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        MapLocation(Kind::Function(Arc::new(function)))
    }

    /// The tag that takes this one's place.
    #[must_use]
    pub fn map(&self, location: &str) -> String {
        let mapped = match &self.0 {
            Kind::All(to) => Some(to.clone()),
            Kind::Table(table) => table.get(location).cloned(),
            Kind::Function(function) => function(location),
        };
        mapped.unwrap_or_else(|| location.to_owned())
    }

    fn value(&self, value: &Value) -> Result<Value> {
        rebuild::relocate(value, |location| Ok(self.map(location)))
    }
}

/// Every storage gets this tag: `map_location="cpu"`.
impl From<&str> for MapLocation {
    fn from(location: &str) -> Self {
        MapLocation(Kind::All(location.to_owned()))
    }
}

/// `map_location={"cuda:1": "cuda:0"}`.
impl<const N: usize> From<[(&str, &str); N]> for MapLocation {
    fn from(table: [(&str, &str); N]) -> Self {
        table.into_iter().collect()
    }
}

impl<A: Into<String>, B: Into<String>> FromIterator<(A, B)> for MapLocation {
    fn from_iter<I: IntoIterator<Item = (A, B)>>(table: I) -> Self {
        MapLocation(Kind::Table(table.into_iter().map(|(from, to)| (from.into(), to.into())).collect()))
    }
}

impl fmt::Debug for MapLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::All(to) => write!(f, "MapLocation({to:?})"),
            Kind::Table(table) => write!(f, "MapLocation({table:?})"),
            Kind::Function(_) => f.write_str("MapLocation(..)"),
        }
    }
}

impl Checkpoint {
    /// A copy with other device tags, which is what a file written from it says. What is shared stays shared, no element is
    /// copied, and this checkpoint stays as it is.
    ///
    /// # Errors
    /// When values nest deeper than can be copied.
    pub fn map_location(&self, location: &MapLocation) -> Result<Checkpoint> {
        location.value(self.root()).map(Checkpoint::from).in_file_if(self.path())
    }
}

impl StateDict {
    /// A copy with other device tags; ties stay ties, and no element is copied.
    ///
    /// # Errors
    /// When values nest deeper than can be copied.
    pub fn map_location(&self, location: &MapLocation) -> Result<StateDict> {
        StateDict::from_value_keep_vars(&location.value(&self.to_value())?)
    }
}
