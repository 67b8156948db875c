//! Integers: `torch.randint`, `Tensor.random_`, and the seed that a `DataLoader` draws.

use crate::error::ParameterError;
use crate::generator::Generator;

/// From this many possible values on, 32 bits would favour some of them by more than 5 %, and `PyTorch` takes 64.
const WIDE: u64 = 1 << 28;

/// `torch.empty((), dtype=torch.int64).random_()`: one integer of 0 to 2^63 - 1. Draws 64 bits.
pub fn random_int64(generator: &mut Generator) -> i64 {
    (generator.next_u64() & (u64::MAX >> 1)).cast_signed()
}

/// What `iter(DataLoader)` draws from the loader's generator, or from the global one, at the start of every epoch, shuffled or
/// not; worker i is seeded with it plus i. The same draw as [`random_int64`].
pub fn base_seed(generator: &mut Generator) -> i64 {
    random_int64(generator)
}

/// `torch.randint(low, high, (n,))`: shape `[n]`, integers of `low..high`.
///
/// Draws 32 bits an element while `high - low` is below 2^28, 64 bits from there on.
///
/// # Errors
/// If `low >= high`.
pub fn randint(generator: &mut Generator, low: i64, high: i64, n: usize) -> Result<Vec<i64>, ParameterError> {
    if low >= high {
        return Err(ParameterError::IntegerRange { low, high });
    }
    let range = high.wrapping_sub(low).cast_unsigned();
    let mut draw = || {
        let bits = if range < WIDE { u64::from(generator.next_u32()) } else { generator.next_u64() };
        low.wrapping_add_unsigned(bits % range)
    };
    Ok((0..n).map(|_| draw()).collect())
}
