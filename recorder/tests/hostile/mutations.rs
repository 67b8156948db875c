//! Every fixture, damaged at random places: bits flipped, bytes cut out, doubled, overwritten and spliced. Whatever comes of it,
//! opening, scanning, verifying and reading end in a value or an error. The places are the same in every run.

use std::path::PathBuf;
use std::time::Duration;

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::scan::scan;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, Limits};
use rekindle_testing::{Computed, fixtures};

/// Folders of `tests/fixtures`.
const FOLDERS: [&str; 7] = ["zip", "legacy", "safetensors", "numpy", "burnpack", "burn_record", "hf"];
/// Damaged files made of each fixture.
const EACH: u64 = 24;
/// Larger fixtures are left out: their formats have small ones, too.
const LARGEST: u64 = 256 << 10;

/// `SplitMix64` (Steele, Lea and Flood 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    /// A place, more often near the ends, where headers and directories are.
    fn place(&mut self, len: usize) -> usize {
        match self.below(4) {
            0 => self.below(len.min(128)),
            1 => len - 1 - self.below(len.min(256)),
            _ => self.below(len),
        }
    }

    fn damage(&mut self, whole: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = self.place(bytes.len());
            let count = (1 + self.below(16)).min(bytes.len() - at);
            match self.below(7) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'.', b'(', b'R'][self.below(8)],
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..at + count)),
                4 => {
                    let again = bytes[at..at + count].to_vec();
                    bytes.splice(at..at, again);
                }
                // A number of eight bytes that no length should have.
                5 => {
                    let value = [u64::MAX, 1 << 63, 1 << 32, u64::from(u32::MAX), 1 << 40][self.below(5)];
                    for (byte, new) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
                        *byte = new;
                    }
                }
                _ => {
                    let from = self.below(other.len());
                    let piece = &other[from..(from + count * 8).min(other.len())];
                    bytes.splice(at..at + count, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

#[test]
fn no_damage_to_any_fixture_makes_anything_panic() {
    // Small enough that a length which is believed would show.
    let mut limits = Limits::default();
    (limits.values, limits.value_bytes, limits.inflated_bytes) = (1_000_000, 64 << 20, 64 << 20);
    let options = OpenOptions::default().limits(limits.clone());
    let all = FOLDERS.iter().flat_map(|folder| fixtures::files(&fixtures::path(folder)));
    let all: Vec<PathBuf> = all.filter(|path| path.metadata().unwrap().len() <= LARGEST).collect();
    assert!(all.len() > 100, "{} fixtures", all.len());
    let work = rekindle_testing::scratch();
    let (mut cases, mut opened, mut slowest) = (0, 0, (Duration::ZERO, String::new()));
    let mut other = Vec::from(b"cos\nsystem\n(S'x'\ntR.");
    for (number, path) in all.iter().enumerate() {
        let whole = std::fs::read(path).unwrap();
        if whole.is_empty() {
            continue;
        }
        let mut random = Random(number as u64);
        for case in 0..EACH {
            let damaged = work.path().join("damaged");
            std::fs::write(&damaged, random.damage(&whole, &other)).unwrap();
            let start = Computed::now();
            if let Ok(checkpoint) = Checkpoint::open_with(&damaged, &options) {
                opened += 1;
                for (_, tensor) in checkpoint.tensors().unwrap_or_default() {
                    let _ = tensor.to_le_bytes();
                }
            }
            let _ = scan(&damaged, &limits);
            let _ = verify(&damaged, &options, true);
            let what = || format!("case {case} of {}", path.display());
            if start.elapsed() > slowest.0 {
                slowest = (start.elapsed(), what());
            }
            cases += 1;
        }
        other = whole;
    }
    eprintln!("{cases} damaged files, of which {opened} open; the slowest took {:?} ({})", slowest.0, slowest.1);
    assert!(cases > 2000 && opened > 0 && opened < cases);
    assert!(slowest.0 < Duration::from_secs(5), "{slowest:?}");
}
