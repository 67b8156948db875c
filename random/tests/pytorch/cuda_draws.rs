//! Philox, and what the operations of a GPU draw and leave of the offset: `tests/fixtures/distributions/cuda.json`.

use std::fs;
use std::path::PathBuf;

use rekindle_random::{CudaDevice, CudaGeneratorState, Half, philox};
use serde_json::Value;

use super::distributions::{Element, bits_of, bytes};
use super::{list, seed, sha256, text};

fn recorded() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/distributions/cuda.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn unsigned(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64().unwrap(), |digits| digits.parse().unwrap())
}

fn device(processors: &Value, threads: &Value) -> CudaDevice {
    let number = |value: &Value| u32::try_from(unsigned(value)).unwrap();
    CudaDevice { multi_processor_count: number(processors), max_threads_per_multi_processor: number(threads) }
}

#[test]
fn blocks_of_philox_are_those_of_random123_and_pytorch() {
    let recorded = recorded();
    assert_eq!(list(&recorded["philox"]).len(), 7);
    for entry in list(&recorded["philox"]) {
        let block = philox(unsigned(&entry["seed"]), unsigned(&entry["subsequence"]), unsigned(&entry["offset"]));
        assert_eq!(block.map(u64::from).to_vec(), list(&entry["block"]).iter().map(unsigned).collect::<Vec<_>>());
    }
}

#[test]
fn the_offset_goes_on_by_what_the_elements_take() {
    for entry in list(&recorded()["increments"]) {
        let device = device(&entry[0], &entry[1]);
        assert_eq!(device.increment(unsigned(&entry[2]), unsigned(&entry[3])), unsigned(&entry[4]), "{entry}");
    }
    let device = CudaDevice { multi_processor_count: 132, max_threads_per_multi_processor: 2048 };
    assert_eq!(device.increment(0, 4), 0);
    // cuda_distributions_test.cu of PyTorch: 4 elements take 4, eight times the threads take 8.
    assert_eq!(device.increment(4, 4), 4);
    assert_eq!(device.increment(8 * 132 * 2048, 4), 8);
    let mut state = CudaGeneratorState::new(1);
    assert_eq!((state.advance(10), state.offset), (0, 12));
}

#[test]
fn tensors_of_a_gpu_are_filled_as_its_threads_would() {
    let recorded = recorded();
    for generator in list(&recorded["draws"]) {
        let device = device(&generator["device"][0], &generator["device"][1]);
        let mut state = CudaGeneratorState {
            offset: unsigned(&generator["offset"]),
            ..CudaGeneratorState::new(seed(&generator["seed"]))
        };
        for call in list(&generator["calls"]) {
            let n = usize::try_from(unsigned(&call["n"])).unwrap();
            let (drawn, size) = match text(&call["dtype"]) {
                "f32" => (real(&mut state, device, vec![0.0_f32; n], call), 4),
                "f64" => (real(&mut state, device, vec![0.0_f64; n], call), 8),
                "f16" => (real(&mut state, device, vec![Half::default(); n], call), 2),
                "i64" => (whole(&mut state, device, vec![0_i64; n], call), 8),
                "i8" => (whole(&mut state, device, vec![0_i8; n], call), 1),
                other => panic!("{other}"),
            };
            let first: Vec<String> = drawn.chunks(size).take(4).map(bits_of).collect();
            assert_eq!(first, list(&call["first"]).iter().map(text).collect::<Vec<_>>(), "{call}");
            assert_eq!(sha256(&drawn), text(&call["sha256"]), "{call}");
        }
        assert_eq!(state.offset, unsigned(&generator["then_offset"]));
    }
}

fn real<T: Element + rekindle_random::Real + rekindle_random::Number>(
    state: &mut CudaGeneratorState,
    device: CudaDevice,
    mut values: Vec<T>,
    call: &Value,
) -> Vec<u8> {
    let argument = |place: usize| call["arguments"][place].as_f64().unwrap();
    match text(&call["call"]) {
        "rand" => state.uniform_(device, &mut values, 0.0, 1.0).unwrap(),
        "uniform_" => state.uniform_(device, &mut values, argument(0), argument(1)).unwrap(),
        "bernoulli_" => state.bernoulli_(device, &mut values, argument(0)).unwrap(),
        other => panic!("{other}"),
    }
    bytes(values)
}

fn whole<T: Element + rekindle_random::Number>(
    state: &mut CudaGeneratorState,
    device: CudaDevice,
    mut values: Vec<T>,
    call: &Value,
) -> Vec<u8> {
    let argument = |place: usize| call["arguments"][place].as_i64().unwrap();
    match text(&call["call"]) {
        "random_" => state.random_(device, &mut values).unwrap(),
        "random_from_to_" => state.random_from_to_(device, &mut values, argument(0), argument(1)).unwrap(),
        other => panic!("{other}"),
    }
    bytes(values)
}
