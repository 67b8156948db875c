//! `Layout`: which way of training wrote a checkpoint, told by its keys, and where each part of the run is in it.

use super::files::{TRAINER, accelerate, accelerate_told, hf_trainer};
use super::flat::view;
use super::paths::Paths;
use super::plain::{bare, whole_module};
use super::progress::{Progress, Settle};
use super::sequence::sequence;
use super::torchtitan::{torchtitan, torchtitan_told};
use super::trainer_args::{trainer_clip, trainer_told};
use super::tutorial::tutorial;
use super::{counts, frameworks, lightning};
#[cfg(doc)]
use crate::ErrorKind;
use crate::run::spellings::Role;
use crate::run::told::Told;
use crate::run::whole;
use crate::walk::{list_names, repr};
use crate::{Error, Result, Value};

/// How a training program lays out its checkpoints. `Display` gives the name, such as `tutorial`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// A dict of state dicts and numbers, as PyTorch's tutorials save it: `model_state_dict`, `optimizer_state_dict`, `epoch`,
    /// `loss`, in any of the spellings that are common; also several models (`modelA_state_dict`, ...).
    #[default]
    Tutorial,
    /// nanoGPT's `ckpt.pt`: `model`, `optimizer`, `model_args`, `iter_num`, `best_val_loss`, `config`.
    NanoGpt,
    /// Lightning's `.ckpt`: `state_dict`, `optimizer_states`, `lr_schedulers`, `loops`, `callbacks`.
    Lightning,
    /// timm's `CheckpointSaver`: `arch`, `state_dict`, `optimizer`, `epoch`, `version`, `args`.
    Timm,
    /// mmengine's `Runner`: `meta`, `state_dict`, `message_hub`, `optimizer`, `param_schedulers`.
    MmEngine,
    /// detectron2 and fvcore's `Checkpointer`: `model`, `iteration`, `optimizer` and `scheduler` or `trainer`.
    Detectron2,
    /// The programs of torchvision's `references`: `model`, `optimizer`, `lr_scheduler`, `epoch`, `args`.
    Torchvision,
    /// ignite's `Checkpoint`, with the `trainer`.
    Ignite,
    /// fastai's `learner.save`: `model` and `opt`.
    FastAi,
    /// `BasicSR`'s network: `params` and `params_ema`.
    BasicSr,
    /// ultralytics: `ema` as a whole module, `optimizer`, `train_args`, `updates`.
    Ultralytics,
    /// `YOLOv5`'s `last.pt`, and those after it: `model` and `ema` as whole modules, `optimizer`, `updates`, `best_fitness`, `opt`.
    YoloV5,
    /// Megatron-LM's, one rank's file: `args`, `checkpoint_version`, `iteration`, `model`, `optimizer`, `opt_param_scheduler`.
    Megatron,
    /// A tuple or list of state dicts and numbers: `(model.state_dict(), optimizer.state_dict(), epoch)`.
    Sequence,
    /// A model's state dict by itself.
    Bare,
    /// A whole `nn.Module`.
    WholeModule,
    /// A folder of transformers' Trainer, `checkpoint-500/`: a value for each file under its name.
    HfTrainer,
    /// A folder of accelerate's `save_state`: a value for each file under its name.
    Accelerate,
    /// torchtitan's checkpoints, as `torch.distributed.checkpoint` saves them: `model`, `optimizer`, `lr_scheduler`, `train_state`,
    /// `dataloader`; and others whose optimizer is flattened by the names of its parameters.
    TorchTitan,
    /// `DeepSpeed`'s engine, its ranks merged or one file of them: `module`, `ds_version`, `global_steps`.
    DeepSpeed,
    /// None of these.
    Unknown {
        /// The keys at the root, or what there is instead of a dict.
        found: Vec<String>,
    },
}

/// One layout: its name, and how its parts are found. A new layout is a new row; what is more particular comes first.
struct Row {
    layout: Layout,
    name: &'static str,
    /// Where the parts are, if a checkpoint is of this layout.
    find: fn(&Value) -> Option<Paths>,
    /// Whether a part that has no key yet can get one at the root.
    open: bool,
    /// The numbers that stand in it for the first epoch and the first step, once they are finished.
    first: (i64, i64),
    /// What else in it counts epochs and steps.
    counts: Option<Settle>,
    /// Whether the model may be a member of what is saved, with others beside it.
    members: bool,
    /// Whether the scheduler is in the file, where the program has one.
    scheduler: bool,
    /// The norm that gradients are clipped to, where the file tells it.
    clip: fn(&Value) -> Option<f64>,
    /// What the program does in each step that is in no file.
    absent: &'static str,
    /// The error where the model is not among the parts that were found.
    no_model: fn() -> Error,
    /// What it says of how the run was made.
    told: fn(&Value) -> Told,
}

/// What most rows have.
const ROW: Row = Row {
    layout: Layout::Tutorial,
    name: "tutorial",
    find: tutorial,
    open: true,
    first: (1, 1),
    counts: None,
    members: false,
    scheduler: true,
    clip: |_| None,
    absent: "",
    no_model: || Error::unsupported("a checkpoint without a model"),
    told: |_| Told::default(),
};

const ROWS: [Row; 20] = [
    Row {
        layout: Layout::HfTrainer,
        name: "hf-trainer",
        find: hf_trainer,
        open: false,
        no_model: no_weights,
        counts: Some(TRAINER),
        clip: trainer_clip,
        told: trainer_told,
        ..ROW
    },
    Row {
        layout: Layout::Accelerate,
        name: "accelerate",
        find: accelerate,
        open: false,
        no_model: no_weights,
        told: accelerate_told,
        absent: "the Accelerator's mixed_precision and gradient_accumulation_steps, and what gradients are clipped to",
        ..ROW
    },
    Row {
        layout: Layout::TorchTitan,
        name: "torchtitan",
        find: torchtitan,
        absent: "the configuration, with training.max_norm and the schedule of lr_scheduler",
        told: torchtitan_told,
        ..ROW
    },
    Row {
        layout: Layout::DeepSpeed,
        name: "deepspeed",
        find: frameworks::deepspeed,
        clip: frameworks::deepspeed_clip,
        absent: "the script's own schedule, where the configuration has none",
        ..ROW
    },
    Row { layout: Layout::WholeModule, name: "whole-module", find: whole_module, open: false, ..ROW },
    Row {
        layout: Layout::Lightning,
        name: "lightning",
        find: lightning::lightning,
        counts: Some(lightning::COUNTS),
        members: true,
        told: lightning::told,
        absent: "the Trainer's precision, gradient_clip_val and accumulate_grad_batches",
        ..ROW
    },
    Row {
        layout: Layout::Ultralytics,
        name: "ultralytics",
        find: frameworks::ultralytics,
        first: (0, 1),
        scheduler: false,
        clip: |_| Some(10.0),
        told: frameworks::ultralytics_told,
        absent: "the weights, but as their average, from which ultralytics goes on itself; the schedule, and the warm-up",
        ..ROW
    },
    Row {
        layout: Layout::YoloV5,
        name: "yolov5",
        find: frameworks::yolov5,
        first: (0, 1),
        scheduler: false,
        clip: frameworks::yolov5_clip,
        told: frameworks::yolov5_told,
        absent: "the schedule, the warm-up, and what was lost as the weights were saved in half precision",
        ..ROW
    },
    Row {
        layout: Layout::MmEngine,
        name: "mmengine",
        find: frameworks::mmengine,
        counts: Some(counts::MMENGINE),
        absent: "the optimizer wrapper's clip_grad and accumulative_counts, but in the text of meta.cfg",
        ..ROW
    },
    Row {
        layout: Layout::Timm,
        name: "timm",
        find: frameworks::timm,
        first: (0, 1),
        scheduler: false,
        clip: frameworks::timm_clip,
        told: frameworks::timm_told,
        absent: "the schedule, which train.py makes of its arguments",
        ..ROW
    },
    Row {
        layout: Layout::NanoGpt,
        name: "nanogpt",
        find: frameworks::nanogpt,
        scheduler: false,
        clip: frameworks::nanogpt_clip,
        told: frameworks::nanogpt_told,
        ..ROW
    },
    Row {
        layout: Layout::Detectron2,
        name: "detectron2",
        find: frameworks::detectron2,
        first: (1, 0),
        counts: Some(counts::DETECTRON2),
        absent: "the configuration, with SOLVER.CLIP_GRADIENTS",
        ..ROW
    },
    Row { layout: Layout::Ignite, name: "ignite", find: frameworks::ignite, counts: Some(counts::IGNITE), ..ROW },
    Row {
        layout: Layout::Torchvision,
        name: "torchvision",
        find: frameworks::torchvision,
        first: (0, 1),
        clip: frameworks::torchvision_clip,
        told: frameworks::torchvision_told,
        ..ROW
    },
    Row {
        layout: Layout::FastAi,
        name: "fastai",
        find: frameworks::fastai,
        scheduler: false,
        absent: "the epoch, the step, and the schedule of fit_one_cycle and the like",
        ..ROW
    },
    Row {
        layout: Layout::BasicSr,
        name: "basicsr",
        find: frameworks::basicsr,
        open: false,
        no_model: || {
            Error::unsupported("BasicSR's training state by itself").advise(
                "it has no network in it: that is in models/net_g_N.pth. Put both into one file, the network's `params` under 'model' \
                 (`torch.save(state | {'model': network['params']}, ...)`)",
            )
        },
        ..ROW
    },
    Row {
        layout: Layout::Megatron,
        name: "megatron",
        find: frameworks::megatron,
        no_model: || {
            Error::unsupported("a run of Megatron-LM's").advise(
                "its weights lie in dicts of their own, its optimizer has float32 copies of them, and its schedule is none of PyTorch's. \
                 Read its parts by path, or convert it with Megatron's tools/checkpoint/convert.py first",
            )
        },
        ..ROW
    },
    Row { told: frameworks::basicsr_told, ..ROW },
    Row { layout: Layout::Sequence, name: "sequence", find: sequence, open: false, ..ROW },
    Row { layout: Layout::Bare, name: "bare", find: bare, open: false, ..ROW },
];

impl Layout {
    /// The layout of a checkpoint, told by its keys.
    ///
    /// ```
    /// # use rekindle_recorder::{Dict, StateDict, Tensor, run::Layout};
    /// let model = StateDict::from_iter([("fc.bias", Tensor::scalar(0.0_f32))]);
    /// assert_eq!(Layout::detect(&model.to_value()), Layout::Bare);
    /// assert_eq!(Layout::detect(&Dict::from_iter([("state_dict", model)]).into()), Layout::Tutorial);
    /// ```
    #[must_use]
    pub fn detect(root: &Value) -> Layout {
        let root = &view(root);
        match ROWS.iter().find(|row| (row.find)(root).is_some()) {
            Some(row) => row.layout.clone(),
            None => Layout::Unknown { found: found(root) },
        }
    }

    fn row(&self) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.layout == *self)
    }

    /// The name that the command gives it, such as `whole-module`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row().map_or("unknown", |row| row.name)
    }

    /// Whether the model may be a member of what is saved, with others beside it: a `LightningModule`'s `model`.
    #[must_use]
    pub fn has_members(&self) -> bool {
        self.row().is_some_and(|row| row.members)
    }

    /// Whether a scheduler is in the file, where the program has one. nanoGPT, timm, `YOLOv5` and ultralytics make it again when they
    /// resume.
    #[must_use]
    pub fn keeps_scheduler(&self) -> bool {
        self.row().is_none_or(|row| row.scheduler)
    }

    /// What the program may do in each step that is in no file, for people; empty where nothing is known.
    #[must_use]
    pub fn not_in_file(&self) -> &'static str {
        self.row().map_or("", |row| row.absent)
    }

    /// The norm that gradients are clipped to, where the file tells it.
    pub(in crate::run) fn clip_norm(&self, root: &Value) -> Option<f64> {
        self.row().and_then(|row| (row.clip)(root))
    }

    /// Whether a part that has no key yet can get one.
    pub(in crate::run) fn is_open(&self) -> bool {
        self.row().is_some_and(|row| row.open)
    }

    /// What a checkpoint says of how its run was made.
    pub(in crate::run) fn told(&self, root: &Value) -> Told {
        self.row().map_or_else(Told::default, |row| (row.told)(root))
    }

    /// Where a run is, by the numbers for epochs and steps that its checkpoint has, and by what else counts there.
    pub(in crate::run) fn progress(&self, root: &Value, epoch: Option<i64>, step: Option<i64>) -> Progress {
        let (first, counts) = self.row().map_or(((1, 1), None), |row| (row.first, row.counts));
        let finished = |number: Option<i64>, first: i64| number?.checked_add(1 - first);
        let told = Progress { epoch: finished(epoch, first.0), step: finished(step, first.1), ..Progress::default() };
        counts.map_or(told, |counts| (counts.read)(root, told))
    }

    /// The numbers that stand for so many epochs and steps.
    pub(in crate::run) fn numbers(&self, epoch: Option<i64>, step: Option<i64>) -> (Option<i64>, Option<i64>) {
        let first = self.row().map_or((1, 1), |row| row.first);
        let number = |finished: Option<i64>, first: i64| finished?.checked_add(first - 1);
        (number(epoch, first.0), number(step, first.1))
    }

    /// A copy of a checkpoint in which everything else that counts says where the run is now, too.
    pub(in crate::run) fn settle(&self, root: Value, before: &Progress, now: &Progress) -> Result<Value> {
        match self.row().and_then(|row| row.counts) {
            Some(counts) => (counts.write)(root, before, now),
            None => Ok(root),
        }
    }
}

crate::display_is_name!(Layout);

/// The layout of a checkpoint, as it is [looked at](view), and where its parts are.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an unknown one.
pub(in crate::run) fn find(root: &Value) -> Result<(Layout, Paths)> {
    if let Some((row, paths)) = ROWS.iter().find_map(|row| Some((row, (row.find)(root)?))) {
        return if paths.has(Some(Role::Model)) { Ok((row.layout.clone(), paths)) } else { Err((row.no_model)()) };
    }
    Err({
        let advice = match root {
            Value::Dict(dict) if dict.is_empty() => "it is an empty dict".to_owned(),
            root if whole::is_whole(root) => format!(
                "it is an optimizer pickled whole ({}), and no model is beside it: save \
                 {{'model': model.state_dict(), 'optimizer': optimizer.state_dict()}}",
                whole::class_of(root).unwrap_or_default()
            ),
            Value::Dict(_) => format!(
                "none of its keys is known to hold a model's state dict: {}. Read its parts by path",
                list_names(&found(root))
            ),
            other => format!("it is {}, where a dict is expected", other.describe()),
        };
        Error::unsupported("the layout of this checkpoint").advise(advice)
    })
}

/// The error of a folder without weights.
fn no_weights() -> Error {
    let advice = "the folder holds no weights: no model.safetensors, no pytorch_model.bin, no index of their shards";
    Error::missing_key("model.safetensors").advise(advice)
}

/// The keys at the root, or what there is instead of a dict.
fn found(root: &Value) -> Vec<String> {
    match root.as_dict() {
        Some(dict) => {
            dict.entries().iter().map(|(key, _)| key.as_str().map_or_else(|| repr(key), Into::into)).collect()
        }
        None => vec![root.describe()],
    }
}
