//! An archive's programs as data: their weights and constants; and writing other weights into a copy of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexSet;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::export::config::Config;
use crate::container::template::{self, Template};
use crate::container::zip::{Archive, Storages};
use crate::format::add_new;
use crate::pickle::{self, KeepIds};
use crate::{
    Dict, Error, FileBytes, Format, Global, OpenOptions, Opened, Result, SaveOptions, SaveReport, StateDict, Tensor,
    Value,
};

impl Format {
    /// What `torch.export.save` writes (`.pt2`).
    pub const PT2: Format = Format::named("pt2");
}

/// Where the weights and the constants of programs are, and the ends of their documents' names.
const WEIGHTS: (&str, &str) = ("data/weights/", "_weights_config.json");
const CONSTANTS: (&str, &str) = ("data/constants/", "_constants_config.json");

/// The records of PyTorch 2.1 to 2.6: weights, then constants. (Under the older names, too, they are files of `torch.save`'s.)
const OLD: [[&str; 2]; 2] = [
    ["serialized_state_dict.pt", "serialized_state_dict.json"],
    ["serialized_constants.pt", "serialized_constants.json"],
];

pub(crate) fn is_archive(archive: &Archive) -> bool {
    let has = |name| archive.find(name).is_some();
    let model = |name: &str| name.strip_prefix("models/").is_some_and(|name| name.ends_with(".json"));
    has("archive_format") || has("serialized_exported_program.json") || archive.names().any(model)
}

pub(crate) fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let export = Export::read(archive, file, options)?;
    let value = export.value();
    let inner = export.nested.values().filter_map(|nested| nested.archive.as_ref().map(|(_, storages)| storages));
    Storages::label(export.storages.iter().chain(inner), &value);
    Ok(Opened::new(Format::PT2, value, export.globals, file.len() as u64))
}

/// Writes a state dict into a copy of the archive that [`SaveOptions::template`] names; see [`replace`]. For an archive of several
/// programs it is a dict of state dicts.
///
/// # Errors
/// As [`replace`], and [`ErrorKind::Unsupported`] without a template.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let template = template::path(options, "a torch.export archive")?;
    let entries = root.as_dict().map(Dict::entries).unwrap_or_default();
    let several = !entries.is_empty() && entries.iter().all(|(_, value)| matches!(value, Value::Dict(_)));
    let mut state_dict = StateDict::new();
    if several {
        for (program, weights) in &entries {
            let program = program.as_str().unwrap_or_default();
            let weights = StateDict::from_value(weights)?;
            state_dict.extend(weights.into_iter().map(|(name, value)| (format!("{program}.{name}"), value)));
        }
    } else {
        state_dict = StateDict::from_value(root)?;
    }
    replace(&template, &state_dict, path, options)
}

/// Copies a `.pt2` archive with other weights: `torch.export.load` opens it and the program computes with the new numbers. The
/// names are those of the program's state dict; where there are several programs, each has its own before them
/// (`model.fc.weight`). Constants stay.
///
/// Every byte is as in `archive` but for the elements of the state dict's tensors and the checksums over them. Tensors that are
/// views of one storage stay so; where they overlap, their new values must agree. The file appears whole or not at all; `path`
/// may be `archive` itself.
///
/// # Errors
/// [`ErrorKind::Mismatch`] when names or shapes are not those of the program's own state dict,
/// [`ErrorKind::WrongType`] when an element type is not, [`ErrorKind::Invalid`] when overlapping tensors disagree,
/// [`ErrorKind::Unsupported`] for weights that are no dense tensors; whatever reading the archive says where any record of it is
/// damaged.
pub fn replace(archive: &Path, state_dict: &StateDict, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    template::replace(archive, state_dict, path, options, |zip, file| {
        if !is_archive(zip) {
            return Err(Error::invalid("the template is no torch.export archive"));
        }
        Ok(Export::read(zip, file, &OpenOptions::default())?.template(zip))
    })
}

/// An archive as it was read.
#[derive(Default)]
pub(super) struct Export {
    programs: Vec<Program>,
    /// The storages that are records themselves; `None` in the oldest layout.
    storages: Option<Storages>,
    /// The weights in them, by the names that [`replace`] takes.
    weights: Vec<(Arc<str>, Tensor)>,
    /// The records that are files themselves.
    nested: BTreeMap<usize, Nested>,
    globals: Vec<Global>,
}

/// A program's tensors and objects, by name.
struct Program {
    name: Arc<str>,
    weights: Vec<(Arc<str>, Value)>,
    constants: Vec<(Arc<str>, Value)>,
}

/// A record that is a file of `torch.save`'s, or a pickle.
struct Nested {
    value: Value,
    /// `None` for a pickle.
    archive: Option<(Arc<Archive>, Storages)>,
    /// The weights in it, by the names that [`replace`] takes.
    weights: Vec<(Arc<str>, Tensor)>,
}

/// A program's name, its weights and its constants.
type Named = (Arc<str>, Vec<(Arc<str>, Value)>, Vec<(Arc<str>, Value)>);

impl Export {
    /// Its programs.
    pub(super) fn into_programs(self) -> impl Iterator<Item = Named> {
        self.programs.into_iter().map(|program| (program.name, program.weights, program.constants))
    }

    pub(super) fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Self> {
        let mut reading = Reading { archive, file, options, several: false, export: Export::default() };
        if archive.find("serialized_exported_program.json").is_some() {
            let weights = reading.file_of(OLD[0], true)?;
            // PyTorch 2.1 keeps constants within the document.
            let there = OLD[1].iter().any(|name| archive.find(name).is_some());
            let constants = if there { reading.file_of(OLD[1], false)? } else { Vec::new() };
            reading.export.programs.push(Program { name: "model".into(), weights, constants });
            return Ok(reading.export);
        }
        reading.export.storages = Some(Storages::new(archive, file, options)?);
        let names = programs(archive);
        reading.several = names.len() > 1;
        for name in names {
            let weights = reading.tensors(&name, WEIGHTS, true)?;
            let constants = reading.tensors(&name, CONSTANTS, false)?;
            reading.export.programs.push(Program { name, weights, constants });
        }
        if reading.export.programs.is_empty() {
            let what = "a torch.export archive without the weights of a program (compiled code alone, perhaps)";
            return Err(Error::unsupported(what));
        }
        Ok(reading.export)
    }

    fn value(&self) -> Value {
        let program = |program: &Program| {
            let mut root = Dict::ordered();
            root.extend(program.weights.iter().cloned());
            if !program.constants.is_empty() {
                let constants: Dict = program.constants.iter().cloned().collect();
                root.write().state = Some(Dict::from_iter([("constants", constants)]).into());
            }
            Value::from(root)
        };
        match &*self.programs {
            [only] => program(only),
            all => all.iter().map(|one| (&*one.name, program(one))).collect::<Dict>().into(),
        }
    }

    fn template(self, archive: &Arc<Archive>) -> Template {
        let mut template = match &self.storages {
            Some(storages) => Template::new(archive, storages, self.weights),
            None => Template::empty(archive),
        };
        for (record, nested) in self.nested {
            if let (Some((archive, storages)), false) = (nested.archive, nested.weights.is_empty()) {
                template.nest(record, Template::new(&archive, &storages, nested.weights));
            }
        }
        template
    }
}

/// The names of the programs whose weights are in an archive, in order.
fn programs(archive: &Archive) -> Vec<Arc<str>> {
    let name = |record: &str| {
        let name = record.strip_prefix(WEIGHTS.0)?;
        name.strip_suffix(WEIGHTS.1).or_else(|| name.strip_suffix(".pt")).map(Arc::from)
    };
    archive.names().filter_map(name).collect::<IndexSet<_>>().into_iter().collect()
}

struct Reading<'a> {
    archive: &'a Arc<Archive>,
    file: &'a FileBytes,
    options: &'a OpenOptions,
    /// Whether there are several programs.
    several: bool,
    export: Export,
}

impl Reading<'_> {
    /// The weights or the constants of a program.
    fn tensors(
        &mut self,
        program: &Arc<str>,
        (folder, document): (&str, &str),
        weights: bool,
    ) -> Result<Vec<(Arc<str>, Value)>> {
        let file = format!("{folder}{program}.pt");
        if self.archive.find(&file).is_some() {
            return self.file_of([&file, &file], weights);
        }
        let document = format!("{folder}{program}{document}");
        // Compiled code has weights beside it, but no constants.
        let compiled = self.archive.find(&format!("models/{program}.json")).is_none();
        if compiled && self.archive.find(&document).is_none() {
            return Ok(Vec::new());
        }
        let Some(storages) = self.export.storages.as_ref() else { return Ok(Vec::new()) };
        let Config { config } = storages.json(&document)?;
        let mut tensors = Vec::with_capacity(config.len());
        for (name, payload) in &config {
            let full: Arc<str> = if self.several { format!("{program}.{name}").into() } else { name.as_str().into() };
            let record = format!("{folder}{}", payload.path_name);
            let Some(number) = self.archive.find(&record) else {
                return Err(Error::damaged(format!("record {record}"), format!("it is missing; '{name}' lies in it")));
            };
            let value = if payload.use_pickle {
                let nested = self.nested(number, &record)?;
                let value = nested.value.clone();
                if let (true, Value::Tensor(tensor)) = (weights, &value) {
                    nested.weights.push((full, tensor.clone()));
                }
                value
            } else {
                let described = payload.describe(name)?;
                let Some(storages) = &mut self.export.storages else { return Ok(Vec::new()) };
                let storage = storages.storage_of(number, described.dtype(), &*described.location)?;
                let tensor = described.tensor(storage, name)?;
                if weights {
                    self.export.weights.push((full, tensor.clone()));
                }
                tensor.into()
            };
            tensors.push((name.as_str().into(), value));
        }
        Ok(tensors)
    }

    /// The entries of a record that is a state dict in a file of `torch.save`'s.
    fn file_of(&mut self, names: [&str; 2], weights: bool) -> Result<Vec<(Arc<str>, Value)>> {
        let found = names.into_iter().find_map(|name| Some((name, self.archive.find(name)?)));
        let Some((name, record)) = found else {
            return Err(Error::damaged(format!("record {}", names[0]), "it is missing"));
        };
        // Nothing at all stands for an empty dict.
        if self.archive.records().get(record).is_some_and(|record| record.size == 0) {
            return Ok(Vec::new());
        }
        let several = self.several;
        let program = name.rsplit_once('/').and_then(|(_, file)| file.strip_suffix(".pt")).unwrap_or_default();
        let nested = self.nested(record, name)?;
        let Some(dict) = nested.value.as_dict() else {
            return Err(Error::wrong_type(format!("record {name}"), "a dict", nested.value.describe()));
        };
        let mut entries: Vec<(Arc<str>, Value)> = Vec::with_capacity(dict.len());
        for (key, value) in dict.entries() {
            let Value::Str(key) = key else {
                return Err(Error::wrong_type(format!("a key of record {name}"), "a str", key.describe()));
            };
            if let (true, Value::Tensor(tensor)) = (weights, &value) {
                let full = if several { format!("{program}.{key}").into() } else { key.clone() };
                nested.weights.push((full, tensor.clone()));
            }
            entries.push((key, value));
        }
        Ok(entries)
    }

    /// A record that is a file of `torch.save`'s, or a pickle.
    fn nested(&mut self, record: usize, name: &str) -> Result<&mut Nested> {
        let nested = match self.export.nested.entry(record) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let outer = self.archive;
        let starts = outer.prefix(record, 4)?;
        let inner = || {
            // The checksums of the records inside are looked at when they are read.
            if starts.as_deref() == Some(b"PK\x03\x04") {
                let archive = Arc::new(Archive::open(outer.payload(record, false)?, &self.options.limits)?);
                let mut storages = Storages::within(&archive, name, self.file, self.options)?;
                let unpickled = storages.unpickle("data.pkl", |key| format!("data/{key}"))?;
                return Ok((unpickled, Some((archive, storages))));
            }
            let limit = self.options.limits.pickle_bytes;
            if let Some(entry) = outer.records().get(record).filter(|entry| entry.size > limit) {
                return Err(Error::limit(format!("{name} of {} bytes", entry.size), limit));
            }
            let payload = outer.payload(record, self.options.verify)?;
            Ok((pickle::read(&payload, name, &self.options.limits, &mut KeepIds)?, None))
        };
        let (unpickled, archive) = inner().map_err(|error| error.inside(format_args!("record {name}")))?;
        add_new(&mut self.export.globals, unpickled.globals);
        Ok(nested.insert(Nested { value: unpickled.value, archive, weights: Vec::new() }))
    }
}
