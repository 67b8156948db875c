//! Converting a checkpoint: a part of it, other keys, another dtype, other device tags, another format. What is not asked
//! for stays as it is; what a format has no room for is told.

use std::io::Write;
use std::path::Path;

use crate::container::keeps::Values;
use crate::container::{named, table};
use crate::format::Format;
use crate::options::{SaveOptions, SaveReport};
use crate::run::{self, Layout};
use crate::state_dict::keys::LoadOptions;
use crate::state_dict::module;
use crate::value::Array;
use crate::value::tensor::TensorClass;
use crate::walk::{UnknownTensor, list_names};
use crate::{Checkpoint, DType, Dict, Error, Limits, Result, ResultExt as _, StateDict, Tensor, Value, rebuild, walk};

crate::settings! {
    /// What to change. By default nothing: the conversion is the checkpoint itself.
    ///
    /// ```
    /// # use rekindle_recorder::{Dict, StateDict, Tensor, checkpoint::{Checkpoint, SaveOptions}, convert::Conversion};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("weights.safetensors");
    /// # let model = StateDict::from_iter([("fc.weight", Tensor::from_vec(&[1], vec![0.5_f32])?)]);
    /// let run = Dict::new(); // {"epoch": 4, "model_state_dict": model}
    /// run.insert("epoch", 4);
    /// run.insert("model_state_dict", model);
    ///
    /// let conversion = Conversion::default().key("model_state_dict".to_owned());
    /// conversion.save(&Checkpoint::from(run), &path, &SaveOptions::default())?;
    /// assert_eq!(Checkpoint::open(&path)?.get::<Tensor>("fc.weight")?.to_vec::<f32>()?, [0.5]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    #[derive(Debug)]
    pub struct Conversion {
        /// The path of the part to take, such as `model_state_dict`; the whole where it is `None`, the default.
        key(impl Into<Option<String>>): Option<String> = None,
        /// How the keys of the state dict are mapped: prefixes, renames, filters. They apply to the part taken, where it is a
        /// state dict, else to the models' state dicts in the layout that the checkpoint has, and the report says so. Keys
        /// stay where they are in their order. A whole module whose keys change becomes its state dict.
        keys(impl Into<Option<LoadOptions>>): Option<LoadOptions> = None,
        /// The element type for the floating-point tensors of that state dict.
        dtype(impl Into<Option<DType>>): Option<DType> = None,
        /// The device tag for all tensors: `cpu`, `cuda`, `cuda:1`, ...
        location(impl Into<Option<String>>): Option<String> = None,
    }
}

/// The devices that `torch.load` knows by their tags.
const DEVICES: [&str; 6] = ["cpu", "cuda", "mps", "xpu", "hpu", "mtia"];

impl Conversion {
    /// The converted checkpoint; the original is not changed.
    ///
    /// # Errors
    /// When the part is not there, keys collide, no key is left, keys are to be mapped where there is no state dict, or
    /// `torch.load` knows no device by the tag.
    pub fn apply(&self, checkpoint: &Checkpoint) -> Result<Checkpoint> {
        self.applied(checkpoint).map(|(converted, _)| converted)
    }

    /// The converted checkpoint, and what a user should know of the way.
    fn applied(&self, checkpoint: &Checkpoint) -> Result<(Checkpoint, Vec<String>)> {
        let mut notes = Vec::new();
        let location = self.location.as_deref().map(device_tag).transpose()?;
        let part = match &self.key {
            // A part of an archive with a program is not the program any more.
            Some(key) => Checkpoint::from(checkpoint.value(key)?),
            None => unfrozen(checkpoint, &mut notes),
        };
        let mapped = if self.keys.is_some() || self.dtype.is_some() {
            let root = self.map_models(&part, &mut notes)?;
            part.with_root(root)
        } else {
            part
        };
        let converted = match location {
            Some(location) => {
                let root = rebuild::relocate(mapped.root(), |_| Ok(location.to_owned()))?;
                mapped.with_root(root)
            }
            None => mapped,
        };
        Ok((converted, notes))
    }

    /// Converts a checkpoint and saves it.
    ///
    /// A format of named tensors alone (safetensors, Hugging Face's shards, burnpack, NumPy) gets a state dict as it is. Of
    /// anything else it gets every tensor under its path in the checkpoint (`model_state_dict.conv1.weight`), and the report
    /// names the values that are left out.
    ///
    /// # Errors
    /// As [`Conversion::apply`] and [`Checkpoint::save_with`].
    pub fn save(&self, checkpoint: &Checkpoint, path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport> {
        let path = path.as_ref();
        let (converted, format, notes) = self.ready(checkpoint, path, options)?;
        let mut report = converted.save_with(path, &options.clone().format(format))?;
        report.notes.splice(0..0, notes);
        Ok(report)
    }

    /// Converts a checkpoint and writes it to a stream.
    ///
    /// # Errors
    /// As [`Conversion::apply`] and [`Checkpoint::write_to`].
    pub fn write_to(&self, checkpoint: &Checkpoint, out: impl Write, options: &SaveOptions) -> Result<SaveReport> {
        let (converted, format, notes) = self.ready(checkpoint, Path::new(""), options)?;
        let mut report = converted.write_to(out, &options.clone().format(format))?;
        report.notes.splice(0..0, notes);
        Ok(report)
    }

    /// The checkpoint as it is to be written under this path, the format, and what had to be left out.
    fn ready(
        &self,
        checkpoint: &Checkpoint,
        path: &Path,
        options: &SaveOptions,
    ) -> Result<(Checkpoint, Format, Vec<String>)> {
        let (converted, mut notes) = self.applied(checkpoint).in_file_if(checkpoint.path())?;
        let format = converted.format_for(path, options)?;
        let converted = match Array::of(converted.root()) {
            // Plain torch.load takes no array.
            Some(array) if table::keeps(format).values != Values::All || !options.allow_objects => {
                let place = self.key.as_deref().unwrap_or("the root");
                notes.push(format!("{place}: {} is written as a tensor", array.describe()));
                converted.with_root(array.to_tensor().at(place).in_file_if(checkpoint.path())?.into())
            }
            _ => converted,
        };
        let (converted, left_out) = fit(converted, format).in_file_if(checkpoint.path())?;
        notes.extend(left_out);
        Ok((converted, format, notes))
    }

    /// The root with its models' state dicts converted.
    fn map_models(&self, part: &Checkpoint, notes: &mut Vec<String>) -> Result<Value> {
        if let Layout::Unknown { .. } = part.layout() {
            let error = Error::invalid("keys and dtypes are converted in a state dict, and none was found here");
            return Err(error.advise("name one with `Conversion::key`"));
        }
        // One for all of them: models may share storages.
        let mut cast = self.dtype.map(rebuild::Cast::new).transpose()?;
        // What of several models nothing is left of goes with a note; nothing at all is an error.
        let (mut left, mut emptied) = (0, Vec::new());
        let (root, modules) = run::with_models(part.root(), |place, model| {
            let mut changed = model.clone();
            if let Some(keys) = &self.keys {
                changed = keys.apply(&changed)?;
                if changed.is_empty() && !model.is_empty() {
                    emptied.push((place.to_owned(), model));
                    return Ok(None);
                }
                notes.extend(keys.idle(&model).into_iter().map(|step| format!("{place}: {step}")));
                if place != "the root" {
                    notes.push(format!("the keys of {place} are mapped"));
                }
            }
            if let Some(cast) = &mut cast {
                if let Some(unknown) = walk::unknown_tensors(&changed.to_value(), &Limits::default())?.first() {
                    let UnknownTensor { name, function } = unknown;
                    let what =
                        format!("casting '{name}' of {place}, a tensor in a form that is not known ({function}),");
                    return Err(Error::unsupported(what).advise("leave it out (`LoadOptions::exclude`)"));
                }
                changed = StateDict::from_value(&cast.apply(&changed.to_value())?)?;
            }
            left += 1;
            Ok(Some(changed))
        })?;
        if let (0, Some((place, model))) = (left, emptied.first()) {
            let others = match emptied.len() {
                1 => String::new(),
                2 => ", nor of the other model".to_owned(),
                several => format!(", nor of the {} other models", several - 1),
            };
            let names = list_names(&keys_of(model));
            return Err(Error::invalid(format!("no key of {place} is left{others}; there are {names}")));
        }
        notes.extend(emptied.iter().map(|(place, model)| {
            format!("{place}: none of its {} keys is left, so it is left out (there are {})", model.len(), {
                list_names(&keys_of(model))
            })
        }));
        notes.extend(modules.iter().map(|place| format!("{place}: the whole module becomes its state dict")));
        Ok(root)
    }
}

/// A frozen script's state dict is empty, and its weights are constants of its code: those, under the names that lead to them.
fn unfrozen(checkpoint: &Checkpoint, notes: &mut Vec<String>) -> Checkpoint {
    let constants = || {
        let root = checkpoint.root().as_dict().filter(|root| root.is_empty())?;
        let constants = root.state()?.as_dict()?.get("constants")?;
        Some(constants.as_dict()?.entries().into_iter().filter(|(_, value)| value.as_tensor().is_some()))
    };
    let entries = constants().filter(|_| checkpoint.format() == Some(Format::TORCHSCRIPT));
    let Some(weights) = entries.map(Vec::from_iter).filter(|weights| !weights.is_empty()) else {
        return checkpoint.clone();
    };
    let flat = Dict::ordered();
    for (name, value) in weights {
        flat.insert(format!("constants.{}", name.as_str().unwrap_or_default()), value);
    }
    notes.push(
        "the model is frozen: its weights are constants of its code, and have no names but 'constants.c0'".to_owned(),
    );
    checkpoint.clone().with_root(flat.into())
}

fn keys_of(model: &StateDict) -> Vec<&str> {
    model.keys().collect()
}

/// The tag, where `torch.load` knows it.
fn device_tag(tag: &str) -> Result<&str> {
    let (kind, index) = tag.split_once(':').map_or((tag, None), |(kind, index)| (kind, Some(index)));
    let numbered = index.is_none_or(|index| index.parse::<u16>().is_ok() && kind != "cpu");
    if DEVICES.contains(&kind) && numbered {
        return Ok(tag);
    }
    let reason = format!(
        "'{tag}' is no device that torch.load knows; one of {} is expected, such as cuda:0",
        DEVICES.join(", ")
    );
    Err(Error::invalid(reason))
}

/// The checkpoint as the format can hold it, and what had to be left out.
fn fit(checkpoint: Checkpoint, format: Format) -> Result<(Checkpoint, Vec<String>)> {
    let root = checkpoint.root();
    let kept = table::keeps(format).values;
    if kept == Values::All || root.as_tensor().is_some() {
        return Ok((checkpoint, Vec::new()));
    }
    if let Ok(state_dict) = StateDict::from_value_keep_vars(root)
        && state_dict.values().all(|(_, value)| kept.hold(value))
    {
        return with_hanging(checkpoint, &state_dict, format);
    }
    let flat = Dict::ordered();
    let mut left_out = Vec::new();
    let mut arrays = Vec::new();
    walk::walk(root, &Limits::default(), &mut |path, value| {
        let array = Array::of(value).and_then(|array| array.to_tensor().ok());
        if let Some(array) = array {
            arrays.push(path.to_owned());
            flat.insert(path, array);
        } else if !kept.hold(value) {
            left_out.push(path.to_owned());
        } else if flat.insert(path, value.clone()).is_some() {
            let reason = format!("two tensors are called '{path}', which {format} cannot tell apart; rename one");
            return Err(Error::invalid(reason));
        }
        Ok(())
    })?;
    if !flat.entries().iter().any(|(_, value)| value.as_tensor().is_some()) {
        // Whatever it is, the writer names it.
        return Ok((checkpoint, Vec::new()));
    }
    let mut notes = Vec::new();
    let nested = flat.entries().into_iter().filter_map(|(path, _)| path.as_str().map(str::to_owned));
    let nested = nested.into_iter().find(|path| root.as_dict().is_none_or(|dict| dict.get(path).is_none()));
    if let Some(path) = nested {
        notes.push(format!(
            "tensors are named by their paths in the whole checkpoint, such as '{path}'; to write one state dict, name it with `Conversion::key`"
        ));
    }
    if !arrays.is_empty() {
        notes.push(format!("{}: NumPy arrays, written as tensors", named::listed(&arrays)));
    }
    for unknown in walk::unknown_tensors(root, &Limits::default())? {
        let UnknownTensor { name, function } = unknown;
        notes.push(format!("'{name}': left out, a tensor in a form that is not known ({function})"));
    }
    if !left_out.is_empty() {
        notes.push(format!("{}: left out, {format} keeps {} alone", named::listed(&left_out), kept.words()));
    }
    notes.extend(named::lost_classes(root, format.name())?);
    flat.write().state = root.as_dict().and_then(Dict::state);
    Ok((checkpoint.with_root(flat.into()), notes))
}

/// A state dict with what hangs on its tensors under names of its own, as far as the format can hold it.
fn with_hanging(checkpoint: Checkpoint, state_dict: &StateDict, format: Format) -> Result<(Checkpoint, Vec<String>)> {
    let kept = table::keeps(format).values;
    let (flat, mut hanging, mut left_out) = (Dict::ordered(), Vec::new(), Vec::new());
    for (name, value) in state_dict.values() {
        let bare = value.as_tensor().map(bare).transpose()?;
        flat.insert(name, bare.map_or_else(|| value.clone(), Value::Tensor));
    }
    // The elements of a distributed tensor are its own.
    let with_attributes = state_dict.iter().filter(|(_, tensor)| tensor.whole_local().is_none());
    for (name, tensor) in with_attributes {
        walk::walk(&tensor.clone().into(), &Limits::default(), &mut |path, value| {
            let path = format!("{name}{path}");
            match value {
                Value::Tensor(inner) if inner.same(tensor) => {}
                Value::Tensor(inner) => hanging.push((path, Value::Tensor(inner.detach()))),
                value if kept.hold(value) => hanging.push((path, value.clone())),
                _ => left_out.push(path),
            }
            Ok(())
        })?;
    }
    if !hanging.iter().any(|(_, value)| value.as_tensor().is_some()) {
        // The writer says of attributes that are no tensors that they are lost.
        return Ok((checkpoint, Vec::new()));
    }
    let mut notes = Vec::from_iter(named::lost_class_of_root(checkpoint.root(), format.name()));
    if module::is_module(checkpoint.root()) {
        let is_kept = |path: &str| state_dict.contains(path);
        notes.extend(named::lost_of_module(checkpoint.root(), &is_kept, format.name())?);
    }
    let names: Vec<&str> = hanging.iter().map(|(path, _)| path.as_str()).collect();
    notes.push(format!("{}: attributes of tensors, written under these names", named::listed(&names)));
    if !left_out.is_empty() {
        notes.push(format!("{}: left out, {format} keeps {} alone", named::listed(&left_out), kept.words()));
    }
    for (path, value) in hanging {
        if flat.insert(&*path, value).is_some() {
            let reason = format!("two tensors are called '{path}', which {format} cannot tell apart; rename one");
            return Err(Error::invalid(reason));
        }
    }
    flat.write().state = state_dict.to_value().as_dict().and_then(Dict::state);
    Ok((checkpoint.with_root(flat.into()), notes))
}

/// A tensor without its attributes.
fn bare(tensor: &Tensor) -> Result<Tensor> {
    let mut parts = tensor.parts().clone();
    match &mut parts.class {
        TensorClass::Other { class, .. } if class.is("torch", "Tensor") => parts.class = TensorClass::Tensor,
        TensorClass::Other { state, .. } => *state = Value::None,
        TensorClass::Parameter { state } => *state = None,
        TensorClass::Tensor => return Ok(tensor.clone()),
    }
    Tensor::new(parts)
}
