//! The place in the data: the loader of a run, where it goes on, and what is saved of it.

use burn::module::Module;
use rekindle_random::Generator;
use rekindle_recorder::{Result, Value};

use super::parts::Run;
use crate::data::Loader;

/// The place in the data that a run goes on from.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The loader's state dict that the checkpoint's layout has, until there is a loader.
    pub(super) state: Option<Value>,
    /// That of a run which was kept whole, with or without one in its layout: it counts before that, until there is a loader.
    pub(super) kept: Option<Value>,
    /// Where in the checkpoint it is, and is written.
    pub(super) at: Option<String>,
    /// Whether a checkpoint without one gets one.
    pub(super) added: bool,
    /// Why the loader does not go on from there: said before the first step.
    pub(super) refused: Option<String>,
}

impl<M: Module> Run<M> {
    /// With a loader, which [`next_batch`](Self::next_batch) takes batches from: a [`DataLoader`](crate::data::DataLoader), or a
    /// [`StatefulDataLoader`](crate::data::StatefulDataLoader). Where the checkpoint has a [loader's state](Self::loader_state), the
    /// loader goes on from there, in the midst of an epoch, too; where it has the state of the loader's own generator
    /// ([`ResumeOptions::loader_rng`](super::ResumeOptions::loader_rng)), with that. A loader that the state is not of is refused by
    /// the first [`next_batch`](Self::next_batch).
    #[must_use]
    pub fn with_loader(mut self, loader: impl Into<Loader>) -> Self {
        let mut loader = loader.into();
        if let Some(own) = self.loader_rng.0.take() {
            loader = loader.generator(own);
        }
        let loaded = match (self.place.kept.take(), self.place.state.take()) {
            (Some(kept), _) => loader.load_state_dict(&kept).map_err(|error| error.to_string()),
            (None, Some(state)) => loader.load_state_dict(&state).map_err(|error| {
                let at = self.place.at.as_deref().unwrap_or_default();
                format!("{error}; it is the state at {at}; see `ResumeOptions::no_loader_state` and `Loader::like`")
            }),
            (None, None) => Ok(()),
        };
        self.place.refused = loaded.err().or_else(|| self.uneven(&loader));
        let run = Run { loader: Some(loader), ..self };
        // Where nothing counts steps, they are those of the finished epochs and of the present one.
        let taken = run.loader.as_ref().filter(|loader| !loader.is_exhausted()).map_or(0, Loader::taken);
        let present = i64::try_from(taken as u64 / run.accumulate).unwrap_or(0);
        let step = run.epoch.saturating_mul(run.epoch_length().unwrap_or(0)).saturating_add(present);
        let mut run = Run { step: run.step.or(Some(step)), ..run };
        run.settle_epoch();
        run
    }

    /// What is amiss with epochs that are no whole number of steps, where batches that are left over make no step.
    fn uneven(&self, loader: &Loader) -> Option<String> {
        // Nobody knows how many there are of a stream, and random blocks have no epochs.
        let batches = Some(loader.len()).filter(|&batches| batches < usize::MAX)?;
        let uneven = self.leaves_batches() && !(batches as u64).is_multiple_of(self.accumulate);
        uneven.then(|| {
            format!(
                "an epoch has {batches} batches, which are no whole number of steps of {}, and what is left over makes no step in this program; \
                 give it epochs of whole steps (`Run::accumulate`)",
                self.accumulate
            )
        })
    }

    /// Whether the place in the data is written: where the checkpoint has one, where that was
    /// [asked for](super::ResumeOptions::add_loader), and of a run that began here.
    #[must_use]
    pub fn keeps_place(&self) -> bool {
        self.loader.is_some() && (self.place.at.is_some() || self.place.added || self.origin.is_none())
    }

    /// An epoch whose last batch was given out may be counted as finished, or not yet: the steps tell.
    fn settle_epoch(&mut self) {
        let finished = self.epoch_length().map(|length| self.steps() / length);
        let (epoch, Some(loader)) = (self.epoch, &mut self.loader) else { return };
        if loader.is_exhausted() && finished.is_none_or(|finished| finished <= epoch) {
            loader.end_epoch();
        }
    }

    /// The state dict of the loader that the checkpoint's run had, until the run has a loader: torchdata's `StatefulDataLoader`'s, or
    /// that of [`DataLoader::state_dict`](crate::data::DataLoader::state_dict). [`Loader::like`] makes a loader that it is of.
    #[must_use]
    pub fn loader_state(&self) -> Option<&Value> {
        self.place.kept.as_ref().or(self.place.state.as_ref())
    }

    /// The loader's state dict, and the global generator that goes with it: a state may be of an epoch that has begun, and so has
    /// drawn from the generator. Nothing of a loader without epochs.
    pub(super) fn placed(&self) -> Result<(Option<Value>, Generator)> {
        let global = self.generator().clone();
        let placed = self.loader.as_ref().map(|loader| loader.state_at(&global)).transpose()?;
        let (state, generator) = placed.flatten().unzip();
        Ok((state, generator.unwrap_or(global)))
    }
}
