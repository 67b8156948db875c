//! What a checkpoint says of its run: the methods of [`Checkpoint`] that look for one.

use super::{Layout, RunState};
#[cfg(doc)]
use crate::ErrorKind;
use crate::checkpoint::Checkpoint;
use crate::{Error, Result, StateDict};

impl Checkpoint {
    /// The model's state dict, wherever the checkpoint keeps it: under `model_state_dict`, `state_dict`, `model`, `net` and
    /// what else people write, or as the whole file.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when none is found,
    /// [`ErrorKind::Invalid`] when there are several: [`Checkpoint::state_dict`] takes one by its
    /// path.
    pub fn model_state_dict(&self) -> Result<StateDict> {
        let run = RunState::read(self)?;
        if run.other_models.is_empty() {
            return Ok(run.model);
        }
        let names = run.other_models.iter().map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        let reason =
            format!("the checkpoint holds several models; {names} come after the first: say which one by its path");
        Err(Error::invalid(reason).in_file_if(self.path()))
    }

    /// Which program's way of laying out a run it is, told by its keys.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::detect(self.root())
    }
}
