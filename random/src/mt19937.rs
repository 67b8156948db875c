//! The Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998) as `PyTorch` keeps it: 624 words that are renewed all at once,
//! and only when a draw finds none left.

/// Words in the engine's state.
pub(crate) const WORDS: usize = 624;
/// How far ahead the word lies that each new word is mixed with.
const SHIFT: usize = 397;
const MATRIX: u32 = 0x9908_b0df;
const UPPER_BIT: u32 = 0x8000_0000;

/// The engine under [`Generator`](crate::Generator): 32 random bits a draw, with a period of 2^19937 - 1.
///
/// ```
/// let mut engine = rekindle_random::Mt19937::new(5489);
/// assert_eq!(engine.next_u32(), 3_499_211_612); // the first value of the authors' reference program
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Mt19937 {
    words: [u32; WORDS],
    /// Draws until the words are renewed, that one included: 1 to 624.
    left: u32,
    /// The word that the next draw returns unless the words are renewed first. While `left` > 1, `next + left` <= 625, so that
    /// every draw before the renewal finds its word.
    next: u32,
}

impl Mt19937 {
    /// An engine started from a 32-bit seed by Knuth's recurrence. No word is drawn yet.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut word = seed;
        let mut words = [seed; WORDS];
        for (index, slot) in (1..).zip(words.iter_mut().skip(1)) {
            word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(index);
            *slot = word;
        }
        Self { words, left: 1, next: 0 }
    }

    /// An engine in the middle of its run. `None` if a draw would look beyond the words.
    pub(crate) fn from_parts(words: &[u32; WORDS], left: u32, next: u32) -> Option<Self> {
        let every_draw_has_a_word = left == 1 || (left > 1 && left.checked_add(next)? <= 625);
        every_draw_has_a_word.then_some(Self { words: *words, left, next })
    }

    /// The 624 words, some of which may be drawn already.
    pub(crate) fn words(&self) -> &[u32; WORDS] {
        &self.words
    }

    /// Draws until the words are renewed, that one included.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// The index of the word that comes next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The next 32 bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        self.left -= 1;
        if self.left == 0 {
            self.renew();
        }
        let word = self.words[self.next as usize];
        self.next += 1;
        temper(word)
    }

    /// [`next_u32`](Self::next_u32) sixteen times, in one go where the words are there.
    #[inline(always)]
    pub(crate) fn next_16(&mut self) -> [u32; 16] {
        let mut drawn = [0; 16];
        // The last of them would renew the words.
        let there = (self.left > 16).then(|| self.words.get(self.next as usize..)?.first_chunk::<16>()).flatten();
        if let Some(words) = there {
            for (drawn, word) in drawn.iter_mut().zip(words) {
                *drawn = temper(*word);
            }
            self.pass(16);
        } else {
            drawn.fill_with(|| self.next_u32());
        }
        drawn
    }

    /// Goes on by so many draws, which `left` has.
    pub(crate) fn pass(&mut self, draws: u32) {
        self.left -= draws;
        self.next += draws;
    }

    /// Goes on by the draw that renewed the words, and so many after it.
    pub(crate) fn pass_first(&mut self, after: u32) {
        self.pass(after);
        self.next += 1;
    }

    /// Other words, none of which is drawn yet.
    pub(crate) fn replace(&mut self, words: &[u32; WORDS]) {
        *self = Self { words: *words, left: 624, next: 0 };
    }

    /// Replaces all words by the next 624 of the recurrence.
    pub(crate) fn renew(&mut self) {
        let words = &mut self.words;
        for index in 0..WORDS - SHIFT {
            words[index] = words[index + SHIFT] ^ twist(words[index], words[index + 1]);
        }
        for index in WORDS - SHIFT..WORDS - 1 {
            words[index] = words[index + SHIFT - WORDS] ^ twist(words[index], words[index + 1]);
        }
        words[WORDS - 1] = words[SHIFT - 1] ^ twist(words[WORDS - 1], words[0]);
        self.left = 624;
        self.next = 0;
    }
}

impl std::fmt::Debug for Mt19937 {
    /// Shows the position; 624 words help nobody.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mt19937").field("left", &self.left).field("next", &self.next).finish_non_exhaustive()
    }
}

/// What is drawn, made of a word.
#[inline(always)]
fn temper(mut bits: u32) -> u32 {
    bits ^= bits >> 11;
    bits ^= (bits << 7) & 0x9d2c_5680;
    bits ^= (bits << 15) & 0xefc6_0000;
    bits ^ (bits >> 18)
}

/// The recurrence's linear map, applied to the top bit of one word and the lower bits of the following one.
#[inline]
fn twist(word: u32, following: u32) -> u32 {
    let mixed = (word & UPPER_BIT) | (following & !UPPER_BIT);
    (mixed >> 1) ^ if following & 1 == 1 { MATRIX } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_at_once_are_sixteen_draws_wherever_they_begin() {
        for begin in 0..640 {
            let mut one_by_one = Mt19937::new(7);
            (0..begin).for_each(|_| _ = one_by_one.next_u32());
            let mut at_once = one_by_one.clone();
            for _ in 0..80 {
                assert_eq!(at_once.next_16(), std::array::from_fn(|_| one_by_one.next_u32()), "{begin}");
                assert!(at_once == one_by_one);
            }
        }
    }
}
