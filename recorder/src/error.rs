//! `Error`: what went wrong, in which file and where in it, and what to do about it, as one sentence. Whoever finds a fault says
//! what it is; whoever called adds on the way up where it is: [`Error::at`], [`Error::in_file`].
//!
//! Advice names options of this library, in backticks and as they are called: `` `OpenOptions::verify(false)` ``. A program with
//! flags can put these in their place.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::printable::printable;
use crate::run::question::Question;
use crate::source::error::FetchError;
use crate::state_dict::report::LoadReport;

/// The result of reading, changing or writing a checkpoint.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the recorder: small to return, rich to read.
///
/// `Display` gives one sentence: the file where one is known, the places in it from the outside in, what is wrong, what to do.
/// `Debug` gives the same, so that a `main` that returns an error prints it. [`Error::kind`] tells errors apart.
///
/// ```
/// # use rekindle_recorder::{Error, Result, ResultExt as _};
/// fn epoch() -> Result<u64> {
///     Err(Error::unsupported("an epoch in Roman numerals").advise("write it in digits"))
/// }
///
/// let error = epoch().at("the header").in_file("run.pt").unwrap_err();
/// let sentence = "run.pt: the header: an epoch in Roman numerals is not supported; write it in digits";
/// assert_eq!(error.to_string(), sentence);
/// assert_eq!(format!("{error:?}"), sentence);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    file: Option<PathBuf>,
    /// Where in the file, the innermost first.
    places: Vec<String>,
    /// The tensor that it is about, or whose elements lie at the innermost place.
    tensor: Option<String>,
    kind: ErrorKind,
    advice: Option<Cow<'static, str>>,
}

/// What kind of error it is. Where it is stands in the [`Error`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused.
    #[non_exhaustive]
    Io {
        /// What was being done, such as `cannot open the file`.
        doing: &'static str,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The bytes are of no container that is known.
    #[non_exhaustive]
    NotACheckpoint {
        /// What the file looks like instead.
        reason: String,
    },
    /// The file ends too early.
    #[non_exhaustive]
    Truncated {
        /// What is missing.
        reason: String,
    },
    /// A file that belongs to the checkpoint is not there.
    #[non_exhaustive]
    Missing {
        /// Which, and what names it: a sentence.
        what: String,
    },
    /// A container's structure contradicts itself.
    #[non_exhaustive]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// The bytes of a record are not those that were written.
    Checksum,
    /// A pickle that cannot be read.
    #[non_exhaustive]
    Pickle {
        /// Where in the pickle.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Reading would cost more than the limits allow.
    #[non_exhaustive]
    Limit {
        /// What would be exceeded, with the amount asked for.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Something PyTorch can do that is not supported here.
    #[non_exhaustive]
    Unsupported {
        /// What is not supported.
        what: String,
    },
    /// A name that is not there.
    #[non_exhaustive]
    MissingKey {
        /// The path that was asked for.
        key: String,
    },
    /// A value of another type than was asked for.
    #[non_exhaustive]
    WrongType {
        /// What is expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor whose view does not fit its storage, or whose parts contradict each other.
    #[non_exhaustive]
    InvalidTensor {
        /// What the tensor looks like, for when nothing says where it is.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A state dict does not match a model; the report lists every key.
    Mismatch(Box<LoadReport>),
    /// A value that plain `torch.load` would refuse to open.
    #[non_exhaustive]
    Refused {
        /// What it is.
        what: String,
    },
    /// A source could not be fetched.
    Fetch(Box<FetchError>),
    /// A checkpoint leaves something open, which has to be told before the first step.
    Open(Vec<Question>),
    /// The target exists and was not to be replaced.
    Exists,
    /// Whatever else is wrong with what the caller asked for.
    Invalid(String),
}

/// What is wrong, said behind the place.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Io { doing, source } => write!(f, "{doing}: {source}"),
            ErrorKind::NotACheckpoint { reason } => write!(f, "this is not a checkpoint: {reason}"),
            ErrorKind::Truncated { reason } => write!(f, "the file is cut off: {reason}"),
            ErrorKind::Missing { what } => f.write_str(what),
            ErrorKind::Damaged { reason } => write!(f, "{reason}; the file is damaged"),
            ErrorKind::Checksum => f.write_str("checksum mismatch"),
            ErrorKind::Pickle { offset, reason } => write!(f, "byte {offset}: {reason}"),
            ErrorKind::Limit { what, limit } => write!(f, "{what} exceeds the limit of {limit}"),
            ErrorKind::Unsupported { what } => write!(f, "{what} is not supported"),
            ErrorKind::MissingKey { key } => write!(f, "there is no '{key}'"),
            ErrorKind::WrongType { expected, found } => write!(f, "{found}, where {expected} is expected"),
            ErrorKind::InvalidTensor { reason, .. } | ErrorKind::Invalid(reason) => f.write_str(reason),
            ErrorKind::Mismatch(report) => write!(f, "{report}"),
            ErrorKind::Open(questions) => {
                let sentences: Vec<_> = questions.iter().map(ToString::to_string).collect();
                f.write_str(&sentences.join("\n"))
            }
            ErrorKind::Refused { what } => write!(f, "{what}, which plain torch.load refuses"),
            ErrorKind::Fetch(error) => write!(f, "{error}"),
            ErrorKind::Exists => f.write_str("the file exists already"),
        }
    }
}

impl ErrorKind {
    /// What stands for the place where none is known, in sentences that need one.
    fn subject(&self) -> Option<&str> {
        match self {
            ErrorKind::WrongType { .. } => Some("the value"),
            ErrorKind::Refused { .. } => Some("the root"),
            ErrorKind::InvalidTensor { tensor, .. } => Some(tensor),
            ErrorKind::Pickle { .. } => Some("the pickle"),
            _ => None,
        }
    }

    /// What to do about any error of this kind.
    fn advice(&self) -> Option<&'static str> {
        match self {
            ErrorKind::Truncated { .. } => Some("copy or download it again"),
            ErrorKind::Missing { .. } => {
                Some("copy or download it again, or pass `OpenOptions::lenient(true)` to read the rest")
            }
            ErrorKind::Checksum => {
                Some("the file is damaged, restore it or pass `OpenOptions::verify(false)` to read it anyway")
            }
            ErrorKind::Limit { .. } => Some("raise it in `Limits` if the file is to be trusted"),
            ErrorKind::Refused { .. } => Some(
                "take it out, or pass `SaveOptions::weights_only(true)` to leave out all that it refuses, or \
                      `SaveOptions::allow_objects(true)` to write it all the same",
            ),
            ErrorKind::Fetch(error) => error.advice(),
            ErrorKind::Exists => Some("pass `SaveOptions::overwrite(true)` to replace it"),
            _ => None,
        }
    }
}

impl Error {
    /// An error of this kind, of which nothing says yet where it is.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { file: None, places: Vec::new(), tensor: None, kind, advice: None }))
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The file that it is about, where one is known.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Where in the file it is, from the outside in: records, items, keys; empty where nothing is known.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.places.iter().rev().map(String::as_str)
    }

    /// The places in one line, as the sentence has them, with the tensor where one is known.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let line = self.places().collect::<Vec<_>>().join(", ");
        match &self.0.tensor {
            None => Some(line).filter(|line| !line.is_empty()),
            Some(tensor) if line.is_empty() => Some(tensor.clone()),
            Some(tensor) => Some(format!("{line} ({tensor})")),
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref().or_else(|| self.0.kind.advice())
    }

    /// The same error, with a place around those that it has.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.places.push(place.to_string());
        self
    }

    /// The same error, said of this file. A file that is named already stays.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_owned());
        self
    }

    /// The same, where there is a file.
    #[must_use]
    pub fn in_file_if(self, file: Option<&Path>) -> Self {
        file.into_iter().fold(self, Error::in_file)
    }

    /// The same error, said of this file in the place of a copy of it.
    pub(crate) fn instead_in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file = Some(file.as_ref().to_owned());
        self
    }

    /// The same error with a sentence about what to do: small letters, no full stop.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// The same error, said of this tensor. A tensor that is named already stays.
    #[must_use]
    pub fn of_tensor(mut self, tensor: impl Into<String>) -> Self {
        self.0.tensor.get_or_insert_with(|| tensor.into());
        self
    }

    /// The same error, of a file that lies in another at this place: where it is cut off or no checkpoint, the other is damaged.
    pub(crate) fn inside(mut self, place: impl fmt::Display) -> Self {
        self.0.kind = match self.0.kind {
            ErrorKind::Truncated { reason } | ErrorKind::NotACheckpoint { reason } => ErrorKind::Damaged { reason },
            kind => kind,
        };
        self.at(place)
    }

    pub(crate) fn damaged(place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Error::new(ErrorKind::Damaged { reason: reason.into() }).at(place)
    }

    pub(crate) fn truncated(reason: impl Into<String>) -> Self {
        ErrorKind::Truncated { reason: reason.into() }.into()
    }

    pub(crate) fn missing(what: impl Into<String>) -> Self {
        ErrorKind::Missing { what: what.into() }.into()
    }

    pub(crate) fn limit(what: impl Into<String>, limit: u64) -> Self {
        ErrorKind::Limit { what: what.into(), limit }.into()
    }

    /// A file that is no checkpoint.
    #[must_use]
    pub fn not_a_checkpoint(reason: impl Into<String>) -> Self {
        ErrorKind::NotACheckpoint { reason: reason.into() }.into()
    }

    /// Something that is not supported here.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        ErrorKind::Unsupported { what: what.into() }.into()
    }

    /// A name that is not there.
    #[must_use]
    pub fn missing_key(key: impl Into<String>) -> Self {
        ErrorKind::MissingKey { key: key.into() }.into()
    }

    /// The value at this place is of another type than is expected.
    #[must_use]
    pub fn wrong_type(place: impl fmt::Display, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::new(ErrorKind::WrongType { expected: expected.into(), found: found.into() }).at(place)
    }

    /// A tensor of this name that does not fit its storage, or whose parts contradict each other.
    #[must_use]
    pub fn invalid_tensor(name: impl fmt::Display, reason: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidTensor { tensor: "a tensor".to_owned(), reason: reason.into() }).at(name)
    }

    /// Whatever else is wrong with what the caller asked for.
    #[must_use]
    pub fn invalid(reason: impl Into<String>) -> Self {
        ErrorKind::Invalid(reason.into()).into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error::new(kind)
    }
}

/// Names and texts out of files are written so that a terminal may show them.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{}: ", printable(&file.display().to_string()))?;
        }
        let kind = &self.0.kind;
        if let Some(place) = self.place().as_deref().or_else(|| kind.subject()) {
            let link = match kind {
                ErrorKind::WrongType { .. } | ErrorKind::Refused { .. } => " is ",
                ErrorKind::Pickle { .. } => ", ",
                _ => ": ",
            };
            write!(f, "{}{link}", printable(place))?;
        }
        match kind {
            // These have lines of their own.
            ErrorKind::Mismatch(_) | ErrorKind::Open(_) => write!(f, "{kind}")?,
            kind => f.write_str(&printable(&kind.to_string()))?,
        }
        self.advice().map_or(Ok(()), |advice| write!(f, "; {}", printable(advice)))
    }
}

crate::debug_is_display!(Error);

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What is known of where an error is, said of a result: `format_args!` costs nothing where there is no error.
#[allow(clippy::missing_errors_doc)] // the error is that of the result
pub trait ResultExt<T>: Sized {
    /// As [`Error::at`].
    fn at(self, place: impl fmt::Display) -> Result<T>;

    /// As [`Error::of_tensor`].
    fn of_tensor(self, tensor: impl Into<String>) -> Result<T>;

    /// As [`Error::in_file`].
    fn in_file(self, file: impl AsRef<Path>) -> Result<T>;

    /// As [`Error::in_file_if`].
    fn in_file_if(self, file: Option<&Path>) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().at(place))
    }

    fn of_tensor(self, tensor: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.into().of_tensor(tensor))
    }

    fn in_file(self, file: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| error.into().in_file(file))
    }

    fn in_file_if(self, file: Option<&Path>) -> Result<T> {
        self.map_err(|error| error.into().in_file_if(file))
    }
}

/// What the system was asked to do when it refused.
#[allow(clippy::missing_errors_doc)] // the error is that of the result
pub trait IoResultExt<T> {
    /// [`ErrorKind::Io`], with words such as `cannot open the file`.
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> IoResultExt<T> for std::io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| ErrorKind::Io { doing, source }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_added_around_the_others_and_a_file_once() {
        let error = Error::damaged("record data/0", "it is missing").at("'lr' at byte 8").of_tensor("fc.weight");
        let error = error.in_file("a.distcp").in_file("folder");
        let sentence = "a.distcp: 'lr' at byte 8, record data/0 (fc.weight): it is missing; the file is damaged";
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.places().collect::<Vec<_>>(), ["'lr' at byte 8", "record data/0"]);
        assert_eq!(error.file(), Some(Path::new("a.distcp")));
    }

    #[test]
    fn a_place_is_the_subject_where_there_is_one() {
        let refused = || Error::from(ErrorKind::Refused { what: "a function".to_owned() });
        assert!(
            refused().to_string().starts_with("the root is a function, which plain torch.load refuses; take it out")
        );
        assert!(refused().at("model.hook").at("'m'").to_string().starts_with("'m', model.hook is a function"));
        let wrong = Error::wrong_type("epoch", "an int", "a str");
        assert_eq!(wrong.to_string(), "epoch is a str, where an int is expected");
    }

    #[test]
    fn nothing_of_a_files_own_reaches_a_terminal_as_it_is() {
        let name = "red\u{1b}[31m\nx\u{202e}\u{9b}";
        let shown = r"red\x1b[31m\nx\u202e\x9b";
        let error = Error::missing_key(name).at(name).of_tensor(name).advise(format!("did you mean '{name}'?"));
        let error = error.in_file(name).to_string();
        assert_eq!(error, format!("{shown}: {shown} ({shown}): there is no '{shown}'; did you mean '{shown}'?"));
        let mut report = LoadReport::default();
        report.missing.push(name.to_owned());
        assert!(report.summary().contains(shown) && report.to_string().contains(shown));
        let question = Question::new(name).or(name, name);
        let open = Error::new(ErrorKind::Open(vec![question.clone(), question])).to_string();
        assert_eq!((open.lines().count(), open.contains('\u{1b}')), (2, false));
    }

    #[test]
    fn a_file_inside_another_that_is_cut_off_is_damage() {
        let error = Error::truncated("its header is not whole").inside("array 'w'");
        assert_eq!(error.to_string(), "array 'w': its header is not whole; the file is damaged");
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }) && error.advice().is_none());
    }
}
