//! `load_checkpoint`, as users of mmcv know it: from a file, a URL, or a name into a module, with its report.

use std::path::{Path, PathBuf};

use burn::module::Module;
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::location::MapLocation;
use rekindle_recorder::source::{FetchOptions, Rank, fetch};
use rekindle_recorder::{Checkpoint, LoadReport, Result, ResultExt as _, settings};

use crate::module::ModuleStateDict as _;

settings! {
    /// How a checkpoint is loaded: the arguments of mmcv's `load_checkpoint`, with its defaults.
    ///
    /// ```
    /// # use rekindle_burn::{LoadCheckpointOptions, Logger};
    /// let options = LoadCheckpointOptions::default().strict(true).map_location("cpu").logger(Logger::Stderr);
    /// ```
    #[derive(Clone, Debug)]
    pub struct LoadCheckpointOptions {
        /// Which device tags the tensors of the checkpoint get that is given back; where they land in the module is the module's
        /// affair. Default `None`: those in the file.
        map_location(impl Into<MapLocation> => Some): Option<MapLocation> = None,
        /// Whether every key must be found in both, or nothing is loaded. Default false: what does not fit, shapes included, is
        /// reported and left.
        strict: bool = false,
        /// Where the report goes that mmcv writes. Default the program's log.
        logger: Logger = Logger::Log,
        /// What is replaced in the keys: regular expressions, in order, with what takes the place of what they find. Default
        /// `^module\.` by nothing.
        revise_keys: Vec<(String, String)> = vec![(r"^module\.".to_owned(), String::new())],
        /// How the source is fetched.
        fetch: FetchOptions = FetchOptions::default(),
    }
}

/// Where a report goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Logger {
    /// To the program's log, through `tracing`, as a warning.
    #[default]
    Log,
    /// To standard error.
    Stderr,
    /// Nowhere: it is in [`Loaded`].
    Nowhere,
}

/// What was loaded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// Everything in the checkpoint.
    pub checkpoint: Checkpoint,
    /// Which keys went into the module, and which did not.
    pub report: LoadReport,
    /// Where it is on this machine.
    pub path: PathBuf,
}

/// `load_checkpoint(model, source)`: takes the checkpoint from wherever [`Address`](rekindle_recorder::source::Address) says, finds the
/// state dict in it, takes `module.` off its keys, and loads it; what does not fit is reported in mmcv's words, and left.
///
/// Of several processes ([`Rank`]) each may call it: one fetches the file, the others wait for it, and the first alone reports.
///
/// # Errors
/// When the source cannot be fetched or read, or has several models, and when a tensor cannot be converted; the module is then
/// as it was.
///
/// ```
/// # use burn::{module::Module, nn::{Linear, LinearConfig}, tensor::Device};
/// # use rekindle_burn::{ModuleStateDict as _, load_checkpoint};
/// # use rekindle_recorder::{Checkpoint, StateDict, Tensor};
/// # #[derive(Module, Debug)]
/// # struct Net { fc: Linear }
/// # let folder = tempfile::tempdir().unwrap();
/// # let source = folder.path().join("run.pth");
/// # let mut model = Net { fc: LinearConfig::new(2, 1).init(&Device::flex()) };
/// # let weight = Tensor::from_vec(&[1, 2], vec![1.0_f32, 2.0])?;
/// # let bias = Tensor::from_vec(&[1], vec![3.0_f32])?;
/// # Checkpoint::from(StateDict::from_iter([("module.fc.weight", weight), ("module.fc.bias", bias)])).save(&source)?;
/// // `source` may be "https://..", "torchvision://resnet18", "open-mmlab://..", "hf://ORG/REPO", or a path.
/// let loaded = load_checkpoint(&mut model, &source)?;
/// assert!(loaded.report.is_exact());
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn load_checkpoint<M: Module>(model: &mut M, source: impl AsRef<Path>) -> Result<Loaded> {
    load_checkpoint_with(model, source, &LoadCheckpointOptions::default())
}

/// The same with options.
///
/// # Errors
/// As [`load_checkpoint`]; with `strict`, [`ErrorKind::Mismatch`](rekindle_recorder::ErrorKind::Mismatch) with the report.
pub fn load_checkpoint_with<M: Module>(
    model: &mut M,
    source: impl AsRef<Path>,
    options: &LoadCheckpointOptions,
) -> Result<Loaded> {
    let source = source.as_ref();
    let first = Rank::of(&options.fetch.env).is_first();
    let fetched = fetch(source, &options.fetch)?;
    if first {
        fetched.notes.iter().for_each(|note| options.logger.note(note));
    }
    let mut checkpoint = Checkpoint::open(&fetched.path)?;
    let weights = checkpoint.model_state_dict()?;
    let report = model.load_state_dict_with(&weights, &options.keys(source)).in_file(&fetched.path)?;
    if first {
        options.logger.report(&report);
    }
    if let Some(location) = &options.map_location {
        checkpoint = checkpoint.map_location(location)?;
    }
    Ok(Loaded { checkpoint, report, path: fetched.path })
}

impl LoadCheckpointOptions {
    /// How the keys of this source are mapped.
    fn keys(&self, source: &Path) -> LoadOptions {
        let keys = if self.strict { LoadOptions::strict() } else { LoadOptions::lenient().skip_mismatched() };
        // mmcv's rule for classifiers of open-mmlab's: their backbones are what is wanted.
        let of_classifier = source.to_str().is_some_and(|source| source.starts_with("mmcls://"));
        let keys = if of_classifier { keys.subtree("backbone") } else { keys };
        self.revise_keys.iter().fold(keys, |keys, (pattern, with)| keys.rename(pattern, with))
    }
}

impl Logger {
    fn report(self, report: &LoadReport) {
        match self {
            Logger::Log => report.log_mmcv(),
            Logger::Stderr => report.mmcv().into_iter().for_each(|message| eprintln!("{message}")),
            Logger::Nowhere => {}
        }
    }

    fn note(self, note: &str) {
        match self {
            Logger::Log => tracing::info!("{note}"),
            Logger::Stderr => eprintln!("{note}"),
            Logger::Nowhere => {}
        }
    }
}
