//! `rekindle predict`: what a network makes of its inputs.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use rekindle::Checkpoint;
use rekindle::bridge::{ModuleStateDict as _, data_to_tensor, tensor_to_data};
use rekindle::models::functional::Array;
use rekindle::models::graph::Program;
use rekindle::models::{Config, Inputs, Network};
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::{Error, ResultExt as _, StateDict, printable_name};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Anything, Lines, new_file, print, print_json, usage};
use super::input::say_notes;
use super::settings::key_and_value;

/// The arguments of `rekindle predict`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rekindle predict net.pt2 --input x.npz --out y.npz\n  \
    rekindle predict net.pt2 --weights run.pt --input x.npz --out y.npz\n  \
    rekindle predict run.pt --model digits --input x.safetensors --out y.npz")]
pub(super) struct Predict {
    /// The network: a program of torch.export (.pt2), or a checkpoint whose network --model names
    network: PathBuf,
    /// The network of a checkpoint: a name, or a program (.pt2)
    #[arg(long, value_name = "NAME|NET.pt2")]
    model: Option<String>,
    /// A setting of the network, such as sizes=20,32,16,10
    #[arg(long, value_name = "K=V")]
    config: Vec<String>,
    /// A checkpoint whose weights a program takes in the place of its own
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "model")]
    weights: Option<PathBuf>,
    /// The inputs, named as the network's (`inputs` where there is one): .npz, .safetensors or .pt
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the outputs go: .npz, .safetensors or .pt
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How many samples are computed at once (default: all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch_size: Option<u64>,
    /// What to compute on (default: cpu)
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Replace FILE if it exists
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A network that predicts.
enum Predictor {
    Program(Box<Program>),
    Network(Box<Network>),
}

impl Predict {
    pub(super) fn run(&self) -> Answer {
        new_file(&self.out, self.overwrite)?;
        let device = rekindle::device(self.device.as_deref().unwrap_or("cpu"))?;
        let network = self.network(&device)?;
        let inputs = Checkpoint::open(&self.input)?;
        say_notes(&inputs);
        let inputs =
            network.inputs(&StateDict::from_value(inputs.root()).in_file(&self.input)?).in_file(&self.input)?;
        let outputs = network.predict_all(&inputs, self.batch_size).in_file(&self.input)?;
        let mut state_dict = StateDict::new();
        let mut said = Vec::new();
        for (name, array) in outputs {
            let data = array.data().map_err(|error| Error::invalid(error.to_string()))?;
            let tensor = data_to_tensor(data)?;
            said.push((name.clone(), array.dtype_name(), array.shape().to_vec()));
            state_dict.insert(name, tensor);
        }
        Checkpoint::from(state_dict).save_with(&self.out, &SaveOptions::default().overwrite(self.overwrite))?;
        if self.json {
            let output = |(name, dtype, shape): &(String, &str, Vec<usize>)| json!({"name": name, "dtype": dtype, "shape": shape});
            let outputs: Vec<Json> = said.iter().map(output).collect();
            print_json(&json!({"out": self.out.display().to_string(), "outputs": outputs}))?;
        } else {
            let mut lines = Lines::default();
            for (name, dtype, shape) in &said {
                lines.add(format_args!("{}  {dtype}  {shape:?}", printable_name(name)));
            }
            lines.add(self.out.display());
            print(&lines.text())?;
        }
        Ok(true)
    }

    /// The network with its weights.
    fn network(&self, device: &Device) -> Anything<Predictor> {
        let (program, weights) = match (is_program(&self.network), &self.model) {
            (true, None) => (Some(self.network.clone()), self.weights.as_ref()),
            (true, Some(_)) => {
                return Err(usage(
                    "--model names the network of a checkpoint; a program is its own, and --weights gives it others",
                ));
            }
            (false, Some(name)) if is_program(Path::new(name)) => (Some(PathBuf::from(name)), Some(&self.network)),
            (false, _) => (None, None),
        };
        if let Some(path) = program {
            let mut program = Program::open(path, device)?;
            if let Some(weights) = weights {
                load(&mut program, weights)?;
            }
            return Ok(Predictor::Program(Box::new(program)));
        }
        if self.weights.is_some() {
            return Err(usage("--weights are for a program (.pt2); a checkpoint has its own"));
        }
        let Some(name) = &self.model else {
            let names = Network::names().collect::<Vec<_>>().join(", ");
            let path = self.network.display();
            return Err(usage(format!(
                "{path}: which network is it? name one with --model: {names}, or a program (.pt2)"
            )));
        };
        let mut config = Config::new();
        for pair in &self.config {
            let (key, value) = key_and_value(pair)?;
            config.set(key, value);
        }
        let mut network = Network::build(name, &config, device)?;
        load(&mut network, &self.network)?;
        Ok(Predictor::Network(Box::new(network)))
    }
}

/// Whether a path is that of a program.
pub(super) fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pt2"))
}

/// Loads a checkpoint's model into the network.
fn load(network: &mut impl burn::module::Module, path: &Path) -> Anything<()> {
    let checkpoint = Checkpoint::open(path)?;
    say_notes(&checkpoint);
    let weights = checkpoint.model_state_dict()?;
    network.load_state_dict(&weights).in_file(path)?;
    Ok(())
}

impl Predictor {
    /// The names of the inputs, in order.
    fn names(&self) -> Vec<String> {
        match self {
            Predictor::Program(program) => program.inputs().iter().map(|input| input.name.clone()).collect(),
            Predictor::Network(_) => vec!["inputs".to_owned()],
        }
    }

    /// The arrays of a file that are the network's inputs.
    fn inputs(&self, file: &StateDict) -> Result<Vec<Array>, Error> {
        let names = self.names();
        let find = |name: &String| {
            let own = file.get(name).or_else(|| (names.len() == 1).then(|| file.get("inputs")).flatten());
            let tensor = own.ok_or_else(|| {
                let there: Vec<&str> = file.keys().collect();
                Error::invalid(format!("there is no input '{name}' in the file, which has {}", there.join(", ")))
            })?;
            let array = Array::from_data(tensor_to_data(tensor)?, tensor.shape(), &Device::flex());
            array.map_err(|error| Error::invalid(error.to_string()))
        };
        names.iter().map(find).collect()
    }

    fn predict(&self, inputs: &[Array]) -> rekindle::models::Result<Vec<(String, Array)>> {
        match (self, inputs) {
            (Predictor::Program(program), inputs) => program.forward_named(inputs),
            (Predictor::Network(network), inputs) => {
                let array = inputs.first().cloned().map(|array| array.cast(burn::tensor::DType::F32)).transpose()?;
                let array = array.map(|array| array.to_device(&network_device(network)));
                let inputs = array.map(Inputs::from_array).transpose()?;
                let inputs =
                    inputs.ok_or_else(|| rekindle::models::ModelError::Elements { elements: 0, shape: Vec::new() })?;
                Ok(vec![("output_0".to_owned(), network.forward(inputs)?.into_array())])
            }
        }
    }

    /// All samples, so many at once.
    fn predict_all(&self, inputs: &[Array], at_once: Option<u64>) -> Result<Vec<(String, Array)>, Error> {
        let wrong = |error: rekindle::models::ModelError| Error::invalid(error.to_string());
        let Some(at_once) = at_once.and_then(|size| i64::try_from(size).ok()) else {
            return self.predict(inputs).map_err(wrong);
        };
        let count = inputs.first().and_then(|input| input.shape().first()).copied().unwrap_or(0);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let mut outputs: Vec<(String, Vec<Array>)> = Vec::new();
        let mut start = 0;
        while start < count {
            let part = |input: &Array| input.slice(0, Some(start), Some(start + at_once), 1);
            let inputs = inputs.iter().map(part).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
            for (index, (name, array)) in self.predict(&inputs).map_err(wrong)?.into_iter().enumerate() {
                match outputs.get_mut(index) {
                    Some((_, parts)) => parts.push(array),
                    None => outputs.push((name, vec![array])),
                }
            }
            start += at_once;
        }
        let join = |(name, parts): (String, Vec<Array>)| Ok((name, Array::cat(&parts, 0).map_err(wrong)?));
        outputs.into_iter().map(join).collect()
    }
}

/// Where a network's parameters are.
fn network_device(network: &Network) -> Device {
    use burn::module::Module as _;
    network.devices().into_iter().next().unwrap_or_default()
}
