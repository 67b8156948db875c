//! From a file to a module on the CPU: 512 MB of linear layers, whose weights Burn has the other way round. Each turn is the first of
//! its process, which has loaded a tiny file before: memory that was there once would be there again.

use burn::module::Module;
use burn::tensor::Device;
use burn_store::{ModuleSnapshot as _, PytorchStore};
use rekindle::bridge::ModuleStateDict as _;
use rekindle::models::init::Init;
use rekindle::models::nn;
use rekindle::{Checkpoint, StateDict, Tensor};

use super::data::numbers;
use super::{Line, Result, Row, Turn, timed, unknown};
use crate::setting::Setting;

const FILE: &str = "linears.pt";
const TINY: &str = "tiny.pt";
const LAYERS: usize = 8;
const TINY_WIDTH: usize = 8;
const MIB: u64 = 1 << 20;

#[derive(Module, Debug)]
struct OfBurn {
    layers: Vec<burn::nn::Linear>,
}

#[derive(Module, Debug)]
struct OfOurs {
    layers: Vec<nn::Linear>,
}

impl OfBurn {
    fn new(width: usize) -> Self {
        let device = Device::flex();
        OfBurn { layers: (0..LAYERS).map(|_| burn::nn::LinearConfig::new(width, width).init(&device)).collect() }
    }
}

impl OfOurs {
    fn new(width: usize) -> Result<Self> {
        let device = Device::flex();
        let mut init = Init::lazy(&device);
        let layer = |_| nn::LinearConfig::new(width, width).init(&mut init);
        Ok(OfOurs { layers: (0..LAYERS).map(layer).collect::<std::result::Result<_, _>>()? })
    }
}

pub(super) const LOAD: Row = Row {
    name: "load",
    what: "512 MB of linear layers go from a file into a module",
    prepare: |setting| {
        for (file, width) in [(FILE, width(setting)), (TINY, TINY_WIDTH)] {
            let mut state_dict = StateDict::new();
            for (at, seed) in (0..LAYERS).zip(1..) {
                let weight = Tensor::from_vec(&[width, width], numbers(width * width, seed * 104_729))?;
                state_dict.insert(format!("layers.{at}.weight"), weight);
                state_dict.insert(format!("layers.{at}.bias"), Tensor::from_vec(&[width], numbers(width, seed))?);
            }
            Checkpoint::from(state_dict).save(setting.file(file))?;
            // Large files are written past the page cache.
            drop(std::fs::read(setting.file(file))?);
        }
        Ok(())
    },
    lines: |setting| {
        let module = (LAYERS * width(setting) * (width(setting) + 1) * 4) as u64;
        let line = |what: &str, variant: &str| Line::new(what, variant).rounds(7).anew().memory(module + 64 * MIB);
        vec![
            line("load 512 MB of `burn::nn::Linear` from a .pt", "burn")
                .torch("`torch.load` + `load_state_dict`", "load", 0.5)
                .torch("the same with `mmap=True`", "mmap", None)
                .rust("burn-store's `PytorchStore`", "burn-store", 1.0 / 3.0),
            line("load 512 MB of `rekindle::models::nn::Linear`", "nn")
                .torch("`torch.load` + `load_state_dict`", "load", 0.5)
                .torch("the same with `mmap=True`", "mmap", None),
        ]
    },
    turns,
};

fn width(setting: &Setting) -> usize {
    setting.sized(4096, 512)
}

/// Loads a file into a module of this width.
fn load(variant: &str, path: &std::path::Path, width: usize) -> Result<f64> {
    match variant {
        "burn" => {
            let mut model = OfBurn::new(width);
            timed(|| Ok((model.load_state_dict(&Checkpoint::open(path)?.state_dict("")?)?, model)))
        }
        "nn" => {
            let mut model = OfOurs::new(width)?;
            timed(|| Ok((model.load_state_dict(&Checkpoint::open(path)?.state_dict("")?)?, model)))
        }
        "burn-store" => {
            let mut model = OfBurn::new(width);
            timed(|| {
                let mut store = PytorchStore::from_file(path);
                Ok((model.load_from(&mut store).map_err(|error| error.to_string())?, model))
            })
        }
        _ => unknown(variant),
    }
}

fn turns(variant: &str, setting: &Setting) -> Result<Turn> {
    load(variant, &setting.file(TINY), TINY_WIDTH)?;
    let (variant, path, width) = (variant.to_owned(), setting.file(FILE), width(setting));
    Ok(Box::new(move || load(&variant, &path, width)))
}
