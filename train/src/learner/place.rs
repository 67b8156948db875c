//! `Place`: what stands for PyTorch's global generator, and the training's loader where it draws from that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekindle_random::{Generator, STATE_SIZE};
use rekindle_recorder::{Result, Tensor, Value};

use crate::attributes::invalid;
use crate::data::{Batch, Loader};

/// Shared by a training, its loader and its scheduler.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Arc<Mutex<Drawing>>);

#[derive(Debug, Default)]
struct Drawing {
    /// Shared with the network's layers, where they draw from it.
    generator: Arc<Mutex<Generator>>,
    loader: Option<Loader>,
}

/// Where both are.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawn {
    /// The generator's state.
    pub(super) rng: Option<Tensor>,
    /// The loader's state dict.
    pub(super) loader: Option<Value>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    pub(super) fn generator(&self) -> Arc<Mutex<Generator>> {
        locked(&self.0).generator.clone()
    }

    pub(super) fn set_generator(&self, generator: Arc<Mutex<Generator>>) {
        locked(&self.0).generator = generator;
    }

    pub(super) fn set_loader(&self, loader: Loader) {
        locked(&self.0).loader = Some(loader);
    }

    /// How many batches an epoch has.
    pub(super) fn len(&self) -> usize {
        locked(&self.0).loader.as_ref().map_or(0, Loader::len)
    }

    /// Whether the loader has more of a place than the generator's state says.
    pub(super) fn is_told(&self) -> bool {
        match &locked(&self.0).loader {
            Some(loader @ Loader::Torch(_)) => loader.own_generator().is_some(),
            Some(_) => true,
            None => false,
        }
    }

    /// Leaves an epoch that was not gone through: the next batch begins another one. That of torchdata's loader may have begun before its
    /// first batch, and goes on.
    pub(super) fn leave_epoch(&self) {
        if let Some(loader) = &mut locked(&self.0).loader
            && loader.taken() > 0
        {
            loader.end_epoch();
        }
    }

    pub(super) fn next_batch(&self) -> Result<Option<Batch>> {
        let Drawing { generator, loader } = &mut *locked(&self.0);
        match loader {
            Some(loader) => loader.next_batch(&mut locked(generator)),
            None => Ok(None),
        }
    }

    /// Where both are, between two epochs.
    pub(super) fn drawn(&self) -> Result<Drawn> {
        let Drawing { generator, loader } = &*locked(&self.0);
        let generator = locked(generator).clone();
        let state = loader.as_ref().map(|loader| loader.state_at(&generator)).transpose()?.flatten();
        let (loader, generator) = state.map_or((None, generator), |(state, generator)| (Some(state), generator));
        Ok(Drawn { rng: Some(state_of(&generator)?), loader })
    }

    /// Goes to where both were.
    pub(super) fn go_to(&self, drawn: &Drawn) -> Result<()> {
        let Drawing { generator, loader } = &mut *locked(&self.0);
        if let Some(rng) = &drawn.rng {
            let state = Generator::from_state(&rng.to_vec::<u8>()?);
            *locked(generator) = state.map_err(|error| invalid(format!("the generator's state: {error}")))?;
        }
        match (loader, &drawn.loader) {
            (Some(loader), Some(state)) => begin_at(loader, state),
            (Some(loader), None) => {
                loader.end_epoch();
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }
}

/// `torch.get_rng_state()`.
pub(super) fn state_of(generator: &Generator) -> Result<Tensor> {
    Tensor::from_vec(&[STATE_SIZE], generator.state().to_vec())
}

/// Has a loader go on from a place between two epochs.
pub(super) fn begin_at(loader: &mut Loader, state: &Value) -> Result<()> {
    loader.load_state_dict(state)?;
    if loader.is_exhausted() {
        loader.end_epoch();
    }
    match loader.taken() {
        0 => Ok(()),
        taken => {
            loader.end_epoch();
            let what = format!("the checkpoint is {taken} batches into an epoch, and burn-train begins whole ones");
            Err(invalid(what)
                .advise("finish the epoch with Run, or begin another one (`ResumeOptions::no_loader_state(true)`)"))
        }
    }
}
