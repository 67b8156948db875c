//! `torch.package`: an archive of code, resources and pickles, as `PackageExporter` writes it.
//!
//! **Value.** An `OrderedDict` of the pickles by their paths in the package (`model/weights.pkl`), in the order of the archive. A
//! path in it begins with the pickle's, in brackets or not: `model/weights.pkl.fc.weight`. Pickles that TorchScript modules in
//! the package consist of are under `.data/ts_code`. Its attribute `files` lists the names of everything else. The classes of
//! the package's own code are kept as objects; none of the code is run.
//!
//! Packages are not written.

use std::sync::Arc;

use crate::Result;
use crate::container::zip::{Archive, Storages};
use crate::format::add_new;
use crate::{Dict, FileBytes, Format, Key, OpenOptions, Opened, Value};

impl Format {
    /// What `torch.package` writes.
    pub const PACKAGE: Format = Format::named("package");
}

/// Every package says for which Python it was made, and which modules it expects there.
pub(crate) fn is_archive(archive: &Archive) -> bool {
    archive.find(".data/extern_modules").is_some() || archive.find(".data/python_version").is_some()
}

pub(crate) fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let mut storages = Storages::new(archive, file, options)?;
    let (pickles, files): (Vec<&str>, Vec<&str>) =
        archive.names().filter(|name| !name.ends_with('/') && !is_storage(name)).partition(|name| is_pickle(name));
    let root = Dict::ordered();
    let mut globals = Vec::new();
    for name in pickles {
        let unpickled = storages.unpickle(name, record_of)?;
        add_new(&mut globals, unpickled.globals);
        root.write().entries.insert(Key(name.into()), unpickled.value);
    }
    root.write().state = Some(Dict::from_iter([("files", Value::list(files.into_iter().map(Value::from)))]).into());
    let value = Value::from(root);
    Storages::label([&storages], &value);
    Ok(Opened::new(Format::PACKAGE, value, globals, file.len() as u64))
}

fn is_pickle(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| extension == "pkl")
}

fn is_storage(name: &str) -> bool {
    name.starts_with(".data/") && name.ends_with(STORAGE)
}

const STORAGE: &str = ".storage";

/// TorchScript's pickles name the record, Python's its number.
fn record_of(key: &str) -> String {
    format!(".data/{}{STORAGE}", key.strip_suffix(STORAGE).unwrap_or(key))
}
