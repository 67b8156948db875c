//! Draws that are left out: a generator that jumps ahead.
//!
//! Some thousand draws are passed a renewal of the words at a time. For more, the words are a linear recurrence over bits: with
//! its characteristic polynomial P, the words n further on are the sum of those words whose places are the powers in
//! x^n mod P (Haramoto, Matsumoto, Nishimura, Panneton and L'Ecuyer, 2008).

use crate::generator::Generator;
use crate::mt19937::{Mt19937, WORDS};

/// The characteristic polynomial's powers below the highest, which is x^19937; found by the algorithm of Berlekamp and Massey
/// from the generator's own bits.
#[rustfmt::skip]
const POWERS: [usize; 134] = [
    19314, 19087, 18860, 18691, 18633, 18406, 18237, 18179, 18068, 17952, 17841, 17783, 17725, 17498, 17445, 17329, 17271, 17160,
    17044, 16933, 16875, 16822, 16817, 16595, 16590, 16537, 16421, 16368, 16363, 16252, 16141, 16136, 16025, 15967, 15909, 15682,
    15629, 15576, 15513, 15455, 15349, 15344, 15228, 15117, 15059, 15006, 15001, 14953, 14779, 14774, 14721, 14605, 14552, 14547,
    14436, 14325, 14320, 14209, 14151, 14093, 13866, 13813, 13760, 13697, 13639, 13533, 13528, 13412, 13301, 13243, 13190, 13185,
    13137, 12963, 12958, 12905, 12789, 12736, 12731, 12673, 12620, 12509, 12504, 12393, 12335, 12277, 11997, 11944, 11881, 11838,
    11717, 11712, 11611, 11485, 11384, 11374, 11321, 11215, 11157, 11147, 11089, 10920, 10761, 10693, 10128, 9969, 9901, 9505,
    8206, 7979, 7752, 7583, 7525, 7477, 7129, 6569, 6337, 5661, 4753, 4362, 4135, 3908, 3681, 3454, 3227, 3000,
    2773, 2493, 1870, 1643, 1585, 1416, 1189, 0,
];
const DEGREE: usize = 19937;
/// From so many renewals on, the polynomial is quicker.
const FAR: u64 = 20_000;

impl Generator {
    /// Leaves out so many draws of 32 bits: what is drawn next is what would have been drawn after them. Takes the time of a
    /// few million draws at most, however far. Cached normal values stay.
    ///
    /// How many draws a distribution takes is said at each; a `rand::<f32>` of n numbers, for one, takes n.
    ///
    /// ```
    /// use rekindle_random::{Generator, rand};
    ///
    /// let mut generator = Generator::new(0);
    /// generator.skip(3);
    /// assert_eq!(rand::<f32>(&mut generator, 1), rand::<f32>(&mut Generator::new(0), 4)[3..]);
    /// ```
    pub fn skip(&mut self, draws: u64) {
        self.engine.skip(draws);
    }
}

impl Mt19937 {
    /// Leaves out so many draws, see [`Generator::skip`].
    pub fn skip(&mut self, draws: u64) {
        let ahead = u64::from(self.left() - 1);
        let Some(beyond) = draws.checked_sub(ahead + 1) else {
            // Less than u32::MAX, as `left` is.
            return self.pass(u32::try_from(draws).unwrap_or_default());
        };
        // One draw renews the words and takes the first of them; so many come after it.
        let words = WORDS as u64;
        let (renewals, after) = (beyond / words + 1, beyond % words);
        if renewals < FAR {
            for _ in 0..renewals {
                self.renew();
            }
        } else {
            self.jump(renewals);
        }
        self.pass_first(u32::try_from(after).unwrap_or_default());
    }

    /// Renews the words so many times, at once.
    fn jump(&mut self, renewals: u64) {
        // The lower bits of the very first word of a seed are part of no recurrence: begin with the next words.
        self.renew();
        let chosen = power_of_x(u128::from(renewals - 1) * WORDS as u128);
        let mut following = Vec::with_capacity(DEGREE + 2 * WORDS);
        let mut engine = self.clone();
        while following.len() < DEGREE + WORDS {
            following.extend_from_slice(engine.words());
            engine.renew();
        }
        let mut words = [0; WORDS];
        for place in (0..DEGREE).filter(|place| chosen.get(*place)) {
            for (word, other) in words.iter_mut().zip(&following[place..]) {
                *word ^= other;
            }
        }
        self.replace(&words);
    }
}

/// x to this power, modulo the characteristic polynomial.
fn power_of_x(power: u128) -> Polynomial {
    let mut result = Polynomial::one();
    for bit in (0..128 - power.leading_zeros()).rev() {
        result = result.square();
        if power >> bit & 1 == 1 {
            result.times_x();
        }
    }
    result
}

const LIMBS: usize = DEGREE.div_ceil(64);

/// A polynomial over bits of a degree below 19937, the lowest power in the lowest bit.
struct Polynomial(Vec<u64>);

impl Polynomial {
    fn one() -> Self {
        let mut limbs = vec![0; LIMBS];
        limbs[0] = 1;
        Self(limbs)
    }

    fn get(&self, power: usize) -> bool {
        self.0[power / 64] >> (power % 64) & 1 == 1
    }

    /// Every power twice as high: over bits, mixed terms vanish.
    fn square(&self) -> Self {
        let mut limbs = vec![0; 2 * LIMBS];
        for (pair, limb) in limbs.chunks_exact_mut(2).zip(&self.0) {
            pair[0] = spread(*limb & 0xffff_ffff);
            pair[1] = spread(*limb >> 32);
        }
        // From the top, 64 powers at a time are replaced by lower ones; the nearest of them is 623 further down.
        for limb in (DEGREE / 64..2 * LIMBS).rev() {
            let keep = if limb == DEGREE / 64 { DEGREE % 64 } else { 0 };
            let high = limbs[limb] >> keep;
            limbs[limb] ^= high << keep;
            for power in POWERS {
                let start = 64 * limb + keep - DEGREE + power;
                limbs[start / 64] ^= high << (start % 64);
                if !start.is_multiple_of(64) {
                    limbs[start / 64 + 1] ^= high >> (64 - start % 64);
                }
            }
        }
        limbs.truncate(LIMBS);
        Self(limbs)
    }

    fn times_x(&mut self) {
        let mut carry = 0;
        for limb in &mut self.0 {
            (*limb, carry) = (*limb << 1 | carry, *limb >> 63);
        }
        if self.get(DEGREE) {
            for power in POWERS.into_iter().chain([DEGREE]) {
                self.0[power / 64] ^= 1 << (power % 64);
            }
        }
    }
}

/// 32 bits with a 0 between any two.
fn spread(bits: u64) -> u64 {
    [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ]
    .into_iter()
    .fold(bits, |bits, (shift, mask)| (bits | bits << shift) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_arrives_where_renewals_do() {
        for (seed, renewals) in [(0, 1), (1, 2), (5489, 3), (7, 33), (8, 1000), (9, 20_011)] {
            let mut stepwise = Mt19937::new(seed);
            for _ in 0..renewals {
                stepwise.renew();
            }
            let mut jumped = Mt19937::new(seed);
            jumped.jump(renewals);
            assert_eq!(jumped, stepwise, "{renewals}");
        }
    }

    #[test]
    fn jumps_add_up() {
        let (far, further) = (1 << 40, u64::MAX / 700);
        let mut twice = Mt19937::new(3);
        twice.jump(far);
        twice.jump(further);
        let mut once = Mt19937::new(3);
        once.jump(far + further);
        assert_eq!(once, twice);
    }
}
