//! What the engine and the normal distribution leave in the state: when words are renewed, and the value that is kept.

use std::ops::Range;

use rekindle_random::{Generator, Mt19937, randn};

const LEFT: Range<usize> = 8..12;
const NEXT: Range<usize> = 16..24;
const WORDS: Range<usize> = 24..5016;
/// The second value of a pair of normals, and whether there is one.
const CACHED: Range<usize> = 5024..5044;

/// Draws until the words are renewed, and the index of the next one.
fn position(generator: &Generator) -> (i32, u64) {
    let state = generator.state();
    let next = u64::from_le_bytes(state[NEXT].try_into().unwrap());
    (i32::from_le_bytes(state[LEFT].try_into().unwrap()), next)
}

fn words(generator: &Generator) -> Vec<u8> {
    generator.state()[WORDS].to_vec()
}

#[test]
fn ten_thousandth_draw_is_the_one_the_cpp_standard_prescribes() {
    let mut engine = Mt19937::new(5489);
    assert_eq!((0..10_000).map(|_| engine.next_u32()).last(), Some(4_123_659_995)); // [rand.predef]
}

#[test]
fn words_are_renewed_only_when_none_is_left() {
    let mut generator = Generator::new(1);
    let fresh = words(&generator);
    assert_eq!(position(&generator), (1, 0));
    generator.next_u32();
    assert_ne!(words(&generator), fresh);
    assert_eq!(position(&generator), (624, 1));
    let first_set = words(&generator);
    for _ in 0..623 {
        generator.next_u32();
    }
    assert_eq!(position(&generator), (1, 624));
    assert_eq!(words(&generator), first_set);
    generator.next_u32();
    assert_ne!(words(&generator), first_set);
}

#[test]
fn any_accepted_position_can_draw_on_for_ever() {
    let mut state = Generator::new(1).state();
    for left in 0..=624_u16 {
        for next in 0..=624_u16 {
            state[LEFT].copy_from_slice(&i32::from(left).to_le_bytes());
            state[NEXT].copy_from_slice(&u64::from(next).to_le_bytes());
            if let Ok(mut generator) = Generator::from_state(&state) {
                for _ in 0..700 {
                    generator.next_u32();
                }
            } else {
                assert!(left == 0 || left + next > 625);
            }
        }
    }
}

#[test]
fn fewer_than_16_normals_leave_a_value_for_the_next_call() {
    let mut generator = Generator::new(0);
    let pair = randn::<f64>(&mut generator.clone(), 2);
    assert_eq!([randn::<f64>(&mut generator, 1), randn::<f64>(&mut generator, 1)].concat(), pair);
    assert_eq!(position(&generator).1, 4);
}

#[test]
fn sixteen_normals_leave_the_cached_value_alone() {
    let mut generator = Generator::new(0);
    randn::<f32>(&mut generator, 1);
    let cached = generator.state()[CACHED].to_vec();
    assert_eq!(cached[16], 1);
    randn::<f32>(&mut generator, 17);
    assert_eq!(generator.state()[CACHED], cached);
}

#[test]
fn skipping_leaves_the_state_that_drawing_does() {
    for before in [0, 1, 5, 622, 623, 624, 625] {
        for skipped in [0, 1, 2, 600, 618, 619, 622, 623, 624, 625, 1247, 1248, 1249, 100_000] {
            let mut drawn = Generator::new(9);
            (0..before).for_each(|_| _ = drawn.next_u32());
            let mut skips = drawn.clone();
            (0..skipped).for_each(|_| _ = drawn.next_u32());
            skips.skip(skipped);
            assert!(skips.state() == drawn.state(), "{skipped} after {before}");
        }
    }
}

#[test]
fn far_skips_arrive_where_near_ones_do() {
    let mut near = Generator::new(-4);
    randn::<f32>(&mut near, 3);
    let mut far = near.clone();
    for _ in 0..10 {
        near.skip(1_700_001);
    }
    far.skip(17_000_010);
    assert_eq!(far, near);
}
