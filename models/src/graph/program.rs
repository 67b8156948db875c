//! `Program`: an exported network as a Burn module, with its parameters and buffers under PyTorch's names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Content, Flag, Module, Param};
use burn::tensor::{DType, Device, FloatDType, TensorData};
use rekindle_burn::SCALAR;
use rekindle_random::Generator;
use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::container::export::{ExportedProgram, programs};

use super::cast::Cache;
use super::inputs::{Input, Symbols};
use super::item::{Item, Slot, Values};
use super::leaf::Leaf;
use super::run::Running;
use super::samples::Samples;
use super::steps::{Node, OutputValue, Plan};
use crate::functional::{Array, Kind, autocast, dtype_name, kind_of, region};
use crate::nn::parts::{Change, Devices, Look, Parts, walked};
use crate::{ModelError, Result};

/// A network that `torch.export.save` wrote: it runs, trains, and has PyTorch's state dict.
///
/// On an autodiff device it trains, else (`valid()`) it is in evaluation: dropout and batch norm follow, whatever the program
/// was exported in. Clones share buffers and the generator that dropout draws from.
///
/// ```no_run
/// use burn::tensor::{DType, Device};
/// use rekindle_models::functional::Array;
/// use rekindle_models::graph::Program;
///
/// let device = Device::flex();
/// let program = Program::open("net.pt2", &device)?;
/// let x = Array::from_floats(&[0.5; 64], &[1, 1, 8, 8], DType::F32, &device)?;
/// let outputs = program.forward(&[x])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Program {
    pub(super) ready: Arc<Ready>,
    /// The floating-point type of its constants and inputs, where it is another than at export.
    pub(super) dtype: Option<DType>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) training: Param<Flag>,
    /// Whether each of its batch norms trains while the program does.
    pub(super) norms: Vec<Param<Flag>>,
    pub(super) generator: Arc<Mutex<Generator>>,
}

/// What does not change: the plan, and what is what.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) torch_version: String,
    pub(super) plan: Plan,
    pub(super) leaves: Vec<LeafInfo>,
    pub(super) constants: Constants,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) symbols: Symbols,
    /// Buffers that get a value after the run, and which.
    pub(super) kept: Vec<(usize, Slot)>,
    /// What an archive that was exported in evaluation lacks for training.
    pub(super) lacks: Vec<String>,
    pub(super) samples: Samples,
    pub(super) norms: Vec<Norm>,
}

/// A batch norm that keeps statistics.
pub(super) struct Norm {
    /// The module.
    name: String,
    /// What the graph calls its running mean.
    mean: Slot,
    /// The places of its parameters and buffers among the leaves.
    leaves: Vec<usize>,
}

impl Norm {
    /// Those of a program, but for those within the branches and loops that it may have.
    pub(super) fn all(plan: &Plan, leaves: &[LeafInfo]) -> Vec<Norm> {
        let module = |info: &LeafInfo| info.name.rsplit_once('.').map(|(module, _)| module.to_owned());
        let mut norms: Vec<Norm> = Vec::new();
        for mean in plan.nodes.iter().filter_map(Node::running_mean) {
            let name = leaves.iter().find(|info| info.slots.contains(&mean)).and_then(module);
            if let Some(name) = name.filter(|name| norms.iter().all(|norm| norm.name != *name)) {
                let places = 0..leaves.len();
                let leaves =
                    places.filter(|&leaf| module(&leaves[leaf]).is_some_and(|module| module == name)).collect();
                norms.push(Norm { name, mean, leaves });
            }
        }
        norms
    }
}

/// The constants of a program, which are made once for each device and type.
pub(super) struct Constants {
    all: Vec<(Slot, TensorData, Vec<usize>)>,
    made: Mutex<Vec<((Device, Option<DType>), Vec<Array>)>>,
}

impl Constants {
    pub(super) fn new(all: Vec<(Slot, TensorData, Vec<usize>)>) -> Self {
        Constants { all, made: Mutex::new(Vec::new()) }
    }

    /// Hands out each constant on the device, those of floating-point numbers in the type.
    fn on(&self, device: &Device, dtype: Option<DType>, mut give: impl FnMut(Slot, &Array)) -> Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (device.clone(), dtype);
        if made.iter().all(|(known, _)| *known != key) {
            let array = |(_, data, shape): &(Slot, TensorData, Vec<usize>)| {
                let array = Array::from_data(data.clone(), shape, device)?;
                cast_to(array, dtype)
            };
            made.push((key.clone(), self.all.iter().map(array).collect::<Result<_>>()?));
        }
        let arrays = made.iter().find(|(known, _)| *known == key).map(|(_, arrays)| arrays.as_slice());
        let slots = self.all.iter().map(|(slot, ..)| *slot);
        slots.zip(arrays.unwrap_or_default()).for_each(|(slot, array)| give(slot, array));
        Ok(())
    }
}

/// Floating-point numbers in the type, where there is one; others as they are.
fn cast_to(array: Array, dtype: Option<DType>) -> Result<Array> {
    match dtype {
        Some(dtype) if array.kind() == Kind::Float => array.cast(dtype),
        _ => Ok(array),
    }
}

/// A parameter or a buffer.
pub(super) struct LeafInfo {
    pub(super) name: String,
    pub(super) scalar: bool,
    /// The inputs of the graph that it is.
    pub(super) slots: Vec<Slot>,
    /// The leaf whose value is used in its place: the first of those that are one tensor.
    pub(super) first: usize,
}

/// An output, by its name.
pub(super) struct Output {
    pub(super) name: String,
    pub(super) value: OutputValue,
}

impl Program {
    /// The program's name in its archive.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.ready.name
    }

    /// The PyTorch that exported it.
    #[must_use]
    pub fn torch_version(&self) -> &str {
        &self.ready.torch_version
    }

    /// The inputs, in order.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.ready.inputs
    }

    /// The names of the outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.ready.outputs.iter().map(|output| output.name.as_str())
    }

    /// What a program that was exported in evaluation cannot do in training as the network in PyTorch does; empty where it
    /// was exported in training.
    #[must_use]
    pub fn lacks_for_training(&self) -> &[String] {
        &self.ready.lacks
    }

    /// How many operations it has, those of branches and loops counted once.
    #[must_use]
    pub fn operations(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.ready.plan.all().iter().for_each(|node| *counts.entry(node.op.name).or_insert(0) += 1);
        counts
    }

    /// Each operation with the layer and the line that it came from, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.ready.plan.all().into_iter().map(|node| (node.op.name, node.place.to_string()))
    }

    /// The program in another floating-point type, as PyTorch's `program.module().to(dtype)`: its parameters, buffers and constants,
    /// and the inputs that it is given. What it casts to a type by name it casts still; integers stay.
    #[must_use]
    pub fn to_dtype(self, dtype: FloatDType) -> Self {
        Program { dtype: Some(dtype.into()), ..crate::to_dtype(self, dtype) }
    }

    /// Draws from this generator from now on: dropout, and whatever else the program draws. Clones of the program share it.
    #[must_use]
    pub fn with_generator(self, generator: Arc<Mutex<Generator>>) -> Self {
        Program { generator, ..self }
    }

    /// The generator that it draws from.
    #[must_use]
    pub fn generator(&self) -> &Arc<Mutex<Generator>> {
        &self.generator
    }

    /// Whether it trains: on an autodiff device, unless it was frozen.
    #[must_use]
    pub fn is_training(&self) -> bool {
        let autodiff = self.device().is_autodiff();
        autodiff && self.training.is_enabled()
    }

    /// Where its parameters are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.devices().into_iter().next().unwrap_or_default()
    }

    /// Runs the program on its inputs, in order, and gives its outputs, in order.
    ///
    /// # Errors
    /// When there are other inputs than [`inputs`](Self::inputs) says, or an operation cannot be done.
    pub fn forward(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        Ok(self.forward_named(inputs)?.into_iter().map(|(_, array)| array).collect())
    }

    /// As [`forward_named`](Self::forward_named), with inputs by their names, in any order.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and when an input is missing or there is none of a name.
    pub fn forward_by_name<'a>(
        &self,
        given: impl IntoIterator<Item = (&'a str, Array)>,
    ) -> Result<Vec<(String, Array)>> {
        let inputs = &self.ready.inputs;
        let names = || inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut places: Vec<Option<Array>> = vec![None; inputs.len()];
        for (name, array) in given {
            let place = inputs.iter().position(|input| input.name == name);
            let place = place.ok_or_else(|| invalid(format!("it has no input '{name}'; it takes {}", names())))?;
            places[place] = Some(array);
        }
        let ordered = inputs.iter().zip(places).map(|(input, array)| {
            array.ok_or_else(|| invalid(format!("its input '{}' is missing; it takes {}", input.name, names())))
        });
        self.forward_named(&ordered.collect::<Result<Vec<_>>>()?)
    }

    /// As [`forward`](Self::forward), with the outputs' names. An output that is `None` is left out.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_named(&self, inputs: &[Array]) -> Result<Vec<(String, Array)>> {
        let ready = &*self.ready;
        let device = self.device();
        let mut values = Values::new(ready.plan.names.len());
        ready.symbols.bind(&ready.inputs, inputs)?;
        for (input, array) in ready.inputs.iter().zip(inputs) {
            let dtype = self.dtype.filter(|_| kind_of(input.dtype) == Kind::Float && !input.is_number);
            let array = array.to_device(&device).cast(dtype.unwrap_or(input.dtype))?;
            let item = if input.is_number { Item::Number(array.item()?) } else { Item::Array(array) };
            values.set(input.slot, item);
        }
        for info in &ready.leaves {
            for &slot in &info.slots {
                values.set(slot, Item::Array(self.leaves[info.first].array(info.scalar)?));
            }
        }
        ready.constants.on(&device, self.dtype, |slot, array| values.set(slot, Item::Array(array.clone())))?;
        let train = self.is_training();
        let still = ready.norms.iter().zip(&self.norms).filter(|(_, trains)| train && !trains.is_enabled());
        let still: Vec<&Norm> = still.map(|(norm, _)| norm).collect();
        let still_means: BTreeSet<Slot> = still.iter().map(|norm| norm.mean).collect();
        // Of one the optimizer would not know.
        let mut written = ready.kept.iter().filter(|(leaf, _)| self.leaves[*leaf].is_parameter());
        if let (true, Some((leaf, _))) = (train, written.next()) {
            let name = &ready.leaves[*leaf].name;
            let reason = format!(
                "it writes to its parameter '{name}' as it is computed, as `Embedding(max_norm=...)` does; that is supported in evaluation"
            );
            return Err(invalid(reason));
        }
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let parameters = ready.leaves.iter().filter(|info| self.leaves[info.first].is_parameter());
        let parameters =
            parameters.flat_map(|info| info.slots.iter().copied()).filter(|slot| !ready.plan.written.contains(slot));
        let cache = Cache::of(parameters);
        let (plan, generator) = (&ready.plan, &mut *generator);
        // What autocast casts, it casts by operations of the program, and not by what they consist of.
        let around = region().map(DType::from);
        let mut running = Running { plan, train, still: &still_means, device: &device, generator, around, cache };
        autocast(None, || running.run(&mut values))?;
        if train {
            for (leaf, slot) in
                ready.kept.iter().filter(|(leaf, _)| still.iter().all(|norm| !norm.leaves.contains(leaf)))
            {
                let array = values.array(*slot)?.clone();
                let array = if ready.leaves[*leaf].scalar { array.reshaped(&[1])? } else { array };
                self.leaves[*leaf].set(array)?;
            }
        }
        let mut outputs = Vec::with_capacity(ready.outputs.len());
        for output in &ready.outputs {
            let array = match &output.value {
                OutputValue::None => continue,
                OutputValue::Number(number) => Array::scalar(*number, number.dtype(), &device),
                OutputValue::Slot(slot) => match values.get(*slot) {
                    Some(Item::Array(array)) => array.clone(),
                    Some(Item::Number(number)) => Array::scalar(*number, number.dtype(), &device),
                    _ => continue,
                },
            };
            outputs.push((output.name.clone(), array));
        }
        Ok(outputs)
    }
}

/// All programs of an archive, as data.
///
/// # Errors
/// When the archive cannot be read.
pub fn exported_all(path: impl AsRef<Path>) -> rekindle_recorder::Result<Vec<ExportedProgram>> {
    programs(path.as_ref(), &OpenOptions::default())
}

/// The program of an archive, the one called `model` where there are several, as data.
///
/// # Errors
/// When the archive cannot be read, or holds several programs and none of this name.
pub fn exported(path: impl AsRef<Path>) -> rekindle_recorder::Result<ExportedProgram> {
    let path = path.as_ref();
    let all = exported_all(path)?;
    let single = all.len() == 1;
    let names: Vec<String> = all.iter().map(|program| program.name.to_string()).collect();
    all.into_iter().find(|program| single || &*program.name == "model").ok_or_else(|| {
        let (path, names) = (path.display(), names.join(", "));
        let reason = format!("{path}: the archive holds the programs {names}, and none is called 'model'");
        rekindle_recorder::Error::invalid(reason)
    })
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Program");
        shown.field("name", &self.ready.name);
        for (info, leaf) in self.ready.leaves.iter().zip(&self.leaves) {
            shown.field(&info.name, leaf);
        }
        shown.field("training", &self.training).finish_non_exhaustive()
    }
}

pub(super) fn invalid(reason: impl Into<String>) -> ModelError {
    ModelError::Program { reason: reason.into() }
}

impl Parts for Program {
    fn each(&self, look: &mut impl Look) {
        for (info, leaf) in self.ready.leaves.iter().zip(&self.leaves) {
            look.along(&way(info), |look| leaf.shown(look));
        }
        for (norm, trains) in self.ready.norms.iter().zip(&self.norms) {
            look.along(&norm.way(), |look| look.at(trains));
        }
        look.named("training", PROGRAM, &self.training);
    }

    fn changed(self, change: &mut impl Change) -> Self {
        let leaves = self.ready.leaves.iter().zip(self.leaves);
        let leaves = leaves.map(|(info, leaf)| change.along(&way(info), |change| leaf.changed(change))).collect();
        let norms = self.ready.norms.iter().zip(self.norms);
        let norms = norms.map(|(norm, trains)| change.along(&norm.way(), |change| change.on(trains))).collect();
        let training = change.named("training", PROGRAM, self.training);
        Program { leaves, training, norms, ..self }
    }

    /// Parameters first: a buffer has no tape.
    fn with_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        let mut found = Devices(devices);
        let (parameters, buffers): (Vec<&Leaf>, Vec<&Leaf>) = self.leaves.iter().partition(|leaf| leaf.is_parameter());
        parameters.into_iter().chain(buffers).for_each(|leaf| leaf.shown(&mut found));
        found.0
    }

    fn content(&self, content: Content) -> Option<Content> {
        let described = |(info, leaf): (&LeafInfo, &Leaf)| {
            let array = leaf.array(info.scalar).ok()?;
            Some(format!("{}: {} {:?}", info.name, dtype_name(array.dtype()), array.shape()))
        };
        let lines: Vec<String> = self.ready.leaves.iter().zip(&self.leaves).filter_map(described).collect();
        content.add_formatted(&lines.join("\n")).optional()
    }
}

walked!([] Program);

/// What Burn is told that the container of a program's parts is.
const PROGRAM: &str = "Struct:Program";

impl Norm {
    /// The modules on the way to its flag.
    fn way(&self) -> Vec<(&str, &'static str)> {
        self.name.split('.').chain(["training"]).map(|part| (part, PROGRAM)).collect()
    }
}

/// The modules on the way to a weight, with what Burn calls their containers.
fn way(info: &LeafInfo) -> Vec<(&str, &'static str)> {
    let mut way: Vec<(&str, &'static str)> = info.name.split('.').map(|part| (part, PROGRAM)).collect();
    if let (true, Some(last)) = (info.scalar, way.last_mut()) {
        last.1 = SCALAR;
    }
    way
}
