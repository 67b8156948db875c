//! A whole model in one file: the name of its architecture, its configuration and its weights, from which one call builds it
//! again. What `torch.save(model)` does with code in the file, this does with data: plain `torch.load` opens it.

use std::path::Path;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use crate::module::ModuleStateDict;
#[cfg(doc)]
use rekindle_recorder::ErrorKind;
use rekindle_recorder::checkpoint::{SaveOptions, SaveReport};
use rekindle_recorder::{Checkpoint, Dict, Error, Result, ResultExt as _, serde};

/// The keys of the file, spelled as timm spells them.
const ARCH: &str = "arch";
const CONFIG: &str = "config";
const STATE_DICT: &str = "state_dict";

/// Saves a module as `{"arch": architecture, "config": config, "state_dict": module.state_dict()}`. `config` is whatever serde
/// can take apart.
///
/// ```
/// # use burn::{nn::{Linear, LinearConfig}, tensor::Device};
/// use rekindle_burn::{load_with_config, save_with_config};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Sizes {
///     inputs: usize,
///     outputs: usize,
/// }
///
/// # fn main() -> rekindle_recorder::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("model.pt");
/// # let device = Device::flex();
/// let model = LinearConfig::new(3, 2).init(&device);
/// save_with_config(&path, "linear", &Sizes { inputs: 3, outputs: 2 }, &model)?;
///
/// let again: Linear = load_with_config(&path, |architecture, sizes: Sizes| {
///     assert_eq!(architecture, "linear");
///     Ok(LinearConfig::new(sizes.inputs, sizes.outputs).init(&device))
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the configuration cannot be put into values, the state dict cannot be made, or the file cannot be written.
pub fn save_with_config<M: ModuleStateDict>(
    path: impl AsRef<Path>,
    architecture: &str,
    config: &impl Serialize,
    module: &M,
) -> Result<SaveReport> {
    let root = Dict::new();
    root.insert(ARCH, architecture);
    root.insert(CONFIG, serde::to_value(config)?);
    root.insert(STATE_DICT, module.state_dict()?);
    Checkpoint::from(root).save_with(path, &SaveOptions::default())
}

/// Builds the module that [`save_with_config`] saved: `build` makes it from the architecture's name and its configuration, and
/// its state dict is loaded strictly.
///
/// # Errors
/// [`ErrorKind::MissingKey`] when the file has no `arch`, `config` or `state_dict`; what `build` fails with; as
/// [`ModuleStateDict::load_state_dict`].
pub fn load_with_config<M: ModuleStateDict, C: DeserializeOwned>(
    path: impl AsRef<Path>,
    build: impl FnOnce(&str, C) -> Result<M>,
) -> Result<M> {
    let checkpoint = Checkpoint::open(path)?;
    for key in [ARCH, CONFIG, STATE_DICT] {
        if !checkpoint.contains(key) {
            let advice = format!("a model with its configuration has the keys {ARCH}, {CONFIG} and {STATE_DICT}");
            return Err(Error::missing_key(key).advise(advice).in_file_if(checkpoint.path()));
        }
    }
    let architecture: String = checkpoint.get(ARCH)?;
    let mut module = build(&architecture, checkpoint.get(CONFIG)?).in_file_if(checkpoint.path())?;
    module.load_state_dict(&checkpoint.state_dict(STATE_DICT)?).in_file_if(checkpoint.path())?;
    Ok(module)
}
