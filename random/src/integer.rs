//! Integers: `torch.randint`, `Tensor.random_`, and the seed that a `DataLoader` draws. The formulas:
//! ATen/core/TransformationHelper.h, and ATen/native/DistributionTemplates.h for the bounds.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::number::Number;

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

/// `torch.randint(low, high, (n,))`: shape `[n]`, integers of `low..high`. [`random_from_to_`] is the same for other types.
///
/// Draws 32 bits an element while `high - low` is below 2^28, 64 bits from there on.
///
/// # Errors
/// If `low >= high`.
pub fn randint(generator: &mut Generator, low: i64, high: i64, n: usize) -> Result<Vec<i64>, ParameterError> {
    let mut values = vec![0; n];
    random_from_to_(generator, &mut values, low, high)?;
    Ok(values)
}

/// `values.random_()`: integers of 0 to the type's largest, or for floating-point types to the last up to which all integers
/// have values of their own (2^11 for `torch.float16`).
///
/// Draws 64 bits an element for `i64` and `f64`, 32 for the others.
///
/// ```
/// use rekindle_random::{Generator, random_};
///
/// let mut values = [0_u8; 4];
/// random_(&mut Generator::new(0), &mut values)?;
/// assert_eq!(values, [172, 47, 117, 192]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// For `u16`, `u32` and `u64`, which `PyTorch` does not fill so.
pub fn random_<T: Number>(generator: &mut Generator, values: &mut [T]) -> Result<(), ParameterError> {
    let count = T::COUNT.ok_or(ParameterError::Type { operation: "random_", dtype: T::DTYPE })?;
    if T::IS_64_BIT {
        values.fill_with(|| T::from_i64((generator.next_u64() % count).cast_signed()));
    } else {
        values.fill_with(|| T::from_i64((u64::from(generator.next_u32()) % count).cast_signed()));
    }
    Ok(())
}

/// `values.random_(low, high)`, and so `torch.randint(low, high, dtype=...)`: integers of `low..high`.
///
/// Draws 32 bits an element while `high - low` is below 2^28, 64 bits from there on. For floating-point types bounds that are
/// not among the type's values move inwards, to the next that are.
///
/// # Errors
/// If `low >= high`, or the type cannot hold the integers between them. Nothing is drawn then.
pub fn random_from_to_<T: Number>(
    generator: &mut Generator,
    values: &mut [T],
    low: i64,
    high: i64,
) -> Result<(), ParameterError> {
    let (low, range) = bounds::<T>(low, high)?;
    fill(generator, values, low, range);
    Ok(())
}

/// The lowest integer and how many there are.
pub(crate) fn bounds<T: Number>(low: i64, high: i64) -> Result<(i64, u64), ParameterError> {
    let error = ParameterError::IntegerRange { low, high };
    if low >= high {
        return Err(error);
    }
    let (low, high) = (T::inner_low(low), T::inner_high(high));
    if low >= high {
        return Err(error);
    }
    fits::<T>(low, high - 1)?;
    Ok((low, high.wrapping_sub(low).cast_unsigned()))
}

/// `values.random_(low, None)`: integers from `low` to the type's largest, that one included. From -2^63 on, all bits of an
/// integer: 64 drawn bits.
///
/// # Errors
/// If the type cannot hold `low`; for -2^63 all types but `i64`, `f64`, `f32` and `torch.bfloat16`; for `u64`, always, as in
/// `PyTorch`. Nothing is drawn then.
pub fn random_from_<T: Number>(generator: &mut Generator, values: &mut [T], low: i64) -> Result<(), ParameterError> {
    if low == i64::MIN {
        if !T::TAKES_64_BITS {
            return Err(ParameterError::Type { operation: "random_(-2**63, None)", dtype: T::DTYPE });
        }
        values.fill_with(|| T::from_i64(generator.next_u64().cast_signed()));
        return Ok(());
    }
    let (low, last) = (T::inner_low(low), T::LAST);
    if low > last || (T::IS_FLOAT && low == last) {
        return Err(ParameterError::IntegerRange { low, high: last });
    }
    fits::<T>(low, last)?;
    fill(generator, values, low, last.wrapping_sub(low).cast_unsigned().wrapping_add(1));
    Ok(())
}

fn fits<T: Number>(low: i64, last: i64) -> Result<(), ParameterError> {
    let fits = T::holds(low) && T::holds(last);
    if fits { Ok(()) } else { Err(ParameterError::IntegerType { low, last, dtype: T::DTYPE }) }
}

fn fill<T: Number>(generator: &mut Generator, values: &mut [T], low: i64, range: u64) {
    if range < WIDE {
        values.fill_with(|| T::from_i64(low.wrapping_add_unsigned(u64::from(generator.next_u32()) % range)));
    } else {
        values.fill_with(|| T::from_i64(low.wrapping_add_unsigned(generator.next_u64() % range)));
    }
}
