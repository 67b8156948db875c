//! What can be wrong with a state or with a distribution's parameters.

use std::fmt;

/// Why bytes are not the state of a generator. `PyTorch` makes the same checks, except for [`StateError::Position`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// A CPU generator's state has another size.
    Size {
        /// Bytes given.
        found: usize,
    },
    /// The state was stored before the generator had a seed.
    NotSeeded,
    /// The number of draws until the words are renewed is not in 1 to 624.
    Left {
        /// The number stored.
        found: i32,
    },
    /// The index of the next word is not in 0 to 624.
    Next {
        /// The index stored.
        found: u32,
    },
    /// Draws would run past the last word before the words are renewed; `PyTorch` would read beyond its array.
    Position {
        /// Draws until the words are renewed.
        left: u32,
        /// Index of the next word.
        next: u32,
    },
    /// A CUDA generator's state has another size.
    CudaSize {
        /// Bytes given.
        found: usize,
    },
    /// A CUDA generator's offset is not a multiple of 4.
    CudaOffset {
        /// The offset stored.
        found: u64,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { found: 5048 } => formatter.write_str(
                "a CPU generator's state has 5056 bytes, found 5048: PyTorch wrote it before 1.2; set and get it once in PyTorch 1.13 to convert it",
            ),
            Self::Size { found } => write!(
                formatter,
                "a CPU generator's state has 5056 bytes, found {found}; pass what torch.get_rng_state() returned"
            ),
            Self::NotSeeded => {
                formatter.write_str("the generator's state was never seeded; call manual_seed instead of restoring it")
            }
            Self::Left { found } => {
                write!(formatter, "the generator's state is damaged: {found} draws left of its 624 words, must be 1 to 624")
            }
            Self::Next { found } => {
                write!(formatter, "the generator's state is damaged: its next word is {found}, must be 0 to 624")
            }
            Self::Position { left, next } => write!(
                formatter,
                "the generator's state is damaged: {left} draws left from word {next} on run past its 624 words"
            ),
            Self::CudaSize { found } => write!(
                formatter,
                "a CUDA generator's state has 16 bytes, or 816 up to PyTorch 1.13, found {found}; pass what torch.cuda.get_rng_state() returned"
            ),
            Self::CudaOffset { found } => {
                write!(formatter, "the CUDA generator's state is damaged: its offset {found} is not a multiple of 4")
            }
        }
    }
}

/// Why a distribution cannot be drawn from. `PyTorch` refuses the same parameters. Nothing has been drawn or written then.
#[derive(Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ParameterError {
    /// `uniform_` with `from` > `to`, a bound outside the type's finite range, or a range wider than that.
    Uniform {
        /// Lower bound.
        from: f64,
        /// Upper bound.
        to: f64,
    },
    /// `normal_` with a standard deviation that is negative or not a number.
    StandardDeviation {
        /// The standard deviation.
        std: f64,
    },
    /// `bernoulli` with a probability outside 0 to 1.
    Probability {
        /// The probability.
        p: f64,
    },
    /// `exponential_` with a rate that is not greater than 0.
    Rate {
        /// The rate.
        lambda: f64,
    },
    /// `geometric_` with a probability that is not between 0 and 1.
    OpenProbability {
        /// The probability.
        p: f64,
    },
    /// `cauchy_` with a width that is not greater than 0.
    Sigma {
        /// The width.
        sigma: f64,
    },
    /// `log_normal_` with a standard deviation that is not greater than 0.
    LogNormal {
        /// The standard deviation.
        std: f64,
    },
    /// `poisson` with a rate that is negative or not a number.
    EventRate {
        /// The rate.
        rate: f64,
    },
    /// `standard_gamma` with a concentration that is negative or not a number.
    Concentration {
        /// The concentration.
        concentration: f64,
    },
    /// `binomial` with a count or a probability that is not a number.
    Binomial {
        /// The count of trials.
        count: f64,
        /// The probability.
        p: f64,
    },
    /// `multinomial` with more samples than there are weights, or none of either, or too many weights.
    Samples {
        /// Samples asked for.
        num_samples: usize,
        /// Weights given.
        categories: usize,
        /// Whether a place may come twice.
        replacement: bool,
    },
    /// `multinomial` with a weight that is negative or not finite.
    Weight {
        /// The weight.
        weight: f64,
    },
    /// `multinomial` with weights that are all 0.
    NoWeight,
    /// `trunc_normal_` with parameters between which nothing can be drawn.
    Bounds {
        /// Mean of the normal distribution.
        mean: f64,
        /// Its standard deviation.
        std: f64,
        /// Lower bound.
        a: f64,
        /// Upper bound.
        b: f64,
    },
    /// A type that `PyTorch` does not fill by this operation.
    Type {
        /// `PyTorch`'s name of the operation.
        operation: &'static str,
        /// `PyTorch`'s name of the type.
        dtype: &'static str,
    },
    /// `random_` with integers that the type cannot hold.
    IntegerType {
        /// The lowest of them.
        low: i64,
        /// The highest.
        last: i64,
        /// `PyTorch`'s name of the type.
        dtype: &'static str,
    },
    /// `randint` or `random_` with no integer between its bounds, after rounding to the type.
    IntegerRange {
        /// Lower bound, included.
        low: i64,
        /// Upper bound, excluded.
        high: i64,
    },
}

impl fmt::Display for ParameterError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform { from, to } => write!(
                formatter,
                "uniform_ needs from <= to with a finite difference in the tensor's type, got from={from} and to={to}"
            ),
            Self::StandardDeviation { std } => write!(formatter, "normal_ needs std >= 0, got std={std}"),
            Self::Probability { p } => write!(formatter, "bernoulli needs a probability of 0 to 1, got p={p}"),
            Self::Rate { lambda } => write!(formatter, "exponential_ needs lambda > 0, got lambda={lambda}"),
            Self::OpenProbability { p } => {
                write!(formatter, "geometric_ needs a probability between 0 and 1, got p={p}")
            }
            Self::Sigma { sigma } => write!(formatter, "cauchy_ needs sigma > 0, got sigma={sigma}"),
            Self::LogNormal { std } => write!(formatter, "log_normal_ needs std > 0, got std={std}"),
            Self::EventRate { rate } => write!(formatter, "poisson needs rates of 0 or more, got {rate}"),
            Self::Concentration { concentration } => {
                write!(formatter, "_standard_gamma needs concentrations of 0 or more, got {concentration}")
            }
            Self::Binomial { count, p } => {
                write!(formatter, "binomial needs numbers, got a count of {count} and a probability of {p}")
            }
            Self::Samples { num_samples: 0, .. } => formatter.write_str("multinomial needs num_samples > 0, got 0"),
            Self::Samples { num_samples, categories, replacement: false } if num_samples > categories => write!(
                formatter,
                "multinomial without replacement cannot draw {num_samples} samples from {categories} weights; pass replacement=true or ask for fewer"
            ),
            Self::Samples { categories, .. } => {
                write!(formatter, "multinomial needs 1 to 2^24 weights, got {categories}")
            }
            Self::Weight { weight } => write!(formatter, "multinomial needs finite weights of 0 or more, got {weight}"),
            Self::NoWeight => formatter.write_str("multinomial needs a weight greater than 0, all are 0"),
            Self::Bounds { mean, std, a, b } => write!(
                formatter,
                "trunc_normal_ needs std > 0 and a <= b with values between them, got mean={mean}, std={std}, a={a} and b={b}"
            ),
            Self::Type { operation, dtype } => {
                write!(formatter, "{operation} does not fill a {dtype} tensor in PyTorch")
            }
            Self::IntegerType { low, last, dtype } => {
                write!(formatter, "a {dtype} tensor cannot hold the integers from {low} to {last}")
            }
            Self::IntegerRange { low, high } => {
                write!(formatter, "randint needs low < high, got low={low} and high={high}")
            }
        }
    }
}

macro_rules! errors {
    ($($error:ident)*) => { $(
        /// The sentence: what `main` prints of an error that it returns.
        impl fmt::Debug for $error {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl std::error::Error for $error {}
    )* };
}

errors! { StateError ParameterError }
