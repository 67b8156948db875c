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
//! on x86-64 Linux with AVX-512: many lengths, types of 16, 32 and 64 bits, negative and 64-bit seeds, and a million values of
//! each distribution. The draws of the first rows were also compared with those of `PyTorch` 1.13, and of 2.15 told to use its
//! AVX2 kernels or those for any x86-64 processor. That build draws nothing by way of MKL, on no processor.
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
//! | [`Half`], [`BFloat16`] of all these | the same in `torch.float16`, `torch.bfloat16` | 2.15 | earlier, normals of 16 and more were drawn otherwise |
//! | [`random_`], [`random_from_to_`], [`random_from_`] | `random_`, `randint(dtype=...)` | 2.15, all types | |
//! | [`normal_with`], [`normal_with_means`], [`normal_with_stds`] | `normal` with tensors | 2.15, as `normal_` | |
//! | [`geometric_`], [`cauchy_`], [`log_normal_`] | the same | 2.15 with AVX2 or AVX-512 | without: the last bit of an `f64`; casts are x86-64's |
//! | [`trunc_normal_`] | `nn.init.trunc_normal_` | 2.15 | earlier releases went by the inverse error function |
//! | [`multinomial`] | `multinomial` | 2.15, with the order of equal quotients | |
//! | [`poisson`], [`standard_gamma`], [`binomial`] | `poisson`, `_standard_gamma`, `binomial` | 2.15 | |
//! | [`Generator::fork_rng`], [`Generator::skip`] | `random.fork_rng`; none | | |
//! | [`CudaGeneratorState`], [`CudaDevice`] | `cuda.get_rng_state`; `rand`, `randint`, `bernoulli_` on a GPU | 2.15's source | no GPU was asked |
//!
//! Not here: `_sample_dirichlet`, whose sums depend on the order of a vectorised reduction, and what a GPU draws by logarithms,
//! sines and cosines of its own.
//!
//! A tensor whose elements lie in another order than its shape's is filled in the order of memory, and so is one that has gaps
//! ([`normal_strided_`] for normals, which then are drawn one by one; all others as here).
//!
//! Normals of `f64`, fewer than 16 normals, and distributions with logarithms, exponentials or tangents use the C library's.
//! `PyTorch` on Linux uses glibc's; where this crate runs on another C library, the last bit of an `f64` may differ, and
//! seldom a value that depends on a comparison. All else is the same on every target.
//!
//! # Speed
//!
//! Every distribution takes about as long as `PyTorch` on one thread. Normals that are computed in `f32` use fused multiplication and
//! addition and vectors of eight where the processor has them, which x86-64's are asked for when the program runs; one without takes two to
//! three times as long for the same results.

mod bernoulli;
mod binomial;
mod cauchy;
mod cephes;
mod cuda;
mod cuda_draws;
mod error;
mod exponential;
mod gamma;
mod generator;
mod geometric;
mod half;
mod integer;
mod jump;
mod log_normal;
mod mt19937;
mod multinomial;
mod normal;
mod number;
mod permutation;
mod philox;
mod poisson;
mod processor;
mod real;
mod select;
mod state;
mod trunc_normal;
mod uniform;

pub use bernoulli::{bernoulli, bernoulli_};
pub use binomial::binomial;
pub use cauchy::cauchy_;
pub use cuda::{CudaDevice, CudaGeneratorState};
pub use error::{ParameterError, StateError};
pub use exponential::exponential_;
pub use gamma::standard_gamma;
pub use generator::{DEFAULT_SEED, Generator, Seed};
pub use geometric::geometric_;
pub use half::{BFloat16, Half};
pub use integer::{base_seed, randint, random_, random_from_, random_from_to_, random_int64};
pub use log_normal::log_normal_;
pub use mt19937::Mt19937;
pub use multinomial::multinomial;
pub use normal::{normal_, normal_strided_, normal_with, normal_with_means, normal_with_stds, randn};
pub use number::Number;
pub use permutation::randperm;
pub use philox::philox;
pub use poisson::poisson;
pub use real::{Real, Wide};
pub use state::STATE_SIZE;
pub use trunc_normal::trunc_normal_;
pub use uniform::{rand, uniform_};
