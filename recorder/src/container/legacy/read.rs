//! Reading: the pickles in turn, then where the storages are.

use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use crate::container::kind::{Container, Opened};
use crate::container::legacy::storages::Storages;
use crate::container::legacy::{MAGIC, VERSION, detect_bytes};
use crate::container::stream::Stream;
use crate::pickle::KeepIds;
use crate::{Error, Limits, Result, Value};

pub(super) fn read(bytes: Bytes, limits: &Limits) -> Result<Opened> {
    let len = bytes.len() as u64;
    let mut stream = Stream::new(bytes, limits);
    let magic = stream.pickle("the magic number", &mut KeepIds)?;
    if !matches!(&magic, Value::BigInt(number) if **number == BigInt::from(MAGIC)) {
        return Err(Error::damaged("the magic number", "it is another"));
    }
    match stream.pickle("the version of the protocol", &mut KeepIds)? {
        Value::Int(VERSION) => {}
        other => {
            let what = format!("version {other:?} of the format before PyTorch 1.6");
            return Err(Error::unsupported(what).advise(format!("version {VERSION} is read")));
        }
    }
    // All it says is how the machine was; the format does not depend on it.
    stream.pickle("the description of the machine", &mut KeepIds)?;
    let mut storages = Storages::default();
    let value = stream.pickle("the object", &mut storages)?;
    let keys = stream.pickle("the list of storages", &mut KeepIds)?;
    storages.locate(&keys, &value, &mut stream)?;
    let globals = stream.globals().into_iter().collect();
    Ok(Opened { container: Container::Legacy, value, globals, bytes: len })
}

/// The storage in bytes that hold a stream of nothing else, as PyTorch puts it into a plain pickle; `None` where they are
/// something else.
pub(in crate::container) fn storage_in(bytes: &Arc<[u8]>, limits: &Limits) -> Result<Option<Value>> {
    if !detect_bytes(bytes) {
        return Ok(None);
    }
    let opened = read(Bytes::from_owner(Arc::clone(bytes)), limits)?;
    Ok(Some(opened.value).filter(|value| matches!(value, Value::Storage(_))))
}
