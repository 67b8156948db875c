//! The generator that every distribution draws from: an engine, the seed it began with, and the normal values kept for later.

use crate::mt19937::Mt19937;

/// The seed of a generator that nobody has seeded, as in `PyTorch`.
pub const DEFAULT_SEED: u64 = 67_280_421_310_721;

/// A seed as `torch.manual_seed` takes it: any 64-bit integer, signed or not. A negative one counts down from 2^64.
///
/// Made from an integer by `into()`, which [`Generator::new`] and [`Generator::manual_seed`] call for you.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// As an unsigned integer.
    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

impl From<u64> for Seed {
    fn from(seed: u64) -> Self {
        Self(seed)
    }
}

impl From<i64> for Seed {
    fn from(seed: i64) -> Self {
        Self(seed.cast_unsigned())
    }
}

impl From<u32> for Seed {
    fn from(seed: u32) -> Self {
        Self(seed.into())
    }
}

impl From<i32> for Seed {
    fn from(seed: i32) -> Self {
        i64::from(seed).into()
    }
}

/// `torch.Generator()`: a source of random numbers whose state can be saved, restored and exchanged with `PyTorch`.
///
/// A clone is a fork: it draws what the original would have drawn, and from there on the two are independent. Two generators are
/// equal if they will draw the same for ever and were seeded alike; a cached normal value counts by its bits.
///
/// ```
/// use rekindle_random::{Generator, random_int64};
///
/// let mut generator = Generator::default();
/// assert_eq!(generator.initial_seed(), rekindle_random::DEFAULT_SEED);
/// generator.manual_seed(-1);
/// assert_eq!(generator.initial_seed(), u64::MAX);
///
/// let mut fork = generator.clone();
/// assert_eq!(random_int64(&mut fork), random_int64(&mut generator));
/// ```
#[derive(Clone, Debug)]
pub struct Generator {
    pub(crate) seed: u64,
    pub(crate) engine: Mt19937,
    /// The second value of the last pair that `normal_` computed for fewer than 16 elements.
    pub(crate) cached_normal: Option<f64>,
    /// Its `float` sibling: part of the state's bytes, but no kernel of `PyTorch`'s fills it.
    pub(crate) cached_float_normal: Option<f32>,
}

impl Generator {
    /// `torch.Generator().manual_seed(seed)`.
    #[must_use]
    pub fn new(seed: impl Into<Seed>) -> Self {
        let Seed(seed) = seed.into();
        // Like PyTorch, only the lower half of the seed moves the engine; all of it is remembered.
        let lower = u32::try_from(seed & u64::from(u32::MAX)).unwrap_or_default();
        Self { seed, engine: Mt19937::new(lower), cached_normal: None, cached_float_normal: None }
    }

    /// Starts anew from a seed; cached normal values are dropped.
    pub fn manual_seed(&mut self, seed: impl Into<Seed>) {
        *self = Self::new(seed);
    }

    /// The seed that the generator began with, as `torch.initial_seed()` shows it: a negative one as 2^64 + seed.
    #[must_use]
    pub fn initial_seed(&self) -> u64 {
        self.seed
    }

    /// `with torch.random.fork_rng():`: draws inside are made from here on, and afterwards the generator is where it was.
    ///
    /// ```
    /// use rekindle_random::{Generator, rand};
    ///
    /// let mut generator = Generator::new(0);
    /// let inside = generator.fork_rng(|generator| rand::<f32>(generator, 3));
    /// assert_eq!(rand::<f32>(&mut generator, 3), inside);
    /// ```
    pub fn fork_rng<R>(&mut self, draw: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.clone();
        let drawn = draw(self);
        *self = before;
        drawn
    }

    /// The next 32 bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        self.engine.next_u32()
    }

    /// The next 64 bits, of which the first draw is the upper half.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let upper = self.next_u32();
        let lower = self.next_u32();
        (u64::from(upper) << 32) | u64::from(lower)
    }
}

impl Default for Generator {
    /// `torch.Generator()`, seeded with [`DEFAULT_SEED`].
    fn default() -> Self {
        Self::new(DEFAULT_SEED)
    }
}

impl PartialEq for Generator {
    fn eq(&self, other: &Self) -> bool {
        let cached = |generator: &Self| {
            (generator.cached_normal.map(f64::to_bits), generator.cached_float_normal.map(f32::to_bits))
        };
        self.seed == other.seed && self.engine == other.engine && cached(self) == cached(other)
    }
}

impl Eq for Generator {}
