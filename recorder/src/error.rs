//! `Error`: what went wrong, in which file and where in it, as one sentence that a user can act on.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of reading, changing or writing a checkpoint.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the recorder: small to return, rich to read.
///
/// `Display` gives one sentence that begins with the file where one is known. [`Error::kind`] tells errors apart.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    file: Option<PathBuf>,
    kind: ErrorKind,
}

/// What kind of error it is. The texts are complete sentences but for the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, such as `cannot open the file`.
        doing: &'static str,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The bytes are of no container that is known.
    #[error("this is not a checkpoint: {reason}")]
    NotACheckpoint {
        /// What the file looks like instead.
        reason: String,
    },
    /// The file ends too early.
    #[error("the file is cut off: {reason}; copy or download it again")]
    Truncated {
        /// What is missing.
        reason: String,
    },
    /// A container's structure contradicts itself.
    #[error("{place}: {reason}; the file is damaged")]
    Damaged {
        /// Where in the file: a record, an offset.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// The bytes of a record are not those that were written.
    #[error("{place}: checksum mismatch; the file is damaged, restore it or pass --no-verify to read it anyway")]
    Checksum {
        /// The record, and the tensor where that is known.
        place: String,
    },
    /// A pickle that cannot be read.
    #[error("{place}, byte {offset}: {reason}")]
    Pickle {
        /// Which pickle, such as `data.pkl`.
        place: String,
        /// Where in the pickle.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Reading would cost more than the limits allow.
    #[error("{what} exceeds the limit of {limit}; raise it in `Limits` if the file is to be trusted")]
    Limit {
        /// What would be exceeded, with the amount asked for.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Something PyTorch can do that is not supported here.
    #[error("{what} is not supported{advice}")]
    Unsupported {
        /// What is not supported.
        what: String,
        /// What to do instead: empty, or beginning with `; `.
        advice: String,
    },
    /// A name that is not there.
    #[error("there is no '{key}'{advice}")]
    MissingKey {
        /// The path that was asked for.
        key: String,
        /// Near names, or the ones there are: empty, or beginning with `; `.
        advice: String,
    },
    /// A value of another type than was asked for.
    #[error("{key} is {found}, where {expected} is expected")]
    WrongType {
        /// The path of the value.
        key: String,
        /// What is expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor whose view does not fit its storage, or whose parts contradict each other.
    #[error("{tensor}: {reason}")]
    InvalidTensor {
        /// The tensor's name, or what is known of it.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A state dict does not match a model; the report lists every key.
    #[error("{0}")]
    Mismatch(Box<crate::state_dict::report::LoadReport>),
    /// A value that plain `torch.load` would refuse to open.
    #[error("{key} is {what}, which plain torch.load refuses; {advice}")]
    Refused {
        /// The path of the value.
        key: String,
        /// What it is.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The target exists and was not to be replaced.
    #[error("the file exists already; pass --overwrite to replace it")]
    Exists,
    /// Whatever else is wrong with what the caller asked for.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// An error of this kind, without a file.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { file: None, kind }))
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

    /// The same error, said of this file. A file that is named already stays.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_owned());
        self
    }

    pub(crate) fn io(doing: &'static str, source: std::io::Error) -> Self {
        ErrorKind::Io { doing, source }.into()
    }

    pub(crate) fn damaged(place: impl Into<String>, reason: impl Into<String>) -> Self {
        ErrorKind::Damaged { place: place.into(), reason: reason.into() }.into()
    }

    pub(crate) fn truncated(reason: impl Into<String>) -> Self {
        ErrorKind::Truncated { reason: reason.into() }.into()
    }

    pub(crate) fn not_a_checkpoint(reason: impl Into<String>) -> Self {
        ErrorKind::NotACheckpoint { reason: reason.into() }.into()
    }

    pub(crate) fn limit(what: impl Into<String>, limit: u64) -> Self {
        ErrorKind::Limit { what: what.into(), limit }.into()
    }

    /// Something that is not supported here.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        ErrorKind::Unsupported { what: what.into(), advice: String::new() }.into()
    }

    /// A tensor that does not fit its storage, or whose parts contradict each other.
    #[must_use]
    pub fn invalid_tensor(tensor: impl Into<String>, reason: impl Into<String>) -> Self {
        ErrorKind::InvalidTensor { tensor: tensor.into(), reason: reason.into() }.into()
    }

    /// A value of another type than is expected.
    #[must_use]
    pub fn wrong_type(key: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        ErrorKind::WrongType { key: key.into(), expected: expected.into(), found: found.into() }.into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.0.kind),
            None => write!(f, "{}", self.0.kind),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}
