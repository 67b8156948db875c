//! How much memory loading costs, measured from outside: a process of its own loads a file while it watches itself.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_recorder::{Checkpoint, StateDict, Tensor};

const LAYERS: usize = 31;
const SIZE: usize = 2000;
/// 124 million parameters of four bytes.
const MODEL: u64 = (LAYERS * SIZE * SIZE * 4) as u64;
const MIB: u64 = 1 << 20;

/// Matrices that lie the other way round in Burn: the costliest row.
#[derive(Module, Debug)]
struct Deep {
    layers: Vec<Linear>,
}

/// Memory that is no mapped file, in bytes.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn loading_124_million_parameters_costs_their_own_size_and_at_most_64_mib() {
    if let Some(path) = std::env::var_os("REKINDLE_TEST_LOAD") {
        load(Path::new(&path));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep.pt");
    let layer = |place: usize| {
        let value = f32::from(u8::try_from(place).unwrap());
        (format!("layers.{place}.weight"), Tensor::from_vec(&[SIZE, SIZE], vec![value; SIZE * SIZE]).unwrap())
    };
    Checkpoint::from(StateDict::from_iter((0..LAYERS).map(layer))).save(&path).unwrap();

    let name = "memory::loading_124_million_parameters_costs_their_own_size_and_at_most_64_mib";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env("REKINDLE_TEST_LOAD", &path);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let peak = text.lines().find_map(|line| line.split("peak ").nth(1)).unwrap_or_else(|| panic!("{text}"));
    let peak: u64 = peak.trim().parse().unwrap();
    println!("the model has {} MiB, loading it took {} MiB", MODEL / MIB, peak / MIB);
    assert!((MODEL..=MODEL + 64 * MIB).contains(&peak), "{} MiB for a model of {} MiB", peak / MIB, MODEL / MIB);
}

/// Loads the file and prints the most memory that it took.
fn load(path: &Path) {
    let device = Device::flex();
    let linear = || LinearConfig::new(SIZE, SIZE).with_bias(false).init(&device);
    let mut model = Deep { layers: (0..LAYERS).map(|_| linear()).collect() };
    let before = anonymous();
    let (done, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watch = std::thread::spawn({
        let (done, peak) = (done.clone(), peak.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        }
    });
    let state_dict = Checkpoint::open(path).unwrap().state_dict("").unwrap();
    assert!(model.load_state_dict(&state_dict).unwrap().is_exact());
    peak.fetch_max(anonymous(), Ordering::Relaxed);
    done.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    assert_eq!(model.layers[7].weight.val().slice([0..1, 0..1]).into_scalar::<f32>(), 7.0);
    println!("peak {}", peak.load(Ordering::Relaxed) - before);
}
