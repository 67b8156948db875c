//! Whether a checkpoint is whole: every record as it was written, every storage as large as its pickle says, every tensor
//! inside its storage. What `rekindle verify` prints. Problems are collected, so that one damaged record hides no other.

mod finite;
mod records;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;

use crate::container::{self, Opened};
use crate::value::Array;
use crate::value::tensor::Quantizer;
use crate::value::valid;
use crate::{Error, ErrorKind, FileBytes, Format, OpenOptions, Result, ResultExt as _, Tensor, walk};

/// What was compared, and what is wrong.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Files that were looked at.
    pub files: u64,
    /// Records whose checksum was compared.
    pub records: u64,
    /// Records that were written without a checksum: only their sizes are known to be right.
    pub unchecked: u64,
    /// Tensors whose view lies inside its storage.
    pub tensors: u64,
    /// Compressed archives in archives that are too large to be unpacked in memory: they are as they were written, and what is in
    /// them was not looked at.
    pub unopened: Vec<String>,
    /// Everything that is damaged.
    pub problems: Vec<Problem>,
    /// The tensors that hold NaN or infinity, where they were looked for.
    pub not_finite: Vec<NotFinite>,
    /// What a user should know of how it was read ([`Checkpoint::notes`](crate::Checkpoint::notes)).
    pub notes: Vec<String>,
}

/// Something that is damaged.
#[derive(Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The record or file.
    pub place: String,
    /// The first tensor that views it, where it is a storage.
    pub tensor: Option<String>,
    /// The byte of the file where the record begins; for a view that leaves its storage, the byte in the storage that it reaches
    /// for.
    pub offset: Option<u64>,
    /// What is wrong there.
    pub error: Error,
}

/// A tensor or NumPy array that holds NaN or infinity. A complex element counts where one of its parts does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFinite {
    /// The tensor's path.
    pub name: String,
    /// How many of its elements are NaN.
    pub nan: u64,
    /// How many of its elements are infinite.
    pub inf: u64,
    /// How many elements it has.
    pub elements: u64,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether no tensor holds NaN or infinity; true where they were not looked for.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.not_finite.is_empty()
    }

    fn problem(&mut self, place: impl Into<String>, tensor: Option<String>, offset: Option<u64>, error: Error) {
        let place = place.into();
        // A record may be found damaged by its checksum, and again when its tensors are read.
        let text = error.to_string();
        let known = self.problems.iter().any(|problem| {
            problem.error.to_string() == text || tensor.is_some() && problem.tensor == tensor && problem.place == place
        });
        if !known {
            self.problems.push(Problem { place, tensor, offset, error });
        }
    }
}

/// Reads a checkpoint whole and says what is wrong with it; with `finite`, also which tensors hold NaN or infinity. One
/// storage is in memory at a time, and of a mapped file none.
///
/// Where a pickle of the format `zip` describes views that leave their storages, every one is named. In the other formats the
/// reading of a file ends with the first such view.
///
/// # Errors
/// When the file cannot be read, is no checkpoint or of a format that is not supported, or asks for more than the limits
/// allow. Damage is no error here.
///
/// ```
/// # use rekindle_recorder::{Checkpoint, StateDict, Tensor, checkpoint::OpenOptions, verify::verify};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("model.pt");
/// let weight = Tensor::from_vec(&[3], vec![1.0_f32, f32::NAN, f32::INFINITY])?;
/// Checkpoint::from(StateDict::from_iter([("weight", weight)])).save(&path)?;
/// let report = verify(&path, &OpenOptions::default(), true)?;
/// assert!(report.is_sound() && !report.is_finite());
/// assert_eq!((report.not_finite[0].nan, report.not_finite[0].inf), (1, 1));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn verify(path: impl AsRef<Path>, options: &OpenOptions, finite: bool) -> Result<VerifyReport> {
    let path = path.as_ref();
    check(&Input::Path(path), options, finite).in_file(path)
}

/// The same of a checkpoint in memory, whose bytes are shared.
///
/// # Errors
/// As [`verify`], but for the file's name.
pub fn verify_bytes(bytes: impl Into<Bytes>, options: &OpenOptions, finite: bool) -> Result<VerifyReport> {
    check(&Input::Memory(FileBytes::unnamed(bytes.into())), options, finite)
}

/// Where the bytes are.
enum Input<'a> {
    Path(&'a Path),
    Memory(FileBytes),
}

impl Input<'_> {
    fn open(&self, options: &OpenOptions) -> Result<Opened> {
        let open = |options: &OpenOptions| match self {
            Input::Path(path) => container::open(path, options),
            Input::Memory(file) => container::read(file, options),
        };
        let opened = open(options);
        // Of several pickles one has to be said to be read. Here all are.
        match &opened {
            Err(error) if options.nth.is_none() && matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
                open(&options.clone().nth(1)).ok().filter(|first| first.saves > 1).map_or(opened, Ok)
            }
            _ => opened,
        }
    }

    /// Names the file in an error, where there is one.
    fn name(&self, error: Error) -> Error {
        match self {
            Input::Path(path) => error.in_file(path),
            Input::Memory(_) => error,
        }
    }
}

/// As many bytes a tensor take longer to compare with a checksum than the tensor's place takes to be read again.
const LARGE: u64 = 64 << 10;

fn check(input: &Input<'_>, options: &OpenOptions, finite: bool) -> Result<VerifyReport> {
    let report = &mut VerifyReport::default();
    let opened = open(input, options, report)?;
    let saves = opened.as_ref().map_or(1, |opened| opened.saves);
    report.notes = opened.as_ref().map(|opened| opened.notes.clone()).unwrap_or_default();
    if saves > 1 {
        report.notes = vec![format!("the file holds {saves} saves, one behind the other: all are looked at")];
    }
    for nth in 2..=saves {
        let another = open(input, &options.clone().nth(nth), report)?;
        let Some(another) = another else { continue };
        let mut tensors = walk::tensors(&another.value, &options.limits)?;
        let save = format!("save {nth}: ");
        tensors.iter_mut().for_each(|(name, _)| name.insert_str(0, &save));
        check_tensors(input, &tensors, finite, report);
        if finite {
            check_arrays(&another, &save, options, report)?;
        }
    }
    let tensors =
        opened.as_ref().map_or_else(|| Ok(Vec::new()), |opened| walk::tensors(&opened.value, &options.limits))?;
    let first_views = first_views(&tensors);
    match input {
        Input::Path(path) => records::check(path, options, &first_views, report)?,
        Input::Memory(file) => records::check_file(file, "", false, options, &first_views, report),
    }
    // The records of an archive were compared with their checksums just now, all of them: large tensors are not read for that a second
    // time.
    let is_large = |opened: &Opened| opened.bytes / (tensors.len() as u64).max(1) >= LARGE;
    let is_archive =
        opened.as_ref().is_some_and(|opened| opened.format == Format::ZIP && saves == 1 && is_large(opened));
    if is_archive && report.is_sound() && report.records > 0 && report.unopened.is_empty() {
        let compared = input.open(&options.clone().verify(false))?;
        check_tensors(input, &walk::tensors(&compared.value, &options.limits)?, finite, report);
    } else {
        check_tensors(input, &tensors, finite, report);
    }
    if let Some(opened) = opened.filter(|_| finite) {
        check_arrays(&opened, "", options, report)?;
    }
    Ok(std::mem::take(report))
}

/// Counts what is not finite in NumPy arrays, which lie in the pickle: they can be read.
fn check_arrays(opened: &Opened, save: &str, options: &OpenOptions, report: &mut VerifyReport) -> Result<()> {
    walk::walk(&opened.value, &options.limits, &mut |name, value| {
        let Some(array) = Array::of(value) else { return Ok(()) };
        let finite::Counts { nan, inf } = match array.to_tensor() {
            Ok(tensor) => finite::count(&tensor)?,
            Err(_) => {
                let (nan, inf) = array.not_finite();
                finite::Counts { nan, inf }
            }
        };
        if nan > 0 || inf > 0 {
            let elements = array.shape().iter().map(|&length| length as u64).product();
            report.not_finite.push(NotFinite { name: format!("{save}{name}"), nan, inf, elements });
        }
        Ok(())
    })
}

/// Reads every storage, and counts what is not finite.
fn check_tensors(input: &Input<'_>, tensors: &[(String, Tensor)], finite: bool, report: &mut VerifyReport) {
    report.tensors += tensors.len() as u64;
    let (mut read, mut checked) = (HashSet::new(), HashSet::new());
    for (name, tensor) in tensors {
        for part in parts(tensor) {
            let Some(storage) = part.storage() else { continue };
            if !read.insert(storage.id()) {
                continue;
            }
            if let Err(error) = storage.stream(&mut |_| Ok(())) {
                report.problem(storage.name().unwrap_or_default(), Some(name.clone()), None, error);
            }
        }
        // Where indices cannot be read, that was just said. One tensor may have many names.
        let first = checked.insert(tensor.id());
        if first && let Ok(Some(reason)) = valid::refusal(tensor) {
            let storage = parts(tensor).first().and_then(|part| part.storage()?.name()).unwrap_or_default();
            let error = Error::invalid_tensor(name, reason);
            report.problem(storage, Some(name.clone()), None, input.name(error));
        }
        if finite {
            if let Some(Quantizer::PerTensor { scale, .. }) = &tensor.parts().quantizer
                && !scale.is_finite()
            {
                let (nan, inf) = (u64::from(scale.is_nan()), u64::from(scale.is_infinite()));
                report.not_finite.push(NotFinite { name: format!("{name}(scale)"), nan, inf, elements: 1 });
            }
            match finite::count(tensor) {
                Ok(counts) if counts.nan > 0 || counts.inf > 0 => report.not_finite.push(NotFinite {
                    name: name.clone(),
                    nan: counts.nan,
                    inf: counts.inf,
                    elements: tensor.numel() as u64,
                }),
                Ok(_) => {}
                Err(error) => {
                    let storage = tensor.storage().and_then(|storage| storage.name()).unwrap_or_default();
                    report.problem(storage, Some(name.clone()), None, error);
                }
            }
        }
    }
}

/// Opens it in spite of wrong checksums; `None` where it is damaged beyond that.
fn open(input: &Input<'_>, options: &OpenOptions, report: &mut VerifyReport) -> Result<Option<Opened>> {
    let mut options = options.clone().verify(true);
    loop {
        let error = match input.open(&options) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => error,
        };
        let again = options.verify && matches!(error.kind(), ErrorKind::Checksum);
        let (place, offset) = match error.kind() {
            ErrorKind::Checksum | ErrorKind::Damaged { .. } => (error.place(), None),
            ErrorKind::Pickle { offset, .. } => (error.place(), Some(*offset)),
            ErrorKind::Truncated { .. } | ErrorKind::Missing { .. } | ErrorKind::InvalidTensor { .. } => (None, None),
            _ => return Err(error),
        };
        report.problem(place.unwrap_or_default(), None, offset, error);
        if !again {
            return Ok(None);
        }
        options.verify = false;
    }
}

/// The tensors that a tensor consists of: itself, or the parts of a sparse or nested one.
fn parts(tensor: &Tensor) -> Vec<&Tensor> {
    let inside = tensor.parts().data.tensors();
    if inside.is_empty() { vec![tensor] } else { inside }
}

/// The first tensor of each storage by the storage's name.
fn first_views(tensors: &[(String, Tensor)]) -> HashMap<&str, &str> {
    let mut first = HashMap::new();
    for (name, tensor) in tensors {
        for part in parts(tensor) {
            if let Some(storage) = part.storage().and_then(|storage| storage.name()) {
                first.entry(storage).or_insert(&**name);
            }
        }
    }
    first
}
