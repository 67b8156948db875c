//! `torch.randperm`: a random order of 0 to n - 1, which is what `DataLoader(shuffle=True)` walks through.

use crate::generator::Generator;

/// From this length on, 32 bits are too few for a fair choice, and `PyTorch` takes 64: (2^32 - 1) / 20.
const LARGE: usize = 214_748_364;

/// `torch.randperm(n)`: shape `[n]`, each integer of `0..n` once.
///
/// Draws n - 1 numbers of 32 bits; for n of 214,748,364 and more, n numbers of 64 bits.
///
/// ```
/// use rekindle_random::{Generator, randperm};
///
/// assert_eq!(randperm(&mut Generator::new(42), 5), [2, 4, 3, 0, 1]);
/// ```
pub fn randperm(generator: &mut Generator, n: usize) -> Vec<i64> {
    if n < LARGE { shuffle(generator, n) } else { inside_out(generator, n) }
}

/// Fisher and Yates from the front: each place is swapped with one that is not yet settled.
fn shuffle(generator: &mut Generator, n: usize) -> Vec<i64> {
    let mut order: Vec<i64> = (0..).take(n).collect();
    for index in 0..n.saturating_sub(1) {
        let ahead = generator.next_u32() as usize % (n - index);
        order.swap(index, index + ahead);
    }
    order
}

/// Fisher and Yates inside out: each new number takes the place of an earlier one, which moves to the end.
fn inside_out(generator: &mut Generator, n: usize) -> Vec<i64> {
    let mut order = Vec::with_capacity(n);
    for (number, count) in (0_i64..).zip(1_u64..).take(n) {
        // The remainder is below the length, which is a usize.
        let index = usize::try_from(generator.next_u64() % count).unwrap_or_default();
        order.push(number);
        let last = order.len() - 1;
        order.swap(index, last);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_every_number_once() {
        for n in [0, 1, 2, 3, 10, 1000] {
            for way in [shuffle, inside_out] {
                let mut order = way(&mut Generator::new(3), n);
                order.sort_unstable();
                assert!(order.iter().copied().eq((0..).take(n)), "{n}");
            }
        }
    }

    #[test]
    fn each_way_draws_as_many_bits_as_promised() {
        let drawn = |way: fn(&mut Generator, usize) -> Vec<i64>, n| {
            let mut generator = Generator::new(3);
            way(&mut generator, n);
            generator.engine.next()
        };
        assert_eq!(drawn(shuffle, 100), 99);
        assert_eq!(drawn(inside_out, 100), 200);
    }
}
