//! A training run that began in PyTorch goes on in Rust, on [Burn](https://burn.dev), as if it had not moved, and can go back.
//!
//! ```no_run
//! use rekindle::models::zoo::Digits; // or a Burn module of your own
//! use rekindle::prelude::*;
//!
//! fn main() -> rekindle::Result<()> {
//!     let device = device("cpu")?.autodiff();
//!     let options = ReadOptions::default().input_shape([1, 8, 8]).divide_by(16.0);
//!     let (rows, _held_back) = read_dataset("examples/digits/digits.csv.gz", &options)?.split_at(1437)?;
//!
//!     let mut run = Run::resume(Checkpoint::open("examples/digits/run.pt")?, Digits::new(&mut Init::lazy(&device))?)?
//!         .with_loader(DataLoader::new(rows, 64)?.shuffle(true))
//!         .schedule_per(SchedulePer::Epoch)
//!         .until_epoch(26);
//!     while let Some(batch) = run.next_batch()? {
//!         let logits = run.model().forward(batch.inputs(&device)?)?;
//!         run.step(cross_entropy(logits, batch.classes::<1>(&device)?)?)?;
//!     }
//!     run.save("run-resumed.pt")?; // torch.load("run-resumed.pt") opens it
//!     Ok(())
//! }
//! ```
//!
//! Weights come by their names, too, from wherever [`recorder::source`] says, with mmcv's report:
//!
//! ```no_run
//! use rekindle::models::zoo::{ResNet, ResNetConfig};
//! use rekindle::prelude::*;
//!
//! # fn main() -> rekindle::Result<()> {
//! let device = device("cpu")?;
//! let mut model = ResNet::new(&ResNetConfig::new(18, 1000)?, &mut Init::lazy(&device))?;
//! let loaded = rekindle::load_checkpoint(&mut model, "torchvision://resnet18")?;
//! println!("{}", loaded.report);
//! # Ok(())
//! # }
//! ```
//!
//! # The way people know it
//!
//! | PyTorch | here |
//! |---|---|
//! | `torch.load(p)` | [`Checkpoint::open(p)?`](Checkpoint::open); nothing in the file is run, which may be on a server |
//! | mmcv's `load_checkpoint(model, source)` | [`load_checkpoint(&mut model, source)?`](load_checkpoint): a path, a URL, `torchvision://resnet18`, `hf://ORG/REPO` |
//! | `checkpoint['epoch']` | [`checkpoint.get::<i64>("epoch")?`](Checkpoint::get) |
//! | `torch.save(obj, p)` | [`Checkpoint::from(obj).save(p)?`](Checkpoint::save) |
//! | `model.state_dict()` | [`model.state_dict()?`](bridge::ModuleStateDict::state_dict), for every Burn module |
//! | `model.load_state_dict(sd)` | [`model.load_state_dict(&sd)?`](bridge::ModuleStateDict::load_state_dict): strict, an error names every key |
//! | `... strict=False` | [`model.load_state_dict_with(&sd, &LoadOptions::lenient())?`](LoadOptions::lenient) |
//! | `k.replace('module.', '')` | [`LoadOptions::strict().strip_prefix("module.")`](LoadOptions::strip_prefix) |
//! | rename keys | [`.rename(r"^encoder\.", "backbone.")`](LoadOptions::rename) |
//! | `torch.optim.AdamW(...)` | [`Optimizer::adamw(&model, ...)?`](Optimizer::adamw), and all the others of [`train::optim`] |
//! | `optimizer.state_dict()`, `load_state_dict` | [`optimizer.state_dict(&model)?`](Optimizer::state_dict), [`load_state_dict(&model, &sd)?`](Optimizer::load_state_dict) |
//! | `torch.optim.lr_scheduler` | [`train::lr_scheduler`] |
//! | `DataLoader(data, 64, shuffle=True)` | [`DataLoader::new(data, 64)?.shuffle(true)`](DataLoader::new): the very batches |
//! | `torch.manual_seed(0)` | [`Generator::new(0)`](random::Generator::new), with every distribution bit for bit |
//! | `F.cross_entropy(...)` | [`cross_entropy(...)?`](train::loss::cross_entropy) |
//! | `clip_grad_norm_`, `GradScaler`, `AveragedModel` | [`train::clip`], [`train::amp`], [`train::ema`] |
//! | a loop that resumes | [`Run`] |
//! | `model.eval()`, `model.train()` | Burn's `model.valid()`, `model.train()` |
//!
//! # The rooms
//!
//! | module | what is in it |
//! |---|---|
//! | [`prelude`] | what the program above needs |
//! | [`recorder`] | PyTorch's files, all formats, both ways; their values; what is in them, whether they are whole, how two differ |
//! | [`bridge`] | state dicts of Burn modules, and rows for layers of your own |
//! | [`models`] | networks with PyTorch's names and numbers |
//! | [`train`] | optimizers, schedulers, batches, averages, and [`Run`] |
//! | [`plot`] | pictures of runs |
//! | [`data`] | folders of pictures for the loaders |
//! | [`random`] | PyTorch's generator |
//!
//! Each is a crate of its own, for programs that need one of them only. [`Error`] is any error of theirs.
//!
//! # Features
//!
//! `fetch`, which is on by default, takes checkpoints from servers ([`recorder::source`]); `cloud`, which is off for the time its crates take to build, from `s3://`, `gs://` and `az://`, too. The CPU needs none. `wgpu`, `vulkan`, `metal` and `cuda` add devices, which [`device`] names.
#![recursion_limit = "256"] // the GPU backends' types nest deeply

pub mod data;
mod device;
mod error;
pub mod plot;
pub mod prelude;
mod progress;

pub use device::{DeviceError, device, devices};
pub use error::{Error, Result};
pub use progress::Progress;
pub use rekindle_burn as bridge;
pub use rekindle_burn::{load_checkpoint, load_checkpoint_with};
pub use rekindle_models as models;
pub use rekindle_random as random;
pub use rekindle_recorder as recorder;
pub use rekindle_recorder::{Checkpoint, Dict, LoadOptions, StateDict, Tensor, Value};
pub use rekindle_train as train;
pub use rekindle_train::data::DataLoader;
pub use rekindle_train::optim::Optimizer;
pub use rekindle_train::run::Run;
