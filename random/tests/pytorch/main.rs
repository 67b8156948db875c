//! Every draw and every state against `PyTorch`'s own, recorded by `tests/fixtures/sections/random.py`.

mod cuda;
mod cuda_draws;
mod distributions;
mod engine;
mod parameters;

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use rekindle_random::{
    CudaGeneratorState, DEFAULT_SEED, Generator, Real, STATE_SIZE, Seed, StateError, bernoulli, bernoulli_,
    exponential_, normal_, normal_strided_, rand, randint, randn, random_int64, randperm, uniform_,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

#[test]
fn every_recorded_sequence_is_drawn_bit_for_bit() {
    let draws = draws();
    let sequences = list(&draws["sequences"]);
    assert!(sequences.len() > 30);
    for sequence in sequences {
        let name = text(&sequence["name"]);
        let mut generator = Generator::new(seed(&sequence["seed"]));
        assert_eq!(generator.initial_seed().to_string(), text(&sequence["initial_seed"]), "{name}");
        repeat(&mut generator, &sequence["calls"], name);
        assert_eq!(sha256(&generator.state()), text(&sequence["state"]), "{name}: state afterwards");
    }
}

#[test]
fn every_recorded_state_is_reached_written_and_continued() {
    let draws = draws();
    let states = fs::read(fixtures().join("states.bin")).unwrap();
    let recorded = list(&draws["states"]);
    assert_eq!(states.len(), recorded.len() * STATE_SIZE);
    for (state, recorded) in states.chunks(STATE_SIZE).zip(recorded) {
        let name = text(&recorded["name"]);
        let mut reached = Generator::new(seed(&recorded["seed"]));
        repeat(&mut reached, &recorded["calls"], name);
        assert!(reached.state() == state, "{name}: the state reached differs from PyTorch's");

        let mut restored = Generator::default();
        restored.set_state(state).unwrap();
        assert!(restored.state() == state, "{name}: the state does not round trip");
        assert_eq!(restored, reached, "{name}");
        repeat(&mut restored, &recorded["following"], name);
        repeat(&mut reached, &recorded["following"], name);
        assert_eq!(restored, reached, "{name}");
    }
}

#[test]
fn a_changed_state_is_taken_or_refused_as_by_pytorch() {
    let draws = draws();
    let states = fs::read(fixtures().join("states.bin")).unwrap();
    for change in list(&draws["damaged"]) {
        let name = text(&change["name"]);
        let mut state = states[..STATE_SIZE].to_vec();
        if let Some(size) = change["size"].as_u64() {
            state.resize(usize::try_from(size).unwrap(), 0);
        } else {
            let offset = usize::try_from(change["offset"].as_u64().unwrap()).unwrap();
            for (place, pair) in text(&change["bytes"]).as_bytes().chunks(2).enumerate() {
                state[offset + place] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            }
        }
        let mut generator = Generator::new(99);
        match (generator.set_state(&state), change["error"].as_str()) {
            (Ok(()), None) => {
                assert_eq!(sha256(&generator.state()), text(&change["state"]), "{name}");
                repeat(&mut generator, &Value::Array(vec![change["following"].clone()]), name);
            }
            (Err(_), Some(_)) => {
                assert_eq!(generator, Generator::new(99), "{name}: a refused state changed the generator");
            }
            (here, there) => panic!("{name}: {here:?} here, {there:?} in PyTorch"),
        }
    }
}

#[test]
fn each_state_error_says_what_is_wrong() {
    let with = |offset: usize, bytes: &[u8]| {
        let mut state = Generator::new(5).state();
        state[offset..offset + bytes.len()].copy_from_slice(bytes);
        Generator::from_state(&state).unwrap_err()
    };
    let mut position = Generator::new(5).state();
    position[8..12].copy_from_slice(&600_i32.to_le_bytes());
    position[16..24].copy_from_slice(&26_u64.to_le_bytes());
    let cuda_offset = CudaGeneratorState { seed: 1, offset: 2 }.to_bytes();
    let errors = [
        (Generator::from_state(&[]).unwrap_err(), StateError::Size { found: 0 }, "5056 bytes, found 0"),
        (Generator::from_state(&[0; 5048]).unwrap_err(), StateError::Size { found: 5048 }, "before 1.2"),
        (with(12, &[0]), StateError::NotSeeded, "never seeded"),
        (with(8, &[0xff; 4]), StateError::Left { found: -1 }, "-1 draws left"),
        (with(16, &625_u64.to_le_bytes()), StateError::Next { found: 625 }, "next word is 625"),
        (
            Generator::from_state(&position).unwrap_err(),
            StateError::Position { left: 600, next: 26 },
            "run past its 624 words",
        ),
        (
            CudaGeneratorState::from_bytes(&[0; 5056]).unwrap_err(),
            StateError::CudaSize { found: 5056 },
            "16 bytes, or 816",
        ),
        (
            CudaGeneratorState::from_bytes(&cuda_offset).unwrap_err(),
            StateError::CudaOffset { found: 2 },
            "multiple of 4",
        ),
    ];
    for (found, expected, says) in errors {
        assert_eq!(found, expected);
        assert!(found.to_string().contains(says), "{found}");
    }
}

#[test]
fn an_unseeded_generator_is_pytorchs() {
    assert_eq!(Generator::default(), Generator::new(DEFAULT_SEED));
    assert_eq!(Generator::default().initial_seed(), 67_280_421_310_721);
}

#[test]
fn seeding_again_forgets_everything() {
    let mut generator = Generator::new(3);
    randn::<f32>(&mut generator, 1); // leaves a cached value
    assert_ne!(generator, Generator::new(3));
    generator.manual_seed(3);
    assert_eq!(generator, Generator::new(3));
}

#[test]
fn a_clone_is_a_fork() {
    let mut original = Generator::new(3);
    randn::<f32>(&mut original, 3);
    let mut fork = original.clone();
    let ahead = (randn::<f64>(&mut fork, 9), randperm(&mut fork, 1000));
    assert_ne!(fork, original);
    assert_eq!((randn::<f64>(&mut original, 9), randperm(&mut original, 1000)), ahead);
    assert_eq!(fork, original);
}

/// Around the length from which `PyTorch` takes 64 bits a number.
#[test]
#[ignore = "needs two gigabytes of memory"]
fn the_longest_permutations_are_pytorchs() {
    let draws = draws();
    let recorded = list(&draws["large_permutations"]);
    assert_eq!(recorded.len(), 2);
    for permutation in recorded {
        let n = usize::try_from(permutation["n"].as_u64().unwrap()).unwrap();
        let mut hasher = Sha256::new();
        for number in randperm(&mut Generator::new(seed(&permutation["seed"])), n) {
            hasher.update(i32::try_from(number).unwrap().to_le_bytes());
        }
        assert_eq!(format!("{:x}", hasher.finalize()), text(&permutation["sha256"]), "{n}");
    }
}

/// Makes the recorded calls again and compares each result.
fn repeat(generator: &mut Generator, calls: &Value, name: &str) {
    for (place, call) in list(calls).iter().enumerate() {
        let n = usize::try_from(call["n"].as_u64().unwrap()).unwrap();
        let drawn = match call["dtype"].as_str() {
            Some("f32") => bits(floats::<f32>(generator, call, n), |value| (u64::from(value.to_bits()), 4)),
            Some("f64") => bits(floats::<f64>(generator, call, n), |value| (value.to_bits(), 8)),
            None => bits(integers(generator, call, n), |value| (value.cast_unsigned(), 8)),
            Some(other) => panic!("{name}: type {other}"),
        };
        let Drawn { elements, bytes } = drawn;
        let place = format!("{name}, call {place}: {} of {n} {}", text(&call["call"]), call["dtype"]);
        assert_eq!(elements.len(), n, "{place}");
        let shown = |elements: &[u64]| elements.iter().map(|element| format!("{element:x}")).collect::<Vec<_>>();
        let recorded = |key: &str| list(&call[key]).iter().map(|element| text(element).to_owned()).collect::<Vec<_>>();
        assert_eq!(shown(&elements[..n.min(3)]), recorded("first"), "{place}: first elements");
        assert_eq!(shown(&elements[n.saturating_sub(2)..]), recorded("last"), "{place}: last elements");
        assert_eq!(sha256(&bytes), text(&call["sha256"]), "{place}: between the first and the last elements");
    }
}

/// What a call drew, as bits and as `PyTorch`'s bytes.
struct Drawn {
    elements: Vec<u64>,
    bytes: Vec<u8>,
}

fn bits<T>(values: Vec<T>, bits_and_size: impl Fn(T) -> (u64, usize)) -> Drawn {
    let mut drawn = Drawn { elements: Vec::new(), bytes: Vec::new() };
    for value in values {
        let (bits, size) = bits_and_size(value);
        drawn.elements.push(bits);
        drawn.bytes.extend_from_slice(&bits.to_le_bytes()[..size]);
    }
    drawn
}

fn floats<T: Real + Default + From<bool> + FromIndex + Debug>(
    generator: &mut Generator,
    call: &Value,
    n: usize,
) -> Vec<T> {
    let argument = |place: usize| call["arguments"][place].as_f64().unwrap();
    let mut values = vec![T::default(); n];
    match text(&call["call"]) {
        "rand" => values = rand(generator, n),
        "randn" => values = randn(generator, n),
        "uniform_" => uniform_(generator, &mut values, argument(0), argument(1)).unwrap(),
        "normal_" => normal_(generator, &mut values, argument(0), argument(1)).unwrap(),
        "normal_strided_" => normal_strided_(generator, &mut values, argument(0), argument(1)).unwrap(),
        "bernoulli_" => bernoulli_(generator, &mut values, argument(0)).unwrap(),
        "bernoulli" => {
            let probabilities: Vec<T> = (0..n).map(|index| T::fraction(index, n)).collect();
            values = bernoulli(generator, &probabilities).unwrap();
        }
        "exponential_" => exponential_(generator, &mut values, argument(0)).unwrap(),
        other => panic!("{other}"),
    }
    values
}

fn integers(generator: &mut Generator, call: &Value, n: usize) -> Vec<i64> {
    let argument = |place: usize| call["arguments"][place].as_i64().unwrap();
    match text(&call["call"]) {
        "random_" => (0..n).map(|_| random_int64(generator)).collect(),
        "bits" => (0..n).map(|_| generator.next_u64().cast_signed()).collect(),
        "randint" => randint(generator, argument(0), argument(1), n).unwrap(),
        "randperm" => randperm(generator, n),
        other => panic!("{other}"),
    }
}

/// `torch.arange(n, dtype=...) / n`.
trait FromIndex {
    fn fraction(index: usize, n: usize) -> Self;
}

impl FromIndex for f32 {
    fn fraction(index: usize, n: usize) -> Self {
        f32::from(u16::try_from(index).unwrap()) / f32::from(u16::try_from(n).unwrap())
    }
}

impl FromIndex for f64 {
    fn fraction(index: usize, n: usize) -> Self {
        f64::from(u16::try_from(index).unwrap()) / f64::from(u16::try_from(n).unwrap())
    }
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/random")
}

fn draws() -> Value {
    serde_json::from_slice(&fs::read(fixtures().join("draws.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A seed as Python prints it, negative or up to 2^64 - 1.
fn seed(value: &Value) -> Seed {
    let digits = text(value);
    digits.parse::<i64>().map_or_else(|_| digits.parse::<u64>().unwrap().into(), Seed::from)
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
