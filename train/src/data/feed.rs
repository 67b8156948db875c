//! `Feed`: the batches of one epoch in their order, made when they are asked for, or ahead of that on threads; and `Workers`, how
//! PyTorch's loader was made as to its workers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use rekindle_random::{Generator, STATE_SIZE};
use rekindle_recorder::{Result, Tensor};

use super::dataset::Batch;
use super::samples::Samples;
use crate::attributes::invalid;

/// How many batches each thread is ahead: PyTorch's `prefetch_factor`.
const AHEAD: usize = 2;

/// `num_workers`, `persistent_workers`, and the threads that stand for them here.
#[derive(Debug, Default)]
pub(super) struct Workers {
    /// PyTorch's processes; 0 for none.
    pub(super) count: usize,
    pub(super) persistent: bool,
    /// As many as workers, if nothing else was said.
    pub(super) threads: Option<usize>,
    /// Those that began with an epoch, and go on with the next where they are persistent.
    pub(super) crew: Option<Crew>,
}

/// What the loaders over a map-style data set are told of workers, and what they tell of themselves.
macro_rules! has_workers {
    ($loader:ident: $(#[$more:meta])*) => {
        impl $loader {
            /// `num_workers`: how many worker processes PyTorch's loader had. Batches are made ahead, on as many threads
            /// ([`threads`](Self::threads)). What is random in a batch is drawn from the generator of its worker, which is seeded as in
            /// PyTorch; without workers from the global one. Default 0.
            $(#[$more])*
            #[must_use]
            pub fn workers(mut self, num_workers: usize) -> Self {
                self.workers.count = num_workers;
                self
            }

            /// `persistent_workers`: the workers of the first epoch go on in the later ones, so that these draw no seed for new ones. Default
            /// false.
            #[must_use]
            pub fn persistent_workers(mut self, persistent: bool) -> Self {
                self.workers.persistent = persistent;
                self
            }

            /// How many threads make batches ahead, which changes neither their order nor what is in them. 0: they are made when they are
            /// asked for. What draws from the global generator is made so in any case. Default: as many as workers.
            #[must_use]
            pub fn threads(mut self, threads: usize) -> Self {
                self.workers.threads = Some(threads);
                self
            }

            /// The data set.
            #[must_use]
            pub fn dataset(&self) -> &dyn Samples {
                &*self.dataset
            }

            /// The loader's own generator, where it has one.
            #[must_use]
            pub fn own_generator(&self) -> Option<&Generator> {
                self.generator.as_ref()
            }

            /// Whether an epoch has no batches.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}
pub(super) use has_workers;

/// Workers at work.
#[derive(Clone, Debug)]
pub(super) struct Crew {
    /// What they were seeded with, together with each one's number.
    pub(super) seed: i64,
    /// What each draws from; none where nothing is drawn.
    pub(super) generators: Vec<Generator>,
}

impl Workers {
    /// Whether the workers of the epoch before go on, so that no seed is drawn for new ones.
    pub(super) fn go_on(&self) -> bool {
        self.count > 0 && self.persistent && self.crew.is_some()
    }

    /// New workers: each one's generator is seeded with the seed and its number.
    pub(super) fn begin(&mut self, seed: i64, samples: &dyn Samples) {
        let drawing = if samples.draws() { self.count } else { 0 };
        let generators = (0..).take(drawing).map(|worker: i64| Generator::new(seed.wrapping_add(worker))).collect();
        self.crew = (self.count > 0).then_some(Crew { seed, generators });
    }

    /// What they draw from.
    pub(super) fn generators(&self) -> &[Generator] {
        self.crew.as_ref().map_or(&[], |crew| &crew.generators)
    }

    /// The batches of an epoch.
    pub(super) fn feed(&self, samples: &Arc<dyn Samples>, places: Vec<usize>, cut: Cut) -> Feed {
        let generators = self.generators().to_vec();
        // What is drawn from the global generator is drawn when the loop is there.
        let threads = if samples.draws() && self.count == 0 { 0 } else { self.threads.unwrap_or(self.count) };
        let threads = if generators.is_empty() { threads } else { threads.min(generators.len()) };
        Feed { samples: samples.clone(), places: places.into(), cut, taken: 0, threads, generators, lanes: Vec::new() }
    }

    /// The generators of workers as one tensor, `uint8` of `[workers, 5056]`; `None` where nothing is drawn.
    pub(super) fn states(generators: &[Generator]) -> Result<Option<Tensor>> {
        if generators.is_empty() {
            return Ok(None);
        }
        let bytes = generators.iter().flat_map(Generator::state).collect();
        Tensor::from_vec(&[generators.len(), STATE_SIZE], bytes).map(Some)
    }

    /// As [`states`](Self::states), the other way.
    pub(super) fn read_states(&self, states: &Tensor, key: &str) -> Result<Vec<Generator>> {
        if *states.shape() != [self.count, STATE_SIZE] {
            let found = states.shape();
            return Err(invalid(format!("{key}: {} workers have other states than of shape {found:?}", self.count)));
        }
        let read = |bytes: &[u8]| Generator::from_state(bytes).map_err(|error| invalid(format!("{key}: {error}")));
        states.to_vec::<u8>()?.chunks(STATE_SIZE).map(read).collect()
    }
}

/// How places are cut into batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) batch_size: usize,
    /// How many batches there are.
    pub(super) batches: usize,
}

/// The batches of an epoch.
#[derive(Debug)]
pub(super) struct Feed {
    samples: Arc<dyn Samples>,
    places: Arc<[usize]>,
    cut: Cut,
    /// Batches that were given out.
    taken: usize,
    threads: usize,
    /// Those of the workers, after the batches that were given out.
    generators: Vec<Generator>,
    /// Begun with the first batch that is asked for.
    lanes: Vec<Lane>,
}

/// A thread, and what it has made, in order.
#[derive(Debug)]
struct Lane {
    /// `None` when the thread is to end.
    made: Option<Receiver<Made>>,
    thread: Option<JoinHandle<()>>,
}

/// A batch, and the generator that it was drawn from, after it.
type Made = (Result<Batch>, Option<Generator>);

impl Feed {
    /// The same epoch from another batch on, with workers that have come so far.
    pub(super) fn at(self, taken: usize, generators: &[Generator]) -> Self {
        Feed { taken, generators: generators.to_vec(), ..self }
    }

    /// How many batches were given out.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// The generators of the workers, after the batches that were given out.
    pub(super) fn generators(&self) -> &[Generator] {
        &self.generators
    }

    /// The next batch; `None` after the last.
    pub(super) fn next(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        if self.taken >= self.cut.batches {
            self.lanes.clear();
            return Ok(None);
        }
        let (batch, generator) = if self.threads > 0 { self.receive()? } else { self.make(global) };
        let batch = batch.inspect_err(|_| self.lanes.clear())?;
        if let (Some(generator), Some(own)) = (generator, self.worker()) {
            *own = generator;
        }
        self.taken += 1;
        Ok(Some(batch))
    }

    /// The generator of the worker whose turn it is.
    fn worker(&mut self) -> Option<&mut Generator> {
        let worker = self.taken.checked_rem(self.generators.len())?;
        self.generators.get_mut(worker)
    }

    fn make(&mut self, global: &mut Generator) -> Made {
        let (samples, places, cut, taken) = (self.samples.clone(), self.places.clone(), self.cut, self.taken);
        match self.worker().map(|own| own.clone()) {
            Some(mut own) => (samples.batch(cut.places(&places, taken), &mut own), Some(own)),
            None => (samples.batch(cut.places(&places, taken), global), None),
        }
    }

    fn receive(&mut self) -> Result<Made> {
        if self.lanes.is_empty() {
            self.lanes = (0..self.threads).map(|lane| self.lane(lane)).collect::<Result<_>>()?;
        }
        let lane = self.turn(self.taken);
        let made = self.lanes.get(lane).and_then(|lane| lane.made.as_ref()?.recv().ok());
        made.ok_or_else(|| {
            self.lanes.clear();
            invalid("a thread that makes batches has ended: the data set panicked in it")
        })
    }

    /// Which thread makes a batch: all of one worker are made by one.
    fn turn(&self, batch: usize) -> usize {
        let workers = if self.generators.is_empty() { self.threads } else { self.generators.len() };
        (batch % workers.max(1)) % self.threads.max(1)
    }

    fn lane(&self, lane: usize) -> Result<Lane> {
        let (send, made) = sync_channel::<Made>(AHEAD);
        let (samples, places, cut) = (self.samples.clone(), self.places.clone(), self.cut);
        let turns: Vec<usize> = (self.taken..cut.batches).filter(|&batch| self.turn(batch) == lane).collect();
        let mut generators = self.generators.clone();
        let work = move || {
            let mut nothing = Generator::default();
            for batch in turns {
                let worker = batch.checked_rem(generators.len());
                let own = worker.and_then(|worker| generators.get_mut(worker));
                let made = match own {
                    Some(own) => (samples.batch(cut.places(&places, batch), own), Some(own.clone())),
                    None => (samples.batch(cut.places(&places, batch), &mut nothing), None),
                };
                // Nobody waits for it any more.
                if send.send(made).is_err() {
                    break;
                }
            }
        };
        let begun = Builder::new().name(format!("rekindle-data-{lane}")).spawn(work);
        let thread = begun.map_err(|error| invalid(format!("a thread that makes batches cannot begin: {error}")))?;
        Ok(Lane { made: Some(made), thread: Some(thread) })
    }
}

impl Cut {
    /// Which samples a batch has.
    fn places(self, places: &[usize], batch: usize) -> &[usize] {
        let start = batch.saturating_mul(self.batch_size);
        let end = places.len().min(start.saturating_add(self.batch_size));
        places.get(start..end).unwrap_or_default()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Before the thread is waited for: it ends when nobody takes what it makes.
        self.made = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told where its batch was missing.
            let _ = thread.join();
        }
    }
}
