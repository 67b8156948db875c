//! The settings of a run: what `rekindle resume` takes as flags, and `rekindle.toml` beside a checkpoint as keys of the same
//! names. Flags win; the file's paths start at its own folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::amp::Amp;
use super::answer::{Anything, usage};
use super::input::Opening;
use super::loss_dtype::LossDtype;
use super::mean_over::MeanOver;
use super::schedule::Metric;
use super::smoothing::Smoothing;
use super::task::Loss;

/// The settings, each a flag of `rekindle resume` and a key of `rekindle.toml`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
pub(super) struct Settings {
    /// The network by its name, such as digits or `gpt2(n_head=12)`, or a program of torch.export (NET.pt2); of a file of several
    /// models, PART=NAME, once for each that is trained. --help lists the names and their settings
    #[arg(long, value_name = "[PART=]NAME[(K=V,..)]")]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) model: Vec<String>,
    /// A setting of the network, such as sizes=20,32,16,10; PART.K=V is of one of several
    #[arg(long, value_name = "K=V")]
    #[serde(deserialize_with = "pairs")]
    pub(super) config: Vec<String>,
    /// Train a program that was exported in evaluation: dropout and batch norm are turned on where the program has them
    #[arg(long)]
    pub(super) from_eval: bool,
    /// Read the checkpoint on where a checksum is wrong
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Read what is there of a folder whose files contradict each other, and say what is left out
    #[arg(long)]
    pub(super) lenient: bool,
    /// Join the parts of tensors of this name along an axis, where a folder of shards does not tell: as in `rekindle inspect`
    #[arg(long, value_name = "NAME=0|1|same")]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) axis: Vec<String>,
    /// Go on from the Nth of several saves in one file; 1, the first, by default
    #[arg(long, value_name = "N")]
    pub(super) nth: Option<usize>,
    /// Batches made elsewhere: `inputs` and `targets`, or arrays called as a program's inputs, with a leading axis of steps
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(super) batches: Option<PathBuf>,
    /// A data set: .csv[.gz] with the label last; a checkpoint, .safetensors or .npz of `inputs` and `targets`, or of arrays called as a
    /// program's inputs; a .npy with --targets; tokens (.bin) with --block-size; a folder of pictures, one for each class
    #[arg(long, value_name = "FILE|DIR")]
    pub(super) data: Option<PathBuf>,
    /// The targets of inputs that are in a .npy file of their own
    #[arg(long, value_name = "FILE.npy")]
    pub(super) targets: Option<PathBuf>,
    /// A data set that is not trained on but asked for accuracy
    #[arg(long, value_name = "FILE|DIR")]
    pub(super) val: Option<PathBuf>,
    /// Tokens of a block, of a file of tokens; batches are random blocks, as nanoGPT draws them
    #[arg(long, value_name = "N")]
    pub(super) block_size: Option<usize>,
    /// The type of the tokens in a file (default: uint16)
    #[arg(long, value_parser = ["uint8", "uint16", "uint32", "int32", "int64"])]
    pub(super) token_type: Option<String>,
    /// A random change of pictures, in order: flip[=P], crop=SIZE[,PADDING], resized-crop=SIZE
    #[arg(long, value_name = "CHANGE")]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) augment: Vec<String>,
    /// torchvision's preset for pictures, such as imagenet; flags win
    #[arg(long, value_name = "NAME")]
    pub(super) preset: Option<String>,
    /// Resize pictures: N is the shorter side, the longer follows
    #[arg(long, value_name = "N|H,W")]
    #[serde(deserialize_with = "text")]
    pub(super) resize: Option<String>,
    /// Take the centre of pictures, black where a picture is smaller
    #[arg(long, value_name = "N|H,W")]
    #[serde(deserialize_with = "text")]
    pub(super) crop: Option<String>,
    /// What is subtracted from pixels from 0 to 1, one number or one for each channel
    #[arg(long, value_name = "X[,X,X]", value_delimiter = ',', allow_negative_numbers = true)]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) mean: Vec<f64>,
    /// What they are then divided by
    #[arg(long, value_name = "X[,X,X]", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) std: Vec<f64>,
    /// How many workers PyTorch's loader had: random changes draw from theirs, and batches are made on as many threads
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
    /// Those workers went on from epoch to epoch
    #[arg(long)]
    pub(super) persistent_workers: bool,
    /// The shape of one input, such as 1,8,8
    #[arg(long, value_name = "N,N,..", value_delimiter = ',')]
    pub(super) input_shape: Option<Vec<usize>>,
    /// What inputs are divided by
    #[arg(long, value_name = "X")]
    pub(super) divide_by: Option<f32>,
    /// How many of the data set's last samples are not trained on but asked for accuracy
    #[arg(long, value_name = "N")]
    pub(super) held_back: Option<usize>,
    /// Samples of a batch
    #[arg(long, value_name = "N")]
    pub(super) batch_size: Option<usize>,
    /// Leave out the last batch of an epoch where it is not full
    #[arg(long)]
    pub(super) drop_last: bool,
    /// How many steps to take (default: all fixed batches, or one epoch)
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub(super) steps: Option<u64>,
    /// How many epochs to take, those of the checkpoint not counted in
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) epochs: Option<u64>,
    /// The loss: `cross_entropy`, `mse`, `bce_with_logits` or `nll` of the first output (default: `cross_entropy`, and of a
    /// classifier of transformers what its `problem_type` says); of a program that computes it itself `graph`, the output called `loss` or the first, or `output:N`, the N-th from 0 or of that name
    #[arg(long, value_name = "NAME")]
    pub(super) loss: Option<Loss>,
    /// NAME: the optimizer that the checkpoint leaves open; `NAME(lr=1e-4)`: a new one in its place, which begins without moments
    #[arg(long, value_name = "NAME[(K=V,..)]")]
    pub(super) optimizer: Option<String>,
    /// Begin a new run with the checkpoint's weights and nothing else of it; --optimizer `NAME(..)` says which optimizer
    #[arg(long)]
    pub(super) weights_only: bool,
    /// The learning rate from now on, of all groups or of each
    #[arg(long, value_name = "X[,X]", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) lr: Vec<f64>,
    /// Another entry of an optimizer's group from now on, such as `0.weight_decay=0.01`; the group's number, its name, or *
    #[arg(long, value_name = "GROUP.KEY=V")]
    pub(super) set: Vec<String>,
    /// `NAME(K=V)`: how the checkpoint's scheduler was made, where it does not say it, such as `transformers.cosine(warmup=100,
    /// total=1000)`; a new one, from its first step, where the checkpoint has none or one of another kind. `none` leaves it and
    /// the learning rates as they are
    #[arg(long, value_name = "NAME[(K=V,..)]|none")]
    pub(super) scheduler: Option<String>,
    /// The scheduler of --scheduler begins anew, even where the checkpoint has one of its kind
    #[arg(long, requires = "scheduler")]
    pub(super) new_scheduler: bool,
    /// How often the scheduler steps: step, epoch, batch where several make a step, fraction, metric, or every so many, as 2-steps or
    /// 3-epochs; before-step, before-epoch where it is stepped before the optimizer (default: as the file tells); of several, each of
    /// them in the file's order
    #[arg(long, value_delimiter = ',', value_name = "PER[,PER]")]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) schedule_per: Vec<String>,
    /// How far the scheduler has come, where its state does not say it, such as timm's
    #[arg(long, value_name = "N")]
    pub(super) schedule_at: Option<i64>,
    /// What a scheduler is told that goes by a metric, such as `ReduceLROnPlateau`
    #[arg(long, value_enum, value_name = "NAME")]
    pub(super) metric: Option<Metric>,
    /// How many steps an epoch has, with --batches (default: as the file's epochs and steps tell)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) steps_per_epoch: Option<i64>,
    /// The parameters of one optimizer group, by glob; once a group, in the file's order
    #[arg(long, value_name = "GLOB[,GLOB]")]
    pub(super) group: Vec<String>,
    /// What becomes of parameters that are in no group of --group: frozen, they are left out
    #[arg(long, value_parser = ["frozen"])]
    pub(super) rest: Option<String>,
    /// The order in which the optimizer was given its parameters, where it is not the model's: a file of names, one a line, or
    /// globs with commas
    #[arg(long, value_name = "FILE|GLOB,GLOB")]
    pub(super) order: Option<String>,
    /// A prefix of the names in the checkpoint's model that is taken off, and put back; `module.` and `_orig_mod.` go without
    #[arg(long, value_name = "P")]
    pub(super) strip_prefix: Vec<String>,
    /// A regular expression for the names in the checkpoint's model, and what its matches become; they are renamed back
    #[arg(long, value_name = "RE=WITH")]
    pub(super) rename: Vec<String>,
    /// Compute as within `torch.autocast`: products, convolutions and attention in this type, losses in float32; weights stay as they
    /// are. Gradients are scaled where the checkpoint has a `GradScaler`. none: without, in the type of the weights
    #[arg(long, value_name = "f16|bf16|none")]
    pub(super) amp: Option<Amp>,
    /// Batch norms of which the checkpoint does not tell whether they were trained: train, or eval, where they go by their running
    /// statistics, which stay (default: as they have counted batches)
    #[arg(long, value_parser = ["train", "eval"], value_name = "train|eval")]
    pub(super) batch_norm: Option<String>,
    /// Parameters that are not trained
    #[arg(long, value_name = "GLOB")]
    pub(super) freeze: Vec<String>,
    /// Parameters that are trained from now on, where the checkpoint has no state for them
    #[arg(long, value_name = "GLOB")]
    pub(super) unfreeze: Vec<String>,
    /// Clip the norm of all gradients together before each step; `none`: they are not clipped, whatever the checkpoint says
    #[arg(long, value_name = "X|none", conflicts_with = "clip_value")]
    #[serde(deserialize_with = "text")]
    pub(super) clip_norm: Option<String>,
    /// Clip each element of the gradients before each step
    #[arg(long, value_name = "X")]
    pub(super) clip_value: Option<f64>,
    /// Take the mean of N batches for each step; the last step of an epoch may have fewer. 1: each batch is a whole step's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) accumulate: Option<u64>,
    /// What the losses of a step's batches are the mean over (default: `batches`; of transformers' Trainer as its version has it)
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) mean_over: Option<MeanOver>,
    /// What the loss of a network in half precision is computed in, where no file tells it
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) loss_dtype: Option<LossDtype>,
    /// f32: compute in float32 with weights of half precision, which were rounded to be saved; they are written as they were (default:
    /// as the optimizer's state tells)
    #[arg(long, value_name = "f32", value_parser = ["f32"])]
    pub(super) dtype: Option<String>,
    /// How much of each target `cross_entropy` gives to all classes alike, from 0 to 1 (default: 0)
    #[arg(long, value_name = "X")]
    pub(super) label_smoothing: Option<Smoothing>,
    /// Where in the checkpoint the number of epochs is, where its key does not tell, such as `[2]`; `none`: no number counts them
    #[arg(long, value_name = "PATH|none")]
    pub(super) epoch_at: Option<String>,
    /// Where in the checkpoint the number of steps is, where its key does not tell
    #[arg(long, value_name = "PATH")]
    pub(super) step_at: Option<String>,
    /// How many steps were made, where nothing in the checkpoint tells it, as of SGD, and it was saved amid an epoch (default: those
    /// of whole epochs)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(super) steps_made: Option<i64>,
    /// Where in the checkpoint the generator's state is, such as `extra.torch_rng`
    #[arg(long, value_name = "PATH")]
    pub(super) rng: Option<String>,
    /// Where in the checkpoint the state of the loader's own generator is, which draws the order of the samples; `none`: it has none
    #[arg(long, value_name = "PATH|none")]
    pub(super) loader_rng: Option<String>,
    /// Where in the checkpoint the loader's state dict is, the place in the data, where there are several; `none`: begin an epoch
    #[arg(long, value_name = "PATH|none")]
    pub(super) loader_state: Option<String>,
    /// Write the place in the data, too, where the checkpoint has none: whoever goes on is in the midst of the epoch
    #[arg(long)]
    pub(super) add_loader: bool,
    /// Write the generator's state, too, where the checkpoint has none
    #[arg(long)]
    pub(super) add_rng: bool,
    /// Seed of the generator, where the checkpoint holds no state of it
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// How the average of the weights goes on, where the checkpoint does not say it: how much of it stays at each step, `swa` for
    /// the mean, or `ema_pytorch(beta=0.999, update_every=10)`, `yolo(decay=0.9999)`; `none` leaves it as it is
    #[arg(long, value_name = "DECAY|RULE|none")]
    #[serde(deserialize_with = "text")]
    pub(super) ema: Option<String>,
    /// How often the average of the weights is updated: step, epoch, batch where several make a step, or every so many, as 10-steps
    /// (default: as its count tells)
    #[arg(long, value_name = "HOW")]
    pub(super) ema_per: Option<String>,
    /// Where in the checkpoint the average of the weights is, where there are several
    #[arg(long, value_name = "PATH")]
    pub(super) ema_at: Option<String>,
    /// Where in the checkpoint the model's optimizer is, where there are several
    #[arg(long, value_name = "PATH")]
    pub(super) optimizer_at: Option<String>,
    /// Where in the checkpoint the optimizer's scheduler is, where there are several
    #[arg(long, value_name = "PATH")]
    pub(super) scheduler_at: Option<String>,
    /// What is before the model's names in the checkpoint, where it is a member of what was saved: `net.`
    #[arg(long, value_name = "PREFIX")]
    pub(super) member: Option<String>,
    /// What becomes of entries of the checkpoint's model that the network lacks, such as a criterion's weights: they stay as they
    /// are, or are left out of what is written
    #[arg(long, value_parser = ["keep", "drop"], value_name = "keep|drop")]
    pub(super) unexpected: Option<String>,
    /// Go on with a checkpoint that holds objects which plain `torch.load` refuses to open, and write them, too
    #[arg(long)]
    pub(super) allow_objects: bool,
    /// Where to compute: cpu, cuda[:N], vulkan[:N], wgpu[:N], metal (default: cpu)
    #[arg(long, value_name = "D")]
    pub(super) device: Option<String>,
    /// Keep the run's checkpoints in this folder; the same command started again goes on from the newest that is whole
    #[arg(long, value_name = "DIR")]
    pub(super) run: Option<PathBuf>,
    /// Save into the folder of --run after every N steps (default: after each epoch)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) every: Option<u64>,
    /// How many of the newest checkpoints stay in the folder of --run (default: 3)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) keep: Option<u64>,
    /// In which format checkpoints are kept in the folder of --run: zip, which is torch.save's (default), safetensors, burnpack, or
    /// dcp, whose checkpoints are folders
    #[arg(long, value_name = "FORMAT", value_parser = ["zip", "safetensors", "burnpack", "dcp"])]
    pub(super) keep_format: Option<String>,
    /// Keep the checkpoint in the folder of --run, too, that is the best by this metric, as DIR/best.pt
    #[arg(long, value_enum, value_name = "METRIC")]
    pub(super) best: Option<Metric>,
    /// The checkpoint to write (default: NAME-resumed.pt in the current folder, of a folder NAME-resumed)
    #[arg(long, value_name = "OUT")]
    pub(super) save: Option<PathBuf>,
    /// Write a line a step
    #[arg(long, value_name = "FILE.jsonl")]
    pub(super) log: Option<PathBuf>,
    /// Write the same numbers for TensorBoard, into a file of its own in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) tensorboard: Option<PathBuf>,
    /// PyTorch's losses, to compare with
    #[arg(long, value_name = "FILE.jsonl")]
    pub(super) expect: Option<PathBuf>,
}

/// Hands all fields to a macro. No field can be forgotten: [`fill`] takes a whole apart by them.
macro_rules! all_fields {
    ($each:ident!($($given:ident),*)) => {
        $each!($($given),*:
            model, config, from_eval, no_verify, lenient, axis, nth, batches, data, targets, val, block_size, token_type,
            augment, preset, resize, crop, mean, std, workers, persistent_workers, input_shape, divide_by, held_back, batch_size, drop_last, steps, epochs,
            loss, optimizer, weights_only, lr, set, scheduler, new_scheduler, clip_norm, clip_value, accumulate, mean_over, loss_dtype, dtype, label_smoothing,
            schedule_per, schedule_at, metric, steps_per_epoch, group, rest, order, strip_prefix, rename, freeze,
            unfreeze, batch_norm, amp, epoch_at, step_at, steps_made, rng, loader_rng, loader_state, add_loader, add_rng, seed, ema, ema_per, ema_at, optimizer_at,
            scheduler_at, member, unexpected, allow_objects, device, run, every, keep, keep_format, best, save, log, tensorboard, expect)
    };
}

/// Takes each field from another, where it is not set here.
macro_rules! fill {
    ($settings:ident, $others:ident: $($field:ident),*) => {
        let Settings { $($field),* } = $others;
        $($settings.$field.fill($field);)*
    };
}

/// The fields that are set here and stand otherwise in another: the name, and how they stand here and there.
macro_rules! differing {
    ($settings:ident, $others:ident, $said:ident: $($field:ident),*) => {
        $(
            let (now, before) = (format!("{:?}", $settings.$field), format!("{:?}", $others.$field));
            if $settings.$field.is_said() && now != before {
                $said.push((stringify!($field), now, before));
            }
        )*
    };
}

impl Settings {
    /// What was not said as a flag is as `rekindle.toml` beside the checkpoint has it, if there is one.
    pub(super) fn complete(&mut self, checkpoint: &Path) -> Anything<()> {
        let mut file = Settings::beside(checkpoint)?;
        self.make_room(&mut file);
        all_fields!(fill!(self, file));
        Ok(())
    }

    /// Takes out of others what these say otherwise, where that excludes it.
    fn make_room(&mut self, others: &mut Settings) {
        // Of settings that exclude each other, a flag replaces either.
        if self.batches.is_some() || self.data.is_some() {
            (others.batches, others.data) = (None, None);
        }
        if self.steps.is_some() || self.epochs.is_some() {
            (others.steps, others.epochs) = (None, None);
        }
        if self.clip_norm.is_some() || self.clip_value.is_some() {
            (others.clip_norm, others.clip_value) = (None, None);
        }
        // The network's settings are a table: a flag replaces the one of its name.
        self.config = [others.config.split_off(0), self.config.split_off(0)].concat();
    }

    /// Puts these over others, which they win over; gives what differs, a sentence each.
    pub(super) fn over(mut self, others: &mut Settings) -> Vec<String> {
        let steps = self.steps.is_some() || self.epochs.is_some();
        let (given, had, mut said) = (self.config.clone(), others.config.clone(), Vec::new());
        self.make_room(others);
        let before = std::mem::take(others);
        all_fields!(differing!(self, before, said));
        all_fields!(fill!(self, before));
        *others = self;
        let told = |(name, now, before): (&str, String, String)| {
            let flag = name.replace('_', "-");
            format!("--{flag} is {} now, and was {} when the run was started", plain(&now), plain(&before))
        };
        // The network's own are put together, and steps are counted anew.
        said.retain(|(name, ..)| *name != "config" && !(steps && matches!(*name, "steps" | "epochs")));
        if !given.is_empty() && given != had {
            said.push(("config", format!("{given:?}"), format!("{had:?}")));
        }
        said.into_iter().map(told).collect()
    }

    /// How the checkpoint is opened.
    pub(super) fn opening(&self) -> Opening {
        let Settings { no_verify, lenient, nth, .. } = *self;
        Opening { no_verify, lenient, axis: self.axis.clone(), nth }
    }

    /// The settings beside this checkpoint; empty where there is no `rekindle.toml`.
    fn beside(checkpoint: &Path) -> Anything<Settings> {
        let folder = if checkpoint.is_dir() { checkpoint } else { checkpoint.parent().unwrap_or(Path::new("")) };
        let path = folder.join("rekindle.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
            Err(error) => return Err(usage(format!("{}: cannot read the settings: {error}", path.display()))),
        };
        let mut settings: Settings = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            usage(format!("{}: line {line}: {}", path.display(), error.message()))
        })?;
        settings.start_at(folder);
        Ok(settings)
    }

    /// Lets paths start at a folder.
    pub(super) fn start_at(&mut self, folder: &Path) {
        if let Some(order) = &mut self.order
            && folder.join(&*order).is_file()
        {
            *order = folder.join(&*order).display().to_string();
        }
        for model in &mut self.model {
            // A program is a file: its path starts here, too.
            let (part, name) = model.split_once('=').map_or((None, &**model), |(part, name)| (Some(part), name));
            if super::predict::is_program(Path::new(name)) {
                let path = folder.join(name).display().to_string();
                *model = part.map_or_else(|| path.clone(), |part| format!("{part}={path}"));
            }
        }
        for file in [
            &mut self.batches,
            &mut self.data,
            &mut self.targets,
            &mut self.val,
            &mut self.run,
            &mut self.log,
            &mut self.tensorboard,
            &mut self.expect,
        ] {
            *file = file.take().map(|file| folder.join(file));
        }
    }
}

/// A setting of a network, `K=V`.
pub(super) fn key_and_value(pair: &str) -> Anything<(&str, &str)> {
    let wrong = || usage(format!("--config {pair}: K=V is expected, such as sizes=20,32,16,10"));
    pair.split_once('=').ok_or_else(wrong)
}

/// A setting that may come from a second place.
trait Fill {
    /// Takes the other, where this is not set.
    fn fill(&mut self, other: Self);
    /// Whether it is set.
    fn is_said(&self) -> bool;
}

impl<T> Fill for Option<T> {
    fn fill(&mut self, other: Self) {
        *self = self.take().or(other);
    }

    fn is_said(&self) -> bool {
        self.is_some()
    }
}

impl<T> Fill for Vec<T> {
    fn fill(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        }
    }

    fn is_said(&self) -> bool {
        !self.is_empty()
    }
}

impl Fill for bool {
    fn fill(&mut self, other: Self) {
        *self |= other;
    }

    fn is_said(&self) -> bool {
        *self
    }
}

/// A setting as one reads it.
fn plain(debugged: &str) -> String {
    let inner = debugged.strip_prefix("Some(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(debugged);
    match inner {
        "None" | "[]" | "false" => "not said".to_owned(),
        "true" => "said".to_owned(),
        inner => inner.trim_matches(['[', ']']).replace('"', ""),
    }
}

/// A table as `--config` spells its entries: `K=V`.
fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let table = toml::Table::deserialize(from)?;
    let pair = |key: &str, value: &toml::Value| format!("{key}={}", spelled(value));
    // A table in it is of one of several networks.
    let pairs = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(own) => own.iter().map(|(own, value)| pair(&format!("{key}.{own}"), value)).collect(),
        value => vec![pair(key, value)],
    });
    Ok(pairs.collect())
}

/// A text, or a number as its text.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    toml::Value::deserialize(from).map(|value| Some(spelled(&value)))
}

/// A number or text, or a list of them.
fn one_or_several<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given<T> {
        One(T),
        Several(Vec<T>),
    }
    Ok(match Given::deserialize(from)? {
        Given::One(one) => vec![one],
        Given::Several(several) => several,
    })
}

/// A value as a flag spells it: lists with commas.
fn spelled(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(spelled).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
