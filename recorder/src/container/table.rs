//! The table of formats: a row says how a format is told, read and written, and what it keeps. Files and folders are opened
//! and saved by way of it.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::container::keeps::{Keeps, Values};
use crate::container::ranks::{deepspeed, llama, others};
use crate::container::run_folder::origin::Origin;
use crate::container::zip::{self, Archive};
use crate::container::{
    appended, burn_record, burnpack, content, dcp, export, hf, legacy, numpy, package, packed, pickle, run_folder,
    safetensors, tar, torchscript, transfer, values, weights_only,
};
use crate::format::HEAD;
use crate::io::{self, FileBytes, Ranges, Ready};
use crate::{
    Error, ErrorKind, Format, Limits, OpenOptions, Opened, Result, ResultExt as _, SaveOptions, SaveReport, Value,
};

/// Everything about a format that is not its own module's.
struct Row {
    format: Format,
    /// The extensions that ask for it where a checkpoint is saved. All others (`.pt`, `.pth`, `.ckpt`, `.bin`, `.tar`, ...) ask
    /// for that of `torch.save`.
    extensions: &'static [&'static str],
    /// Its forms, each with how it is told and read.
    forms: &'static [Form],
    /// `None` where it is read alone.
    write: Option<fn(&Value, &Path, &SaveOptions) -> Result<SaveReport>>,
    /// The same of a value that nobody else needs, with what is called between pieces, where tensors are let go of one by one.
    letting_go: Option<fn(Value, &Path, &SaveOptions, &mut dyn FnMut()) -> Result<SaveReport>>,
    /// The same into a stream, where it is one file.
    ready: Option<for<'a> fn(&'a Value, &SaveOptions) -> Result<Ready<'a>>>,
    /// Whether weights can be put into a copy of one of its archives.
    template: bool,
    keeps: Keeps,
}

/// A form in which a format comes: how it is told, and how it is then read.
enum Form {
    File(Sign, fn(&FileBytes) -> bool, fn(&FileBytes, &OpenOptions) -> Result<Opened>),
    /// A zip archive, told by the names of its records.
    Archive(Sign, fn(&Archive) -> bool, fn(&Arc<Archive>, &FileBytes, &OpenOptions) -> Result<Opened>),
    /// A folder, told by the names in it and by what these files hold.
    Folder(Sign, fn(&Path, &[String]) -> bool, fn(&Path, &OpenOptions) -> Result<Opened>),
}

/// How much it says that a form was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It is nothing else.
    Sure,
    /// It is this where there is no sure sign of another form, and no weak one of a form before it.
    Weak,
}
use Form::{Archive as InZip, File, Folder};
use Sign::{Sure, Weak};

/// What most rows have.
const ROW: Row = Row {
    format: Format::ZIP,
    extensions: &[],
    forms: &[],
    write: None,
    letting_go: None,
    ready: None,
    template: false,
    keeps: Keeps::ALL,
};

static FORMATS: &[Row] = &[
    Row {
        format: Format::ZIP,
        forms: &[InZip(Weak, zip::is_archive, zip::read)],
        write: Some(zip::write),
        letting_go: Some(zip::write_letting_go),
        ready: Some(zip::ready_for_stream),
        ..ROW
    },
    Row {
        format: Format::LEGACY,
        forms: &[File(Sure, legacy::detect, legacy::read)],
        write: Some(legacy::write),
        ready: Some(legacy::ready),
        ..ROW
    },
    Row { format: Format::TAR, forms: &[File(Sure, tar::detect, tar::read)], ..ROW },
    // A package may hold a `data.pkl` of its own.
    Row {
        format: Format::PACKAGE,
        forms: &[InZip(Sure, package::is_archive, package::read)],
        keeps: Keeps::PROGRAMS,
        ..ROW
    },
    Row {
        format: Format::TORCHSCRIPT,
        forms: &[InZip(Sure, torchscript::is_archive, torchscript::read)],
        write: Some(torchscript::write),
        template: true,
        keeps: Keeps::PROGRAMS,
        ..ROW
    },
    Row {
        format: Format::PT2,
        extensions: &["pt2"],
        forms: &[InZip(Weak, export::is_archive, export::read)],
        write: Some(export::write),
        template: true,
        keeps: Keeps::PROGRAMS,
        ..ROW
    },
    Row {
        format: Format::DCP,
        forms: &[
            Folder(Sure, dcp::detect_around, |folder, options| dcp::read_folder(folder, options, read_plain)),
            Folder(Weak, dcp::detect_shards, dcp::read_shards),
            // A `.metadata` that is damaged is still a distributed checkpoint's where nothing else fits.
            Folder(Weak, |_, names| names.iter().any(|name| name == dcp::METADATA), dcp::read),
            File(Weak, dcp::detect, dcp::read_metadata),
        ],
        write: Some(dcp::write),
        keeps: dcp::TARGET.keeps,
        ..ROW
    },
    Row {
        format: Format::RUN_FOLDER,
        forms: &[Folder(Sure, run_folder::detect, |folder, options| run_folder::read(folder, options, read_plain))],
        write: Some(|root, path, options| run_folder::write(root, None, path, options, save)),
        ..ROW
    },
    Row {
        format: Format::DEEPSPEED,
        forms: &[Folder(Sure, deepspeed::detect, |folder, options| deepspeed::read(folder, options, read_plain))],
        ..ROW
    },
    Row {
        format: Format::LLAMA,
        forms: &[Folder(Weak, llama::detect, |folder, options| llama::read(folder, options, read_plain))],
        ..ROW
    },
    Row {
        format: Format::HF,
        forms: &[
            Folder(
                Sure,
                |_, names| names.iter().any(|name| hf::detect_name(name)),
                |folder, options| hf::read(folder, options, read),
            ),
            Folder(Weak, hf::detect_shards, |folder, options| hf::read(folder, options, read)),
            File(Weak, hf::detect, |file, options| hf::read_index(file, options, read)),
        ],
        write: Some(hf::write),
        keeps: safetensors::TARGET.keeps,
        ..ROW
    },
    Row {
        format: Format::SAFETENSORS,
        extensions: &["safetensors"],
        forms: &[File(Sure, safetensors::detect, safetensors::read)],
        write: Some(safetensors::write),
        ready: Some(safetensors::ready),
        keeps: safetensors::TARGET.keeps,
        ..ROW
    },
    Row {
        format: Format::BURNPACK,
        extensions: &["bpk"],
        forms: &[File(Sure, burnpack::detect, burnpack::read)],
        write: Some(burnpack::write),
        ready: Some(burnpack::ready),
        keeps: burnpack::TARGET.keeps,
        ..ROW
    },
    Row {
        format: Format::BURN_RECORD,
        forms: &[File(Sure, burn_record::detect, burn_record::read)],
        write: Some(burn_record::write),
        keeps: Keeps { pickles: false, ..Keeps::ALL },
        ..ROW
    },
    Row {
        format: Format::NUMPY,
        extensions: &["npy", "npz"],
        forms: &[File(Sure, numpy::detect, numpy::read), InZip(Sure, numpy::is_archive, numpy::read_archive)],
        write: Some(numpy::write),
        ready: Some(numpy::ready),
        keeps: numpy::NPZ.keeps,
        ..ROW
    },
    // Those of protocols 0 and 1 have no signature.
    Row {
        format: Format::PICKLE,
        forms: &[File(Weak, pickle::detect, pickle::read)],
        write: Some(pickle::write),
        ready: Some(pickle::ready),
        ..ROW
    },
];

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        FORMATS.iter().map(|row| row.format).find(|format| format.name() == name).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|row| row.format.name()).collect();
            Error::invalid(format!("'{name}' is no checkpoint format; one of {} is expected", names.join(", ")))
        })
    }
}

/// The first form with a sure sign, else the first with a weak one; `told` looks for them and gives what is then done.
fn find<T>(told: impl Fn(&'static Form, Sign) -> Option<T>) -> Option<(&'static Row, T)> {
    let forms = || FORMATS.iter().flat_map(|row| row.forms.iter().map(move |form| (row, form)));
    [Sure, Weak].into_iter().find_map(|sign| forms().find_map(|(row, form)| Some((row, told(form, sign)?))))
}

type ReadArchive = fn(&Arc<Archive>, &FileBytes, &OpenOptions) -> Result<Opened>;

fn find_archive(archive: &Archive) -> Option<(&'static Row, ReadArchive)> {
    find(|form, sign| match form {
        InZip(of, detect, read) if *of == sign && detect(archive) => Some(*read),
        _ => None,
    })
}

/// Opens a checkpoint, whatever its format. Tensor bytes are not touched.
///
/// # Errors
/// [`ErrorKind::NotACheckpoint`] when the content is of no known format, [`ErrorKind::Truncated`] and the like when the file is damaged. Every error names the file.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let opened = if path.is_dir() {
        match options.nth {
            None | Some(1) => {
                let options = OpenOptions { nth: None, ..options.clone() };
                io::read_steadily(path, || open_folder(path, &options))
            }
            Some(_) => Err(Error::invalid("it is a folder, and `OpenOptions::nth` is for the saves in one file")),
        }
    } else {
        FileBytes::open(path).and_then(|file| read(&file, options))
    };
    opened.in_file(path)
}

/// Reads a checkpoint part by part: of a zip archive its directory and its pickles, of a file of safetensors its header; a tensor
/// when it is asked for. `None` where all of it has to be read: in other formats, in an archive that other bytes follow, and where
/// one of several saves is meant.
///
/// # Errors
/// As [`open`], without the file's name, and when a part cannot be had.
pub(crate) fn read_ranges(name: &Path, ranges: &Arc<dyn Ranges>, options: &OpenOptions) -> Result<Option<Opened>> {
    if options.nth.is_some() {
        return Ok(None);
    }
    let file = FileBytes::from_vec(&name.to_string_lossy(), Vec::new());
    let head = file.within(ranges.read(0..ranges.len().min(HEAD))?);
    if safetensors::detect(&head) {
        return safetensors::read_ranges(ranges, options).map(Some);
    }
    if !zip::detect(&head) {
        return Ok(None);
    }
    let archive = match Archive::of_ranges(ranges, &options.limits) {
        Ok(archive) => Arc::new(archive),
        // It may be several, or be damaged: whoever has all of it can tell.
        Err(error) if matches!(error.kind(), ErrorKind::Truncated { .. } | ErrorKind::Damaged { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some((_, read)) = find_archive(&archive) else { return Ok(None) };
    read(&archive, &file, options).map(|opened| Some(Opened { bytes: ranges.len(), ..opened }))
}

/// Reads an index of shards that may be read part by part.
pub(crate) fn read_index_of_ranges(
    index: &Path,
    place: &dyn Fn(&str) -> Option<hf::Place>,
    options: &OpenOptions,
) -> Result<Opened> {
    let file = FileBytes::open(index)?;
    let opened = hf::read_index_of_ranges(&file, place, options, read, read_ranges).in_file(index)?;
    Ok(Opened { format: Format::HF, ..opened })
}

/// Reads the checkpoint in a file. Of a zip archive only the directory and the pickle are touched; a storage's record is
/// read, and compared with its checksum, when the storage is.
///
/// # Errors
/// As [`open`], without the file's name.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    read_any(file, options).map_err(|error| transfer::blame(error, file))
}

fn read_any(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    if let Some(opened) = read_format(file, options)? {
        return Ok(opened);
    }
    match packed::members(file, options)? {
        Some(packed) => packed.read(file, options, |member, options| {
            // An index lies beside its shards.
            if hf::detect(member) { Ok(None) } else { read_format(member, options) }
        }),
        None => Err(content::describe(file)),
    }
}

/// Reads a file of one of the formats; `None` for any other. Of several saves one behind the other the first is read, or the one
/// that the options say.
fn read_format(file: &FileBytes, options: &OpenOptions) -> Result<Option<Opened>> {
    let bytes = file.len() as u64;
    if let Some(nth) = options.nth {
        let saves = appended::saves(file, &options.limits);
        // Whatever is no save is one.
        let saves = if saves.is_empty() { vec![file.clone()] } else { saves };
        let Some(save) = nth.checked_sub(1).and_then(|place| saves.get(place)) else {
            let count = saves.len();
            let error = Error::invalid(format!(
                "the file holds {count} save{}, and number {nth} was asked for",
                if count == 1 { "" } else { "s" }
            ));
            return Err(error.advise(format!("say one of 1 to {count} with `OpenOptions::nth`")));
        };
        let opened = read_one(save, options)?;
        return Ok(opened.map(|opened| Opened { bytes, saves: saves.len(), ..opened }));
    }
    let several = if zip::detect(file) { appended::first_archive(file, &options.limits) } else { None };
    if let Some((first, saves)) = several {
        let Some(opened) = read_one(&first, options)? else { return Ok(None) };
        return Ok(Some(with_saves(opened, saves, bytes)));
    }
    let Some(opened) = read_one(file, options)? else { return Ok(None) };
    let behind = opened.end.filter(|end| *end < file.len()).map(|end| file.within(file.bytes().slice(end..)));
    let saves = behind.map_or(0, |rest| appended::behind(&rest, &options.limits).len()) + 1;
    Ok(Some(if saves > 1 { with_saves(opened, saves, bytes) } else { opened }))
}

/// The first of several saves, of which the user is told.
fn with_saves(opened: Opened, saves: usize, bytes: u64) -> Opened {
    let mut notes = opened.notes;
    notes.push(appended::note(saves));
    Opened { bytes, notes, saves, ..opened }
}

/// Reads a file of one of the formats that is one save.
fn read_one(file: &FileBytes, options: &OpenOptions) -> Result<Option<Opened>> {
    if zip::detect(file) {
        let archive = Arc::new(Archive::open(file.bytes(), &options.limits)?);
        return find_archive(&archive).map(|(_, read)| read(&archive, file, options)).transpose();
    }
    let found = find(|form, sign| match form {
        File(of, detect, read) if *of == sign && detect(file) => Some(read),
        _ => None,
    });
    match found {
        Some((_, read)) => read(file, options).map(Some),
        None => Ok(None),
    }
}

/// Reads a file of one of the formats, and looks into no other archive.
fn read_plain(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    read_format(file, options)?.ok_or_else(|| content::describe(file))
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let names = io::names(path)?;
    let found = find(|form, sign| match form {
        Folder(of, detect, read) if *of == sign && detect(path, &names) => Some(read),
        _ => None,
    });
    if let Some((_, read)) = found {
        return read(path, options);
    }
    if zip::is_unpacked(path, &names) {
        let (archive, file) = zip::open_unpacked(path, options)?;
        if let Some((_, read)) = find_archive(&archive) {
            let bytes = archive.size();
            return read(&Arc::new(archive), &file, options).map(|opened| Opened { bytes, ..opened });
        }
    }
    if let Some(error) = others::refused(path, &names) {
        return Err(error);
    }
    let reason = "it is a folder with neither a .metadata file (torch.distributed.checkpoint), nor a model of Hugging \
                  Face's (model.safetensors, *.index.json), nor shards of DeepSpeed's or Llama's, nor the files of an archive \
                  (data.pkl, data/0); name a file in it";
    Err(Error::not_a_checkpoint(reason))
}

/// Writes a checkpoint in a format.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a format that cannot be written; as the format's own `write` otherwise.
pub fn save(root: &Value, format: Format, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let saved = match row(format).write {
        Some(write) => taken(root, format, options, |root| write(root, path, options)),
        None => Err(Error::unsupported(format!("writing the format '{format}'"))),
    };
    saved.in_file(path)
}

/// Whether a format is written so that tensors are let go of one by one, all of a value as it is.
pub(crate) fn lets_go(format: Format, options: &SaveOptions) -> bool {
    row(format).letting_go.is_some() && !options.weights_only
}

/// Writes a checkpoint that nobody else needs, with what is called between pieces.
///
/// # Errors
/// As [`save`].
pub(crate) fn save_letting_go(
    root: Value,
    format: Format,
    path: &Path,
    options: &SaveOptions,
    between: &mut dyn FnMut(),
) -> Result<SaveReport> {
    let saved = match row(format).letting_go {
        Some(write) => write(root, path, options, between),
        None => return save(&root, format, path, options),
    };
    saved.in_file(path)
}

/// Writes all of a value, or what plain `torch.load` takes of it where the options say so; into a file of nothing but tensors with
/// the other values in its metadata, where they say that.
fn taken(
    root: &Value,
    format: Format,
    options: &SaveOptions,
    write: impl FnOnce(&Value) -> Result<SaveReport>,
) -> Result<SaveReport> {
    let write = |root: &Value| match (options.values && keeps(format).values != Values::All, format) {
        (false, _) => write(root),
        (true, Format::SAFETENSORS | Format::BURNPACK) => write(&values::packed(root, options.allow_objects)?),
        (true, _) => {
            let error = Error::unsupported(format!("keeping all values in the format '{format}'"));
            Err(error.advise("name safetensors or burnpack, or a format that holds them anyway, such as zip"))
        }
    };
    if !options.weights_only {
        return write(root);
    }
    let (root, notes) = weights_only::of(root)?;
    let mut report = write(&root)?;
    report.notes.splice(0..0, notes);
    Ok(report)
}

/// Whether a format is a single file, which can be written to a stream.
pub(crate) fn is_streamed(format: Format) -> bool {
    row(format).ready.is_some()
}

/// Writes a checkpoint in a format to a stream.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a format that is no single file, or needs another file; else as [`save`].
pub(crate) fn write_to(
    root: &Value,
    format: Format,
    out: &mut dyn std::io::Write,
    options: &SaveOptions,
) -> Result<SaveReport> {
    match row(format).ready {
        Some(ready) => taken(root, format, options, |root| ready(root, options)?.write_to(out)),
        None => {
            let error = Error::unsupported(format!("writing the format '{format}' to a stream"));
            Err(error.advise("name a file or a folder"))
        }
    }
}

/// Writes a run's folder, with what is as it was in the one that it came from copied.
///
/// # Errors
/// As [`save`].
pub(crate) fn save_folder(root: &Value, origin: &Origin, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    taken(root, Format::RUN_FOLDER, options, |root| run_folder::write(root, Some(origin), path, options, save))
        .in_file(path)
}

/// What a format keeps of a checkpoint.
pub(crate) fn keeps(format: Format) -> Keeps {
    row(format).keeps
}

/// The format that an extension asks for where a checkpoint is saved.
pub(crate) fn of_extension(extension: &str) -> Option<Format> {
    let asks = |row: &&Row| row.extensions.iter().any(|name| extension.eq_ignore_ascii_case(name));
    FORMATS.iter().find(asks).map(|row| row.format)
}

/// The format of an archive that weights are to be put into.
///
/// # Errors
/// When it is none of those that can be a template, or not the one asked for.
pub(crate) fn of_template(template: &Path, asked_for: Option<Format>) -> Result<Format> {
    let find = || {
        let file = FileBytes::open(template)?;
        let archive = zip::detect(&file).then(|| Archive::open(file.bytes(), &Limits::default())).transpose()?;
        let row = archive.and_then(|archive| find_archive(&archive)).map(|(row, _)| row);
        let row = row.filter(|row| row.template && asked_for.is_none_or(|other| other == row.format));
        row.map(|row| row.format).ok_or_else(|| {
            let kind = asked_for.map_or("archive of TorchScript's or torch.export's".to_owned(), |asked_for| {
                format!("archive of the format '{asked_for}'")
            });
            Error::invalid(format!("a template must be an {kind}, this is none"))
        })
    };
    find().in_file(template)
}

/// Whether it is of a format that holds no pickles and no archives.
pub(crate) fn has_no_pickles(file: &FileBytes) -> bool {
    let detects = |form: &Form| matches!(form, File(_, detect, _) if detect(file));
    FORMATS.iter().any(|row| !row.keeps.pickles && row.forms.iter().any(detects))
}

fn row(format: Format) -> &'static Row {
    // A format has its name from the module that its row is of.
    FORMATS.iter().find(|row| row.format == format).unwrap_or(&ROW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_formats_and_back() {
        for Row { format, .. } in FORMATS {
            assert_eq!(format.name().parse::<Format>().unwrap(), *format);
            assert_eq!(row(*format).format, *format);
        }
        assert!("zap".parse::<Format>().unwrap_err().to_string().contains("zip, legacy"));
    }
}
