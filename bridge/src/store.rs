//! `TorchStore`: PyTorch's files as a store of burn-store, so that `model.load_from(&mut store)` and `model.save_into(&mut
//! store)` read and write them, with Burn's own filters and key remapping.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::DType as BurnDType;
use burn_store::burn_pack::{Error as PackError, Tensor as PackTensor};
use burn_store::{ApplyResult, KeyRemapper, ModuleSnapshot, ModuleStore, PathFilter, bridge};

use crate::data;
use crate::layer_rows::LayerRows;
use crate::module::ModuleStateDict;
use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::{Checkpoint, Dict, Error, Result, ResultExt as _, StateDict, Tensor};

/// A checkpoint file as a [`ModuleStore`]: every container that [`Checkpoint`] reads, and those it writes.
///
/// Names are PyTorch's and go through the same rows as [`ModuleStateDict`], so the layers that burn-store's adapters do not
/// know (BatchNorm's counter, joined projections) load as well. It is strict unless told otherwise, and a module is as it was
/// after an error: loading does not go through `ModuleSnapshot::apply`, which ends the process when something in it panics.
///
/// ```
/// # use burn::{nn::LinearConfig, tensor::Device};
/// use burn_store::{KeyRemapper, ModuleSnapshot, PathFilter};
/// use rekindle_burn::TorchStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("fc.pt");
/// let mut fc = LinearConfig::new(3, 2).init(&Device::flex());
/// fc.save_into(&mut TorchStore::from_file(&path).with_top_level_key("model_state_dict"))?;
///
/// let mut store = TorchStore::from_file(&path) // finds `model_state_dict` by itself
///     .remap(KeyRemapper::new().add_pattern("^module\\.", "")?)
///     .filter(PathFilter::new().with_regex("weight"))
///     .allow_partial(true);
/// let result = fc.load_from(&mut store)?;
/// assert_eq!(result.applied, ["weight"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TorchStore {
    path: PathBuf,
    key: Option<String>,
    options: LoadOptions,
    filter: Option<PathFilter>,
    remapper: KeyRemapper,
    rows: LayerRows,
    save: SaveOptions,
    /// What the file holds, by remapped names; filled when it is first asked for.
    tensors: Option<BTreeMap<String, PackTensor>>,
}

impl TorchStore {
    /// A store in this file. It need not exist to be saved into, and is replaced only with [`overwrite`](Self::overwrite).
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        TorchStore {
            path: path.into(),
            key: None,
            options: LoadOptions::strict(),
            filter: None,
            remapper: KeyRemapper::new(),
            rows: LayerRows::default(),
            save: SaveOptions::default().overwrite(false),
            tensors: None,
        }
    }

    /// The path of the state dict in the file, such as `model_state_dict`. By default it is found by its usual names, and
    /// saved as the whole file.
    #[must_use]
    pub fn with_top_level_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self.tensors = None;
        self
    }

    /// Loads and saves only the names (PyTorch's, remapped) that the filter takes.
    #[must_use]
    pub fn filter(mut self, filter: PathFilter) -> Self {
        self.filter = Some(match self.filter {
            Some(known) => known.or(filter),
            None => filter,
        });
        self
    }

    /// Renames the file's keys on loading. Saving writes PyTorch's names of the module, as burn-store's stores do.
    #[must_use]
    pub fn remap(mut self, remapper: KeyRemapper) -> Self {
        self.remapper = remapper;
        self.tensors = None;
        self
    }

    /// Whether parameters that the file lacks may stay as they are. Default false.
    #[must_use]
    pub fn allow_partial(mut self, allow: bool) -> Self {
        self.options = if allow { LoadOptions::lenient() } else { LoadOptions::strict() };
        self
    }

    /// Loads by these options: shapes to pass over, types to adopt, and more. Takes the place of
    /// [`allow_partial`](Self::allow_partial).
    #[must_use]
    pub fn options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Reads and writes by other rows.
    #[must_use]
    pub fn rows(mut self, rows: LayerRows) -> Self {
        self.rows = rows;
        self
    }

    /// Whether saving may replace the file. Default false, as for burn-store's stores.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.save = self.save.overwrite(overwrite);
        self
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state dict in the file, under remapped names and unfiltered.
    fn read(&self) -> Result<StateDict> {
        let checkpoint = Checkpoint::open(&self.path)?;
        let state_dict = match &self.key {
            Some(key) => checkpoint.state_dict(key)?,
            None => checkpoint.model_state_dict()?,
        };
        let options = self.remapper.to_regex_pairs().into_iter();
        let options =
            options.fold(LoadOptions::strict(), |options, (pattern, with)| options.rename(pattern.as_str(), with));
        options.apply(&state_dict).in_file(&self.path)
    }

    fn takes(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(name))
    }

    fn tensors(&mut self) -> Result<&BTreeMap<String, PackTensor>> {
        let tensors = match self.tensors.take() {
            Some(tensors) => tensors,
            None => self
                .read()?
                .iter()
                .map(|(name, tensor)| Ok((name.to_owned(), pack(name, tensor)?)))
                .collect::<Result<_>>()?,
        };
        Ok(self.tensors.insert(tensors))
    }
}

/// The tensor as burn-store carries it: its bytes are read when they are asked for.
fn pack(name: &str, tensor: &Tensor) -> Result<PackTensor> {
    let unknown = || Error::unsupported(format!("{name}: Burn has no tensors of type {}", tensor.dtype()));
    let dtype: BurnDType = data::burn_dtype(tensor.dtype()).ok_or_else(unknown)?;
    let (name, shape, tensor) = (name.to_owned(), tensor.shape().to_vec().into(), tensor.clone());
    Ok(bridge::deferred(name, dtype, shape, None, move || {
        data::tensor_to_data(&tensor).map_err(|error| PackError::ValidationError(error.to_string()))
    }))
}

impl ModuleStore for TorchStore {
    type Error = Error;

    fn collect_from<M: ModuleSnapshot>(&mut self, module: &M) -> Result<()> {
        let mut state_dict = module.state_dict_with(&self.rows)?;
        state_dict.retain(|name, _| self.takes(name));
        let checkpoint = match &self.key {
            Some(key) => Checkpoint::from(Dict::from_iter([(key.as_str(), state_dict.to_value())])),
            None => Checkpoint::from(state_dict),
        };
        checkpoint.save_with(&self.path, &self.save)?;
        self.tensors = None;
        Ok(())
    }

    fn apply_to<M: ModuleSnapshot>(&mut self, module: &mut M) -> Result<ApplyResult> {
        let mut chosen = self.read()?;
        chosen.retain(|name, _| self.takes(name));
        // What the filter leaves out is not missing; burn-store calls it skipped. The copy shares its tensors with the module.
        let mut copy = module.clone();
        let mut report =
            copy.load_state_dict_with_rows(&chosen, &self.options.leniently(), &self.rows).in_file(&self.path)?;
        let missing = std::mem::take(&mut report.missing);
        let (missing, skipped) = missing.into_iter().partition(|name| self.takes(name));
        report.missing = missing;
        let report = report.into_result(self.options.is_strict()).in_file(&self.path)?;
        *module = copy;
        Ok(ApplyResult {
            applied: report.loaded,
            skipped,
            missing: report.missing.into_iter().map(|name| (name, String::new())).collect(),
            unused: report.unexpected,
            errors: Vec::new(),
        })
    }

    fn get_tensor(&mut self, name: &str) -> Result<Option<&PackTensor>> {
        Ok(self.tensors()?.get(name))
    }

    fn get_all_tensors(&mut self) -> Result<&BTreeMap<String, PackTensor>> {
        self.tensors()
    }

    fn keys(&mut self) -> Result<Vec<String>> {
        Ok(self.tensors()?.keys().cloned().collect())
    }
}
