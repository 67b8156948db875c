//! The files and folders that hold checkpoints. Each format is a module with `detect`, `read` and `write`; what a file is
//! told by its content, never by its extension.

pub mod archives;
pub mod burn_record;
pub mod burnpack;
pub(crate) mod content;
pub mod dcp;
pub mod export;
mod folder;
pub mod hf;
pub(crate) mod kind;
pub mod legacy;
mod named;
pub mod numpy;
pub mod package;
pub mod pickle;
pub mod safetensors;
mod stream;
pub mod tar;
mod template;
pub mod torchscript;
pub mod zip;

use std::path::Path;

#[cfg(doc)]
use crate::ErrorKind;
use crate::io::FileBytes;
use crate::options::{OpenOptions, SaveOptions, SaveReport};
use crate::{Error, Limits, Result, ResultExt as _, Value, io};

pub use kind::{Container, Opened};
pub(crate) use named::listed;

/// A format that is one file: how it is told, and how it is read where it can be.
struct Format {
    container: Container,
    name: &'static str,
    detect: fn(&FileBytes) -> bool,
    read: Option<fn(&FileBytes, &OpenOptions) -> Result<Opened>>,
}

/// The first that fits is taken. Binary signatures come before the formats that are text.
const FORMATS: &[Format] = &[
    Format { container: Container::Zip, name: "a zip archive", detect: zip::detect, read: Some(archives::read) },
    Format {
        container: Container::Legacy,
        name: "a file of torch.save before PyTorch 1.6",
        detect: legacy::detect,
        read: Some(legacy::read),
    },
    Format {
        container: Container::Tar,
        name: "a tar archive of PyTorch 0.1",
        detect: tar::detect,
        read: Some(tar::read),
    },
    Format {
        container: Container::Burnpack,
        name: "a burnpack file",
        detect: burnpack::detect,
        read: Some(burnpack::read),
    },
    Format {
        container: Container::Numpy,
        name: "a NumPy array (.npy)",
        detect: numpy::detect,
        read: Some(numpy::read),
    },
    Format {
        container: Container::Safetensors,
        name: "a safetensors file",
        detect: safetensors::detect,
        read: Some(safetensors::read),
    },
    Format {
        container: Container::BurnRecord,
        name: "a record of Burn",
        detect: burn_record::detect,
        read: Some(burn_record::read),
    },
    Format { container: Container::Hf, name: "an index of shards", detect: hf::detect, read: Some(hf::read_index) },
    Format {
        container: Container::Dcp,
        name: "the metadata of a distributed checkpoint",
        detect: dcp::detect,
        read: Some(dcp::read_metadata),
    },
    Format { container: Container::Pickle, name: "a pickle", detect: pickle::detect, read: Some(pickle::read) },
];

/// A format that is a folder, told by the names in it and by what these files hold.
struct FolderFormat {
    detect: fn(&Path, &[String]) -> bool,
    read: fn(&Path, &OpenOptions) -> Result<Opened>,
}

/// The first that fits is taken. A `.metadata` that is damaged is still a distributed checkpoint's where nothing else fits.
const FOLDERS: &[FolderFormat] = &[
    FolderFormat { detect: dcp::detect_folder, read: dcp::read },
    FolderFormat { detect: |_, names| names.iter().any(|name| hf::detect_name(name)), read: hf::read },
    FolderFormat {
        detect: |_, names| names.iter().any(|name| dcp::shards::detect_name(name)),
        read: dcp::shards::read,
    },
    FolderFormat { detect: |_, names| names.iter().any(|name| name == ".metadata"), read: dcp::read },
];

/// Opens a checkpoint, whatever its format. Tensor bytes are not touched.
///
/// # Errors
/// [`ErrorKind::NotACheckpoint`] when the content is of no known format, [`ErrorKind::Unsupported`] when it is of one that
/// cannot be read, [`ErrorKind::Truncated`] and the like when the file is damaged. Every error names the file.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let opened = if path.is_dir() {
        open_folder(path, options)
    } else {
        FileBytes::open(path).and_then(|f| open_file(&f, options))
    };
    opened.in_file(path)
}

/// Writes a checkpoint in a format.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a format that cannot be written; as the format's own `write` otherwise.
pub fn save(root: &Value, container: Container, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let saved = match container {
        Container::Zip => zip::write(root, path, options),
        Container::Legacy => legacy::write(root, path, options),
        Container::TorchScript => torchscript::write(root, path, options),
        Container::Pt2 => export::write(root, path, options),
        Container::Dcp => dcp::write(root, path, options),
        Container::Hf => hf::write(root, path, options),
        Container::Safetensors => safetensors::write(root, path, options),
        Container::Burnpack => burnpack::write(root, path, options),
        Container::BurnRecord => burn_record::write(root, path, options),
        Container::Numpy => numpy::write(root, path, options),
        Container::Pickle => pickle::write(root, path, options),
        other => Err(Error::unsupported(format!("writing the format '{other}'"))),
    };
    saved.in_file(path)
}

/// The format of an archive that weights are to be put into.
///
/// # Errors
/// When it is none of those that can be a template, or not the one asked for.
pub(crate) fn of_template(template: &Path, asked_for: Option<Container>) -> Result<Container> {
    let find = || {
        let file = FileBytes::open(template)?;
        let container = archives::container_of(&file, &Limits::default())?.filter(|container| {
            matches!(container, Container::TorchScript | Container::Pt2)
                && asked_for.is_none_or(|other| other == *container)
        });
        container.ok_or_else(|| {
            let kind = asked_for.map_or("archive of TorchScript's or torch.export's".to_owned(), |asked_for| {
                format!("archive of the format '{asked_for}'")
            });
            Error::invalid(format!("a template must be an {kind}, this is none"))
        })
    };
    find().in_file(template)
}

fn open_file(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let Some(format) = FORMATS.iter().find(|format| (format.detect)(file)) else {
        return Err(content::describe(file));
    };
    match format.read {
        Some(read) => read(file, options),
        None => Err(unsupported(format.container, format.name)),
    }
}

/// Whether it is of a format that holds no pickles and no archives.
pub(crate) fn has_no_pickles(file: &FileBytes) -> bool {
    let formats = [Container::Safetensors, Container::Burnpack, Container::BurnRecord, Container::Hf];
    FORMATS.iter().any(|format| formats.contains(&format.container) && (format.detect)(file))
}

/// Opens a checkpoint that lies whole inside another file. It is no zip archive again.
fn open_nested(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    if zip::detect(file) {
        return Err(Error::not_a_checkpoint("it is a zip archive in a zip archive"));
    }
    if hf::detect(file) {
        return Err(Error::not_a_checkpoint("it is an index of shards in a zip archive; unpack it beside them"));
    }
    open_file(file, options)
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let names = io::names(path)?;
    let Some(format) = FOLDERS.iter().find(|format| (format.detect)(path, &names)) else {
        let reason = "it is a folder with neither a .metadata file (torch.distributed.checkpoint) nor a model of Hugging \
                      Face's (model.safetensors, *.index.json); name a file in it";
        return Err(Error::not_a_checkpoint(reason));
    };
    (format.read)(path, options)
}

fn unsupported(container: Container, name: &str) -> Error {
    Error::unsupported(format!("reading {name} (format '{container}')"))
}
