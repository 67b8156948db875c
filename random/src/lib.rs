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
//! on x86-64 Linux with AVX-512; they cover many lengths, 32- and 64-bit floats, and negative and 64-bit seeds. The recorded draws
//! were also compared with those of `PyTorch` 1.13, and of 2.15 told to use its AVX2 kernels or those for any x86-64 processor.
//!
//! | Here | In `PyTorch` | Equal to | And otherwise |
//! |---|---|---|---|
//! | [`Generator::state`], [`Generator::set_state`] | `get_rng_state`, `set_rng_state` | 1.13 and 2.15 | 1.13 also takes 5,048 bytes from before 1.2 |
//! | [`randperm`] | `randperm` | 1.13 and 2.15 | |
//! | [`random_int64`], [`base_seed`] | `random_()` of int64, a `DataLoader`'s seed | 1.13 and 2.15 | |
//! | [`randint`] | `randint`, `random_(low, high)` | 2.15, and 1.13 below 2^28 values | 1.13 draws 32 bits for more values, too |
//! | [`rand`] | `rand` | 1.13 and 2.15 | |
//! | [`uniform_`] | `uniform_` | 2.15 with AVX2 or AVX-512 | without: the last bit; 1.13 may return the upper bound |
//! | [`normal_`], [`randn`]: `f32`, 16 and more | `normal_`, `randn` | 1.13 and 2.15 with AVX2 or AVX-512 | without: the last bits |
//! | [`normal_`], [`randn`]: `f64`, 16 and more | `normal_`, `randn` | 1.13 and 2.15 | |
//! | [`normal_`], [`randn`]: fewer; [`normal_strided_`] | `normal_`, `randn` | 2.15 with AVX2 or AVX-512 | without, and in 1.13: the last bit of an `f64` |
//! | [`bernoulli_`], [`bernoulli`](fn@bernoulli) | `bernoulli_`, `bernoulli`, the mask of `dropout` | 1.13 and 2.15 | |
//! | [`exponential_`] | `exponential_` | 2.15, and 1.13 for `f32` | 1.13: the last bit of an `f64` |
//!
//! `f64` normals, fewer than 16 normals and `exponential_` use the C library's logarithm, sine and cosine. `PyTorch` on Linux uses
//! glibc's; where this crate runs on another C library, the last bit of an `f64` may differ. All else is the same on every target.
//!
//! # Speed
//!
//! Every distribution takes about as long as `PyTorch` on one thread, `f32` normals twice as long. Built for a processor with fused
//! multiplication and addition (`-C target-cpu=x86-64-v3`, or any 64-bit ARM) they are level, too, with the same results.

mod bernoulli;
mod cephes;
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
