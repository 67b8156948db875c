//! The network that predicts: a program of its own, or a network of the zoo with a checkpoint's weights.

use std::path::{Path, PathBuf};

use burn::module::Module as _;
use burn::tensor::{DType, Device, FloatDType};
use rekindle::Checkpoint;
use rekindle::bridge::{ModuleStateDict as _, tensor_to_data};
use rekindle::models::functional::{Array, Kind, dtype_name};
use rekindle::models::graph::{Length, Program};
use rekindle::models::{Config, ModelError, Network, Problem};
use rekindle::recorder::{Error, ResultExt as _, StateDict, Tensor, Value, printable_name};

use crate::cli::answer::{Anything, usage};
use crate::cli::input::say_notes;
use crate::cli::named;
use crate::cli::precision;
use crate::cli::settings::key_and_value;
use crate::cli::source::{here, is_remote, network_of};

/// Which network it is, and with which weights.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// The network: a program of torch.export (.pt2), or a checkpoint whose network --model names
    network: PathBuf,
    /// The network of a checkpoint: a name, such as digits or `gpt2(n_head=12)`, or a program (.pt2)
    #[arg(long, value_name = "NAME[(K=V,..)]|NET.pt2")]
    model: Option<String>,
    /// A setting of the network, such as sizes=20,32,16,10
    #[arg(long, value_name = "K=V")]
    config: Vec<String>,
    /// A checkpoint whose weights a program takes in the place of its own
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "model")]
    weights: Option<PathBuf>,
    /// The floating-point type to compute in, of weights, constants and inputs: bf16, f16, f32 or f64 (default: the program's own; by name that of the checkpoint)
    #[arg(long, value_name = "D", value_parser = dtype)]
    dtype: Option<FloatDType>,
}

/// The types by their short names and PyTorch's.
fn dtype(name: &str) -> Result<FloatDType, String> {
    Ok(match name {
        "bf16" | "bfloat16" => FloatDType::BF16,
        "f16" | "float16" => FloatDType::F16,
        "f32" | "float32" => FloatDType::F32,
        "f64" | "float64" => FloatDType::F64,
        _ => return Err("bf16, f16, f32 or f64 is expected".to_owned()),
    })
}

/// A network that predicts.
pub(super) enum Predictor {
    Program(Box<Program>),
    /// With the type that it computes in.
    Network(Box<Network>, DType),
}

/// An input of a network: its name, and its lengths.
pub(super) struct Takes {
    pub(super) name: String,
    pub(super) lengths: Vec<Length>,
    pub(super) dtype: DType,
}

/// Whether a path is that of a program.
pub(in crate::cli) fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pt2"))
}

/// Opens a checkpoint, and says what there is to say of it.
fn opened(path: &Path) -> Anything<Checkpoint> {
    let checkpoint = Checkpoint::open(path)?;
    say_notes(&checkpoint);
    Ok(checkpoint)
}

/// Loads a checkpoint's model into the network.
fn load(network: &mut impl burn::module::Module, checkpoint: &Checkpoint, path: &Path) -> Anything<()> {
    let weights = checkpoint.model_state_dict()?;
    network.load_state_dict(&weights).in_file(path)?;
    Ok(())
}

/// The tensors and numbers in a value, by the names and places on the way to each.
fn collect(name: &str, value: &Value, found: &mut Vec<(String, Tensor)>) {
    let within = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    let mut all = |items: &[Value]| {
        items.iter().enumerate().for_each(|(index, item)| collect(&within(&index.to_string()), item, found));
    };
    match value {
        Value::Tensor(tensor) => found.push((name.to_owned(), tensor.clone())),
        Value::Int(int) => found.push((name.to_owned(), Tensor::scalar(*int))),
        Value::Float(float) => found.push((name.to_owned(), Tensor::scalar(*float))),
        Value::Tuple(items) => all(items),
        Value::List(items) => all(&items.read()),
        Value::Dict(dict) => {
            for (key, item) in dict.entries() {
                if let Value::Str(key) = key {
                    collect(&within(&key), &item, found);
                }
            }
        }
        _ => {}
    }
}

impl Choice {
    /// Fetches what is on servers. Weights of torchvision's name their network, too.
    pub(super) fn fetch(&mut self) -> Anything<()> {
        self.model = self.model.take().or_else(|| network_of(&self.network));
        self.network = here(&self.network)?;
        if let Some(weights) = &mut self.weights {
            *weights = here(weights)?;
        }
        if let Some(model) =
            self.model.as_mut().filter(|model| is_program(Path::new(model)) && is_remote(Path::new(model)))
        {
            *model = here(Path::new(model))?.display().to_string();
        }
        Ok(())
    }
}

impl Predictor {
    /// The network with its weights.
    pub(super) fn open(choice: &Choice, device: &Device) -> Anything<Self> {
        if let Some(dtype) = choice.dtype.map(DType::from).filter(|dtype| !device.supports_dtype(*dtype)) {
            return Err(usage(format!("the device cannot compute in {}; see --dtype", dtype_name(dtype))));
        }
        let (program, weights) = match (is_program(&choice.network), &choice.model) {
            (true, None) => (Some(choice.network.clone()), choice.weights.as_ref()),
            (true, Some(_)) => {
                return Err(usage(
                    "--model names the network of a checkpoint; a program is its own, and --weights gives it others",
                ));
            }
            (false, Some(name)) if is_program(Path::new(name)) => (Some(PathBuf::from(name)), Some(&choice.network)),
            (false, _) => (None, None),
        };
        if let Some(path) = program {
            if !choice.config.is_empty() {
                return Err(usage("--config is for networks by name; a program has no settings"));
            }
            let mut program = Program::open(path, device)?;
            if let Some(weights) = weights {
                load(&mut program, &opened(weights)?, weights)?;
            }
            if let Some(dtype) = choice.dtype {
                program = program.to_dtype(dtype);
            }
            return Ok(Predictor::Program(Box::new(program)));
        }
        if choice.weights.is_some() {
            return Err(usage("--weights are for a program (.pt2); a checkpoint has its own"));
        }
        let Some(name) = &choice.model else {
            let names = Network::names().collect::<Vec<_>>().join(", ");
            let path = choice.network.display();
            return Err(usage(format!(
                "{path}: which network is it? name one with --model: {names}, or a program (.pt2); --help has their settings"
            )));
        };
        let mut config = Config::new();
        for pair in &choice.config {
            let (key, value) = key_and_value(pair)?;
            config.set(key, value);
        }
        let checkpoint = opened(&choice.network)?;
        let network = named::build(name, &config, &checkpoint, None, false, device)?;
        let dtype = choice.dtype.unwrap_or_else(|| precision::of(&checkpoint, &network, device));
        // Before it has its weights: those of float64 stay what they are.
        let mut network = precision::as_in(network, dtype);
        load(&mut network, &checkpoint, &choice.network)?;
        Ok(Predictor::Network(Box::new(network), dtype.into()))
    }

    /// What its scores are compared with, where that is known.
    pub(super) fn problem(&self) -> Option<Problem> {
        match self {
            Predictor::Program(_) => None,
            Predictor::Network(network, _) => network.problem(true),
        }
    }

    /// The inputs, in order.
    pub(super) fn takes(&self) -> Vec<Takes> {
        match self {
            Predictor::Program(program) => {
                let takes = |input: &rekindle::models::graph::Input| Takes {
                    name: input.name.clone(),
                    lengths: input.lengths.clone(),
                    dtype: input.dtype,
                };
                program.inputs().iter().map(takes).collect()
            }
            Predictor::Network(network, dtype) => {
                let length = |length: Option<usize>| length.map_or(Length::Any, Length::Exactly);
                let lengths = std::iter::once(Length::Any).chain(network.input_shape().into_iter().map(length));
                let (lengths, dtype) =
                    (lengths.collect::<Vec<_>>(), if network.takes_tokens() { DType::I64 } else { *dtype });
                let takes = |name: &str| Takes { name: name.to_owned(), lengths: lengths.clone(), dtype };
                network.input_names().into_iter().map(takes).collect()
            }
        }
    }

    /// The arrays of a file that are the network's inputs, and the names of those that are none. In dicts within dicts they have
    /// the names of both (`extra.mask`); a tuple or list has them in the network's order. A network of one input also takes what
    /// is called `inputs`, and a tensor alone.
    pub(super) fn inputs(&self, file: &Value) -> Result<(Vec<Array>, Vec<String>), Error> {
        let names: Vec<String> = self.takes().into_iter().map(|takes| takes.name).collect();
        let wanted = || names.iter().map(|name| printable_name(name)).collect::<Vec<_>>().join(", ");
        let mut there: Vec<(String, Tensor)> = Vec::new();
        collect("", file, &mut there);
        if matches!(file, Value::Tensor(_) | Value::Tuple(_) | Value::List(_)) {
            if there.len() != names.len() {
                let reason =
                    format!("there are {} arrays in the file, and the network takes {}", there.len(), wanted());
                return Err(Error::invalid(reason));
            }
            there.iter_mut().zip(&names).for_each(|((found, _), name)| found.clone_from(name));
        } else if let Ok(state_dict) = StateDict::from_value(file)
            && state_dict.iter().count() >= there.len()
        {
            there = state_dict.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        }
        let array = |tensor: &Tensor| {
            let array = Array::from_data(tensor_to_data(tensor)?, tensor.shape(), &Device::flex());
            array.map_err(|error| Error::invalid(error.to_string()))
        };
        let mut taken = Vec::new();
        let mut arrays = Vec::new();
        for (at, name) in names.iter().enumerate() {
            // The only one, and the first of a network by hand, may have another name.
            let by_hand = matches!(self, Predictor::Network(..));
            let other = if names.len() == 1 || by_hand && at == 0 { "inputs" } else { name.as_str() };
            let found =
                [name.as_str(), other].into_iter().find_map(|name| there.iter().position(|(own, _)| own == name));
            if let Some(found) = found {
                arrays.push(array(&there[found].1)?);
                taken.push(found);
                continue;
            }
            let absent = match (self, arrays.first()) {
                (Predictor::Network(network, _), Some(first)) => network.absent(name, first),
                _ => None,
            };
            arrays.push(absent.ok_or_else(|| {
                let there: Vec<_> = there.iter().map(|(name, _)| printable_name(name)).collect();
                let (name, there, wanted) = (printable_name(name), there.join(", "), wanted());
                let reason =
                    format!("there is no input '{name}' in the file, which has {there}; the network takes {wanted}");
                Error::invalid(reason)
            })?);
        }
        let left = there.into_iter().enumerate().filter(|(index, _)| !taken.contains(index));
        Ok((arrays, left.map(|(_, (name, _))| name).collect()))
    }

    /// The outputs for these inputs, by name.
    pub(super) fn predict(&self, inputs: &[Array]) -> Result<Vec<(String, Array)>, ModelError> {
        match (self, inputs) {
            (Predictor::Program(program), inputs) => program.forward_named(inputs),
            (Predictor::Network(network, dtype), inputs) => {
                let device = network.devices().into_iter().next().unwrap_or_default();
                // Tokens stay whole numbers; what is no number of the network's kind it refuses itself.
                let of = |input: &Array| {
                    let tokens = network.takes_tokens();
                    let dtype = if tokens && input.kind() == Kind::Int { DType::I64 } else { *dtype };
                    Ok(input.cast(dtype)?.to_device(&device))
                };
                network.forward_named(&inputs.iter().map(of).collect::<Result<Vec<_>, ModelError>>()?)
            }
        }
    }
}
