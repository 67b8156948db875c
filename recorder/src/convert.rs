//! Converting a checkpoint: a part of it, other keys, another dtype, other device tags. What is not asked for stays as it is.

use crate::keys::LoadOptions;
use crate::run::{Layout, RunState};
use crate::{Checkpoint, DType, ErrorKind, Result, StateDict, rebuild};

/// What to change. By default nothing: the conversion is the checkpoint itself.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Conversion {
    /// The path of the part to take, such as `model_state_dict`; the whole where it is `None`.
    pub key: Option<String>,
    /// How the keys of the state dict are mapped: prefixes, renames, filters. They apply to the part taken, where it is a
    /// state dict, else to the model's state dict in the layout that the checkpoint has.
    pub keys: Option<LoadOptions>,
    /// The element type for the floating-point tensors of that state dict.
    pub dtype: Option<DType>,
    /// The device tag for all tensors.
    pub location: Option<String>,
}

impl Conversion {
    /// The converted checkpoint; the original is not changed.
    ///
    /// # Errors
    /// When the part is not there, keys collide, or keys are to be mapped where there is no state dict.
    pub fn apply(&self, checkpoint: &Checkpoint) -> Result<Checkpoint> {
        let part = match &self.key {
            Some(key) => Checkpoint::from(checkpoint.value(key)?),
            None => Checkpoint::from(checkpoint.root().clone()),
        };
        let mapped = if self.keys.is_some() || self.dtype.is_some() { self.map_state_dict(&part)? } else { part };
        Ok(match &self.location {
            Some(location) => Checkpoint::from(rebuild::relocate(mapped.root(), |_| Ok(location.clone()))?),
            None => mapped,
        })
    }

    fn map_state_dict(&self, part: &Checkpoint) -> Result<Checkpoint> {
        if let Layout::Unknown { .. } = part.layout() {
            let reason = "keys and dtypes are converted in a state dict, and none was found here; name one with --key";
            return Err(ErrorKind::Invalid(reason.to_owned()).into());
        }
        let mut state = RunState::read(part)?;
        if let Some(keys) = &self.keys {
            state.model = keys.apply(&state.model)?;
        }
        if let Some(dtype) = self.dtype {
            state.model = StateDict::from_value(&rebuild::cast(&state.model.to_value(), dtype)?)?;
        }
        state.write_back(part)
    }
}
