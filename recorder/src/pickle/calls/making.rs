//! What the calls that a pickle makes have in common.

use crate::pickle::persistent::PersistentLoad;
use crate::pickle::read::budget::Budget;
use crate::value::identity::ById;
use crate::{DType, Result, Value};

/// What a call needs beside its arguments.
pub(crate) struct Making<'a> {
    pub(crate) budget: Budget<'a>,
    pub(crate) ids: &'a mut dyn PersistentLoad,
    /// The element type that the latest persistent id named for a storage, where it is not the storage's own.
    pub(crate) storage_types: ById<Option<DType>>,
}

/// Makes a value of arguments; `None` where they are not as expected.
pub(crate) type Make = fn(&[Value], &mut Making<'_>) -> Result<Option<Value>>;
