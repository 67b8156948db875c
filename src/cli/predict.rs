//! `rekindle predict`: what a network makes of its inputs, which are arrays of a file, or pictures.

mod network;
mod parts;
mod pictures;
mod scores;

use std::path::PathBuf;

use burn::tensor::{DType, Device};
use rekindle::Checkpoint;
use rekindle::bridge::data_to_tensor;
use rekindle::models::functional::{Array, Number};
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::{Error, ResultExt as _, StateDict, printable_name};
use serde_json::{Map, Value as Json, json};

use self::network::Predictor;
use self::parts::{Gathered, Parts};
use self::pictures::Pictures;
use self::scores::{Scores, Top};
use super::answer::{Answer, Anything, Lines, bar, new_file, note, print, print_json};
use super::input::say_notes;
use super::named;
pub(super) use network::is_program;

const EXAMPLES: &str = "Examples:\n  rekindle predict net.pt2 --input x.npz --out y.npz\n  \
    rekindle predict net.pt2 --weights run.pt --input x.npz --out y.npz\n  \
    rekindle predict run.pt --model digits --input x.safetensors --out y.npz\n  \
    rekindle predict resnet18.pt2 --image *.png --preset imagenet --labels labels.txt\n  \
    rekindle predict torchvision://resnet18 --image *.png --preset imagenet";

/// The arguments of `rekindle predict`.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["input", "image"]),
    after_help = EXAMPLES,
    after_long_help = named::listed(EXAMPLES)
)]
pub(super) struct Predict {
    #[command(flatten)]
    network: network::Choice,
    /// The inputs, named as the network's (`inputs` where there is one): .npz, .safetensors or .pt
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    pictures: Pictures,
    /// Where the outputs go: .npz, .safetensors or .pt; it may be left out where classes are printed
    #[arg(long, value_name = "FILE", required_unless_present_any = ["image", "labels", "top_k"])]
    out: Option<PathBuf>,
    #[command(flatten)]
    top: Top,
    /// How many samples are computed at once (default: all; of pictures as many as the program was exported for, else 32)
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

impl Predict {
    pub(super) fn run(mut self) -> Answer {
        if let Some(out) = &self.out {
            new_file(out, self.overwrite)?;
        }
        let pictures = self.pictures.check()?;
        let device = rekindle::device(self.device.as_deref().unwrap_or("cpu"))?;
        self.network.fetch()?;
        let network = Predictor::open(&self.network, &device)?;
        let top = self.top.wanted(self.out.is_none(), network.problem())?;
        let at_once = self.batch_size.and_then(|size| usize::try_from(size).ok());

        // Whatever stands in the way of saving is said before there is something to save.
        self.try_out(&[("output_0".to_owned(), Array::scalar(Number::Int(0), DType::F32, &Device::flex()))])?;
        let mut course = Course { gathered: self.out.as_ref().map(|_| Gathered::default()), top, shown: Vec::new() };
        match &pictures {
            Some(transform) => {
                let mut batches = self.pictures.batches(transform, &network, at_once)?;
                let bar = bar(self.pictures.count(), "pictures")?;
                while let Some((names, inputs)) = batches.next_batch()? {
                    let (first, parts) = (names.first().map(String::as_str).unwrap_or_default(), batches.several());
                    let outputs = network.predict(&[inputs]).map_err(|error| batches.explained(&error, first))?;
                    if course.is_new() {
                        self.try_out(&outputs)?;
                    }
                    let text = course.take(&names, outputs, parts)?;
                    bar.inc(u64::try_from(names.len()).unwrap_or(u64::MAX));
                    if !self.json {
                        bar.suspend(|| print(&text))?;
                    }
                }
                bar.finish_and_clear();
            }
            None => {
                let path = self.input.clone().unwrap_or_default();
                let inputs = self.arrays(&network)?;
                let parts = Parts::new(&network.takes(), &inputs, at_once).in_file(&path)?;
                let bar = bar(u64::try_from(parts.samples()).unwrap_or(u64::MAX), "samples")?;
                for range in parts.ranges() {
                    let inputs = parts.of(&inputs, &range).in_file(&path)?;
                    let outputs = network.predict(&inputs).map_err(|error| parts.explained(&error)).in_file(&path)?;
                    if course.is_new() {
                        self.try_out(&outputs)?;
                    }
                    let names: Vec<String> = range.clone().map(|sample| format!("sample {sample}")).collect();
                    let text = course.take(&names, outputs, parts.several()).in_file(&path)?;
                    bar.inc(u64::try_from(range.len()).unwrap_or(u64::MAX));
                    if !self.json {
                        bar.suspend(|| print(&text))?;
                    }
                }
                bar.finish_and_clear();
            }
        }
        self.say(course)?;
        Ok(true)
    }

    /// The arrays of the file that are the network's inputs.
    fn arrays(&self, network: &Predictor) -> Anything<Vec<Array>> {
        let path = self.input.clone().unwrap_or_default();
        let checkpoint = Checkpoint::open(&path)?;
        say_notes(&checkpoint);
        let (inputs, left) = network.inputs(checkpoint.root()).in_file(&path)?;
        for name in left {
            note(&format!(
                "{}: '{}' is no input of the network, and left alone",
                path.display(),
                printable_name(&name)
            ));
        }
        Ok(inputs)
    }

    /// Looks whether outputs like these can be saved.
    fn try_out(&self, outputs: &[(String, Array)]) -> Anything<()> {
        let Some(out) = &self.out else { return Ok(()) };
        Checkpoint::from(state_dict(outputs)?).try_save_with(out, &self.saving())?;
        Ok(())
    }

    fn saving(&self) -> SaveOptions {
        SaveOptions::default().overwrite(self.overwrite)
    }

    /// Saves the outputs, and says what there is to say at the end.
    fn say(&self, course: Course) -> Anything<()> {
        let mut document = Map::new();
        let mut lines = Lines::default();
        if let (Some(out), Some(gathered)) = (&self.out, course.gathered) {
            let outputs = gathered.joined()?;
            Checkpoint::from(state_dict(&outputs)?).save_with(out, &self.saving())?;
            let described = |(name, array): &(String, Array)| {
                lines.add(format_args!("{}  {}  {:?}", printable_name(name), array.dtype_name(), array.shape()));
                json!({"name": name, "dtype": array.dtype_name(), "shape": array.shape()})
            };
            let outputs: Vec<Json> = outputs.iter().map(described).collect();
            lines.add(out.display());
            document.insert("out".to_owned(), json!(out.display().to_string()));
            document.insert("outputs".to_owned(), Json::Array(outputs));
        }
        if course.top.is_some() {
            let what = if self.input.is_some() { "samples" } else { "images" };
            document.insert(what.to_owned(), Json::Array(course.shown));
        }
        if self.json { print_json(&Json::Object(document)) } else { Ok(print(&lines.text())?) }
    }
}

/// Outputs as they are saved.
fn state_dict(outputs: &[(String, Array)]) -> Result<StateDict, Error> {
    let mut state_dict = StateDict::new();
    for (name, array) in outputs {
        let data = array.data().map_err(|error| Error::invalid(error.to_string()))?;
        state_dict.insert(name.clone(), data_to_tensor(data)?);
    }
    Ok(state_dict)
}

/// What has been computed so far.
struct Course {
    gathered: Option<Gathered>,
    top: Option<Scores>,
    /// Of each sample its most probable classes, as JSON.
    shown: Vec<Json>,
}

impl Course {
    /// Whether nothing has been computed yet.
    fn is_new(&self) -> bool {
        self.gathered.as_ref().is_some_and(Gathered::is_empty)
    }

    /// Keeps the outputs for these samples, and gives what is to be printed of them.
    fn take(&mut self, names: &[String], outputs: Vec<(String, Array)>, parts: bool) -> Result<String, Error> {
        let mut text = String::new();
        if let Some(scores) = &mut self.top {
            for (name, classes) in names.iter().zip(scores.of(&outputs, names.len())?) {
                text += &classes.text(name);
                self.shown.push(classes.json(name));
            }
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.push(outputs, parts.then_some(names.len()))?;
        }
        Ok(text)
    }
}
