//! What a run's folder held when it was read: each file's bytes, and how it is told whether its value has changed since.

use indexmap::IndexMap;

use super::json::Style;
use crate::pickle::{self, Dialect, PickleOptions};
use crate::{Dict, FileBytes, Format, Storage, Value};

/// The files of a folder, by the names of their values.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(super) files: IndexMap<String, File>,
}

impl Origin {
    /// The values of a folder that are not as they were, and whether their files hold objects which plain `torch.load` refuses.
    pub(crate) fn changed(&self, root: &Value) -> Vec<(Value, bool)> {
        let entries = root.as_dict().map(Dict::entries).unwrap_or_default();
        let changed = entries.into_iter().filter_map(|(name, value)| {
            let file = name.as_str().and_then(|name| self.files.get(name));
            match file {
                Some(file) if file.still_holds(&value) => None,
                file => Some((value, file.is_some_and(|file| matches!(file.kind, Kind::Checkpoint(_, true))))),
            }
        });
        changed.collect()
    }
}

/// A value of the folder, and what it was read from.
#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: Kind,
    /// The files by their paths in the folder, the one that names the others first.
    pub(super) bytes: Vec<(String, FileBytes)>,
    /// The folders by their paths in the folder, outer before inner.
    pub(super) folders: Vec<String>,
    before: Before,
}

/// How a value was read, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A checkpoint of this format; `true` where it holds objects which plain `torch.load` refuses.
    Checkpoint(Format, bool),
    Json(Style),
    /// An index, and the shards that it names.
    Shards,
    /// Its bytes.
    Bytes,
    Folder,
}

impl File {
    pub(super) fn new(kind: Kind, value: &Value, bytes: Vec<(String, FileBytes)>, folders: Vec<String>) -> Self {
        File { kind, bytes, folders, before: Before::of(value) }
    }

    /// Whether a value is the one that was read, and nothing in it has changed.
    pub(super) fn still_holds(&self, value: &Value) -> bool {
        match (&self.before, Before::of(value)) {
            (Before::Pickled { pickle, storages }, Before::Pickled { pickle: now, storages: these }) => {
                *pickle == now
                    && storages.len() == these.len()
                    && storages.iter().zip(&these).all(|(before, now)| before.same(now))
            }
            (Before::Value(before), Before::Value(now)) => before.id().is_some() && before.id() == now.id(),
            _ => false,
        }
    }
}

/// A value as it was.
#[derive(Debug)]
enum Before {
    /// Its pickle, and the storages that it names. No storage changes while it is there.
    Pickled { pickle: Vec<u8>, storages: Vec<Storage> },
    /// What cannot be pickled.
    Value(Value),
}

impl Before {
    fn of(value: &Value) -> Self {
        let options = PickleOptions { dialect: Dialect::Zip, allow_objects: true };
        match pickle::write(value, &options) {
            Ok(pickled) => Before::Pickled { pickle: pickled.bytes, storages: pickled.storages },
            Err(_) => Before::Value(value.clone()),
        }
    }
}
