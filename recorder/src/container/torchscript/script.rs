//! An archive as data: the state dict, the other attributes and the constants; and writing other weights into a copy of it.

use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::template::{self, Template};
use crate::container::torchscript::classes::Classes;
use crate::container::torchscript::legacy;
use crate::container::torchscript::modules::{Model, Plain};
use crate::container::zip::{Archive, Storages};
use crate::format::add_new;
use crate::{
    Dict, Error, FileBytes, Format, Global, Limits, OpenOptions, Opened, Result, SaveOptions, SaveReport, StateDict,
    Tensor, Value,
};

impl Format {
    /// What `torch.jit.save` writes.
    pub const TORCHSCRIPT: Format = Format::named("torchscript");
}

/// `torch.jit.save` puts the constants beside the pickle; before 1.4 it wrote no pickle but a `model.json`.
pub(crate) fn is_archive(archive: &Archive) -> bool {
    let has = |name| archive.find(name).is_some();
    has("data.pkl") && has("constants.pkl")
        || has("model.json") && archive.names().any(|name| name.starts_with("tensors/"))
}

pub(crate) fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let script = Script::read(archive, file, options)?;
    Ok(Opened::new(Format::TORCHSCRIPT, script.value, script.globals, file.len() as u64))
}

/// Writes a state dict into a copy of the archive that [`SaveOptions::template`] names; see [`replace`].
///
/// # Errors
/// As [`replace`], and [`ErrorKind::Unsupported`] without a template.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let template = template::path(options, "a TorchScript archive")?;
    replace(&template, &StateDict::from_value(root)?, path, options)
}

/// Copies a TorchScript archive with other weights: `torch.jit.load` opens it and computes with the new numbers.
///
/// Every byte is as in `archive` but for the elements of the state dict's tensors and the checksums over them. Tensors that are
/// views of one storage stay so; where they overlap, their new values must agree. As in `load_state_dict`, a
/// `num_batches_tracked` may be missing or left over; a note in the report names it. The file appears whole or not at all;
/// `path` may be `archive` itself.
///
/// # Errors
/// [`ErrorKind::Mismatch`] when other names or shapes are not those of the model's own state dict,
/// [`ErrorKind::WrongType`] when an element type is not, [`ErrorKind::Invalid`] when overlapping tensors disagree,
/// [`ErrorKind::Unsupported`] for a frozen model, whose weights are constants, and for weights that are compressed or big-endian; whatever reading
/// the archive says where any record of it is damaged.
pub fn replace(archive: &Path, state_dict: &StateDict, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    template::replace(archive, state_dict, path, options, |zip, file| {
        if !is_archive(zip) {
            return Err(Error::invalid("the template is no TorchScript archive"));
        }
        let script = Script::read(zip, file, &OpenOptions::default())?;
        if script.weights.is_empty() && script.constants > 0 {
            let what = "replacing the weights of a frozen model, which are constants of its code,".to_owned();
            let advice = "save the model again without torch.jit.freeze";
            return Err(Error::unsupported(what).advise(advice));
        }
        Ok(Template::new(zip, &script.storages, script.weights))
    })
}

/// A model as data.
struct Script {
    storages: Storages,
    /// The whole of it.
    value: Value,
    /// The state dict in it.
    weights: Vec<(Arc<str>, Tensor)>,
    /// How many tensors are constants of the code.
    constants: usize,
    globals: Vec<Global>,
}

impl Script {
    fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Self> {
        let mut storages = Storages::new(archive, file, options)?;
        let script = if archive.find("data.pkl").is_some() {
            Script::of_pickles(storages, &options.limits)?
        } else {
            let model = legacy::read(&mut storages, &options.limits)?;
            Script::new(storages, model.model, model.constants, model.globals)
        };
        Storages::label([&script.storages], &script.value);
        Ok(script)
    }

    fn of_pickles(mut storages: Storages, limits: &Limits) -> Result<Self> {
        let data = storages.unpickle("data.pkl", |key| format!("data/{key}"))?;
        let constants = storages.unpickle("constants.pkl", |key| format!("constants/{key}"))?;
        let mut globals = data.globals;
        add_new(&mut globals, constants.globals);
        let Value::Object(root) = &data.value else {
            // No model, but data that C++ saved in the same way.
            return Ok(Script { storages, value: data.value, weights: Vec::new(), constants: 0, globals });
        };
        let mut plain = Plain::default();
        let constants = constants.value.items().unwrap_or_default();
        let model = Model::of(root, &mut Classes::new(&storages, &constants), limits, &mut plain)?;
        let constants = constants.iter().enumerate().map(|(i, value)| (format!("c{i}").into(), plain.value(value)));
        let constants = constants.collect();
        Ok(Script::new(storages, model, constants, globals))
    }

    fn new(storages: Storages, model: Model, constants: Vec<(Arc<str>, Value)>, globals: Vec<Global>) -> Self {
        // `state_dict()` notes version 1 for every module of a script, whatever its class.
        let version = |path| (path, Value::from(Dict::from_iter([("version", 1)])));
        let mut metadata = Dict::ordered();
        metadata.extend(model.modules.into_iter().map(version));
        let mut attributes = vec![("_metadata", metadata)];
        let tensors = constants.iter().filter(|(_, value)| value.as_tensor().is_some()).count();
        for (name, entries) in [("attributes", model.attributes), ("constants", constants)] {
            if !entries.is_empty() {
                attributes.push((name, entries.into_iter().collect()));
            }
        }
        let weights = model.state_dict;
        let mut root = Dict::ordered();
        root.write().state = Some(attributes.into_iter().collect::<Dict>().into());
        root.extend(weights.iter().cloned());
        Script { storages, value: root.into(), weights, constants: tensors, globals }
    }
}
