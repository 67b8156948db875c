//! `Error`: any error of the crates, so that one `?` takes them all.

use std::path::Path;

use rekindle_models::ModelError;
use rekindle_random::{ParameterError, StateError};
use rekindle_recorder::{ErrorKind, UnknownDType};
use rekindle_train::data::DataError;
use rekindle_train::log::LogError;

use crate::DeviceError;

/// The result of anything that rekindle does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of rekindle's: one sentence that a user can act on. `Debug` prints it, too, so that it is what a `main` shows that
/// returns it.
///
/// ```
/// fn head(path: &str) -> rekindle::Result<Vec<i64>> {
///     let mut generator = rekindle::random::Generator::new(0);
///     let drawn = rekindle::random::randint(&mut generator, 0, 10, 3)?; // its own error
///     rekindle::Checkpoint::open(path)?; // another one
///     Ok(drawn)
/// }
/// let error = head("nowhere.pt").unwrap_err();
/// assert!(format!("{error:?}").starts_with("nowhere.pt: cannot open the file"));
/// assert_eq!(error.file(), Some("nowhere.pt".as_ref()));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
#[error(transparent)]
pub enum Error {
    /// Of files, values, state dicts, optimizers, runs.
    Checkpoint(#[from] rekindle_recorder::Error),
    /// Of networks.
    Model(#[from] ModelError),
    /// Of a data set's file.
    Data(#[from] DataError),
    /// Of a run's log.
    Log(#[from] LogError),
    /// Of a device's name.
    Device(#[from] DeviceError),
    /// Of a name that is no element type.
    DType(#[from] UnknownDType),
    /// Of a distribution's parameters.
    Parameter(#[from] ParameterError),
    /// Of a generator's state.
    Generator(#[from] StateError),
    /// Of the operating system, in what the user's own code does.
    Io(#[from] std::io::Error),
}

impl Error {
    /// What kind of error it is, where it is one of [`recorder`](crate::recorder)'s.
    #[must_use]
    pub fn kind(&self) -> Option<&ErrorKind> {
        match self {
            Error::Checkpoint(error) | Error::Data(DataError::Checkpoint(error)) => Some(error.kind()),
            _ => None,
        }
    }

    /// The file that it is about, where one is known.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Error::Checkpoint(error) | Error::Data(DataError::Checkpoint(error)) => error.file(),
            Error::Data(DataError::Io { path, .. } | DataError::Table { path, .. })
            | Error::Log(LogError::Io { path, .. } | LogError::Line { path, .. }) => Some(path),
            _ => None,
        }
    }
}

rekindle_recorder::debug_is_display!(Error);
