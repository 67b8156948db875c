//! `PyTorch`'s CPU random number generator and its distributions, bit for bit.
//!
//! A training run that continues must shuffle, initialise and drop out as if it had never stopped. For that the generator has to
//! be read from a checkpoint, draw exactly what `PyTorch` would have drawn, and be written back. This crate does the three, and
//! nothing else; it depends on no other crate.
//!
//! ```
//! use rekindle_random::{Generator, randn, randperm};
//!
//! # fn main() -> Result<(), rekindle_random::StateError> {
//! // torch.manual_seed(0)
//! let mut generator = Generator::new(0);
//!
//! // torch.randperm(10)
//! assert_eq!(randperm(&mut generator, 10), [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]);
//!
//! // torch.get_rng_state(), stored in a checkpoint, and torch.set_rng_state()
//! let saved = generator.state();
//! let mut resumed = Generator::from_state(&saved)?;
//! assert_eq!(randn::<f32>(&mut resumed, 20), randn::<f32>(&mut generator, 20));
//! # Ok(())
//! # }
//! ```
//!
//! # What is equal to `PyTorch`
//!
//! "Equal" means the same bits and the same generator state afterwards. The tests compare with draws recorded from `PyTorch` 2.15
//! on an x86-64 Linux machine with AVX-512; they cover many lengths, 32- and 64-bit floats, and negative and 64-bit seeds.
//!
//! | Here | In `PyTorch` | Equal to |
//! |---|---|---|
//! | [`Generator::state`], [`Generator::set_state`] | `get_rng_state`, `set_rng_state` | every build since 1.2 |
//! | [`randperm`] | `randperm` | every build |
//! | [`rand`](fn@rand) | `rand` | every build |
//! | [`random_int64`], [`base_seed`] | `random_()` on int64, `DataLoader`'s seed draw | every build |
//! | [`randint`] | `randint`, `random_(low, high)` | 2.15, with any x86-64 processor; from 2^28 values on, older ones differ |
//! | [`uniform_`] | `uniform_` | AVX2 and AVX-512 builds of 2.15 |
//! | [`normal_`], [`randn`], 16 `f32` or more | `normal_`, `randn` | AVX2 and AVX-512 builds of 2.15 |
//! | [`normal_`], [`randn`], the rest | `normal_`, `randn` | AVX2 and AVX-512 builds of 2.15, given glibc's `log`, `sin`, `cos`, `log1p` |
//! | [`bernoulli_`], [`bernoulli`] | `bernoulli_`, `bernoulli`, the mask of `dropout` | 2.15 |
//! | [`exponential_`] | `exponential_` | 2.15, given glibc's `log1p` |
//!
//! Where the C library is not glibc, the last bit of an `f64` logarithm, sine or cosine may differ, so the rows that name it
//! hold up to that bit. `f32` normals of 16 and more are computed without the C library and are the same on every target.

mod bernoulli;
mod cuda;
mod error;
mod exponential;
mod generator;
mod integer;
mod mt19937;
mod normal;
mod permutation;
mod real;
mod state;
mod uniform;

pub use bernoulli::{bernoulli, bernoulli_};
pub use cuda::CudaGeneratorState;
pub use error::{ParameterError, StateError};
pub use exponential::exponential_;
pub use generator::{DEFAULT_SEED, Generator, Seed};
pub use integer::{base_seed, randint, random_int64};
pub use mt19937::Mt19937;
pub use normal::{normal_, normal_strided_, randn};
pub use permutation::randperm;
pub use real::Real;
pub use state::STATE_SIZE;
pub use uniform::{rand, uniform_};
