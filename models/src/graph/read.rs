//! A program out of its archive: which value is which weight, constant, input and output.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Param;
use burn::tensor::{DType, Device, TensorData};
use rekindle_burn::tensor_to_data;
use rekindle_random::Generator;
use rekindle_recorder::container::export::ExportedProgram;
use rekindle_recorder::{Tensor, Value};

use super::expression::Expression;
use super::inputs::{Input, Length, Symbols};
use super::item::Slot;
use super::leaf::Leaf;
use super::modes;
use super::plan::dtype_of;
use super::program::{Constants, LeafInfo, Norm, Output, Program, Ready, exported, invalid};
use super::samples::Samples;
use super::schema::{Argument, Document, InputSpec, OutputSpec, Size, Symbolic, TreeSpec};
use super::steps::{OutputValue, Plan};
use crate::Result;

impl Program {
    /// Opens the archive's program (the one called `model` where there are several), with its weights, on the device.
    ///
    /// # Errors
    /// When the archive cannot be read, or the program has what is not supported: all of it is named, with the layer and the
    /// line of Python that it came from.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> rekindle_recorder::Result<Self> {
        let path = path.as_ref();
        Program::from_exported(&exported(path)?, device)
            .map_err(|error| rekindle_recorder::Error::invalid(format!("{}: {error}", path.display())))
    }

    /// Makes a program of an archive ready.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_exported(program: &ExportedProgram, device: &Device) -> Result<Self> {
        let document = Document::of(program)?;
        Reading { program, document: &document, device }.ready()
    }
}

/// An archive's program on its way to a [`Program`].
pub(super) struct Reading<'a> {
    pub(super) program: &'a ExportedProgram,
    pub(super) document: &'a Document,
    pub(super) device: &'a Device,
}

impl Reading<'_> {
    pub(super) fn ready(&self) -> Result<Program> {
        let module = &self.document.graph_module;
        let plan = Plan::new(&module.graph)?;
        let (infos, leaves) = self.leaves(&plan)?;
        let mut constants = Vec::new();
        let mut inputs = Vec::new();
        for spec in &module.signature.input_specs {
            match spec {
                InputSpec::TensorConstant { arg, tensor_constant_name } => {
                    self.constant(&plan, &arg.name, tensor_constant_name, &mut constants)?;
                }
                InputSpec::Buffer { arg, buffer_name, persistent: false } => {
                    self.constant(&plan, &arg.name, buffer_name, &mut constants)?;
                }
                InputSpec::UserInput { arg } => inputs.extend(self.input(&plan, arg)?),
                InputSpec::CustomObj { custom_obj_name } => {
                    return Err(invalid(format!("its custom object '{custom_obj_name}' is not supported")));
                }
                // What was fixed at export is read by nothing in the graph.
                InputSpec::ConstantInput(_)
                | InputSpec::Parameter { .. }
                | InputSpec::Buffer { .. }
                | InputSpec::Token(_) => {}
            }
        }
        self.name_inputs(&mut inputs);
        for (slot, ..) in &constants {
            if plan.written.contains(slot) {
                let name = &plan.names[*slot];
                return Err(invalid(format!("it writes to the constant '{name}', which is not supported")));
            }
        }
        let kept = self.kept(&plan, &infos);
        let outputs = self.outputs(&plan)?;
        let ready = Ready {
            name: self.program.name.to_string(),
            torch_version: self.document.torch_version.clone(),
            symbols: Symbols::new(&self.document.range_constraints),
            lacks: modes::lacks(&plan),
            norms: Norm::all(&plan, &infos),
            plan,
            leaves: infos,
            constants: Constants::new(constants),
            inputs,
            outputs,
            kept,
            samples: self.samples(),
        };
        let norms = ready.norms.iter().map(|_| Param::from_bool(true)).collect();
        Ok(Program {
            ready: Arc::new(ready),
            dtype: None,
            leaves,
            training: Param::from_bool(true),
            norms,
            generator: Arc::new(Mutex::new(Generator::default())),
        })
    }

    /// The inputs of the export.
    fn samples(&self) -> Samples {
        let specs = self.document.graph_module.signature.input_specs.iter();
        let is_given = |spec: &InputSpec| matches!(spec, InputSpec::UserInput { arg } if is_variable(arg));
        let variable = specs.filter(|spec| is_user(spec)).map(is_given).collect();
        Samples { value: self.program.sample_inputs.clone(), variable }
    }

    /// The weights in their order in the state dict. Of those that lie on one storage in one way, the first has the parameter.
    fn leaves(&self, plan: &Plan) -> Result<(Vec<LeafInfo>, Vec<Leaf>)> {
        // PyTorch 2.5 calls all tied parameters by one name.
        let mut slots: BTreeMap<&str, (Vec<Slot>, bool)> = BTreeMap::new();
        for spec in &self.document.graph_module.signature.input_specs {
            let (arg, name, parameter) = match spec {
                InputSpec::Parameter { arg, parameter_name } => (arg, parameter_name, true),
                InputSpec::Buffer { arg, buffer_name, persistent: true } => (arg, buffer_name, false),
                _ => continue,
            };
            let slot =
                plan.by_name.get(&arg.name).copied().ok_or_else(|| invalid(format!("'{name}' is no input of it")))?;
            slots.entry(name).or_insert_with(|| (Vec::new(), parameter)).0.push(slot);
        }
        let mut infos: Vec<LeafInfo> = Vec::new();
        let mut leaves: Vec<Leaf> = Vec::new();
        let mut tensors: Vec<&Tensor> = Vec::new();
        for (name, value) in &self.program.weights {
            let Value::Tensor(tensor) = value else { return Err(invalid(format!("its weight '{name}' is no tensor"))) };
            let name = self.own_name(name);
            let found = slots.remove(name);
            let parameter = found.as_ref().map_or(tensor.is_parameter(), |(_, parameter)| *parameter);
            let slots = found.map(|(slots, _)| slots).unwrap_or_default();
            let index = infos.len();
            let tied = tensors.iter().position(|known| known.view() == tensor.view() && known.is_parameter());
            let first = tied.filter(|_| parameter).unwrap_or(index);
            let scalar = tensor.shape().is_empty();
            let leaf = if first == index {
                let data = data_of(name, tensor)?;
                Leaf::new(data, parameter, tensor.requires_grad(), self.device)?
            } else {
                leaves[first].clone()
            };
            infos.push(LeafInfo { name: name.to_string(), scalar, slots, first });
            leaves.push(leaf);
            tensors.push(tensor);
        }
        if let Some((name, _)) = slots.into_iter().next() {
            return Err(invalid(format!("its weight '{name}' is not in the archive")));
        }
        Ok((infos, leaves))
    }

    /// The network's name of what the archive has under this one.
    fn own_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.document.renamed.get(name).map_or(name, String::as_str)
    }

    fn constant(
        &self,
        plan: &Plan,
        arg: &str,
        name: &str,
        constants: &mut Vec<(Slot, TensorData, Vec<usize>)>,
    ) -> Result<()> {
        let own = self.document.constant(name)?;
        let mut all = self.program.constants.iter().chain(&self.program.weights);
        let found = own.or_else(|| all.find(|(known, _)| self.own_name(known) == name).map(|(_, value)| value.clone()));
        let Some(Value::Tensor(tensor)) = found else {
            return Err(invalid(format!("its constant '{name}' is not in the archive, or no tensor")));
        };
        let slot = plan.by_name.get(arg).copied().ok_or_else(|| invalid(format!("'{name}' is no input of it")))?;
        constants.push((slot, data_of(name, &tensor)?, tensor.shape().to_vec()));
        Ok(())
    }

    /// An input of the user's, before it has a name; `None` for one that was fixed at export.
    fn input(&self, plan: &Plan, arg: &Argument) -> Result<Option<Input>> {
        let (name, number) = match arg {
            Argument::AsTensor(name) => (name.name.as_str(), None),
            Argument::AsSymInt(Symbolic::AsName(name)) => (name.as_str(), Some(DType::I64)),
            Argument::AsSymFloat(Symbolic::AsName(name)) => (name.as_str(), Some(DType::F64)),
            Argument::AsNone(_)
            | Argument::AsInt(_)
            | Argument::AsFloat(_)
            | Argument::AsBool(_)
            | Argument::AsString(_) => return Ok(None),
            _ => return Err(invalid("an input is neither a tensor nor a number")),
        };
        let slot =
            plan.by_name.get(name).copied().ok_or_else(|| invalid(format!("its input '{name}' is not there")))?;
        if let Some(dtype) = number {
            return Ok(Some(Input { name: name.to_owned(), slot, dtype, lengths: Vec::new(), is_number: true }));
        }
        let Some(meta) = self.document.graph_module.graph.tensor_values.get(name) else {
            return Err(invalid(format!("nothing is known of its input '{name}'")));
        };
        let dtype = dtype_of(meta.dtype).ok_or_else(|| {
            invalid(format!("its input '{name}' has the element type {}, which is not supported", meta.dtype))
        })?;
        let lengths = meta.sizes.iter().map(Length::from).collect();
        Ok(Some(Input { name: name.to_owned(), slot, dtype, lengths, is_number: false }))
    }

    /// Inputs are called as the forward's arguments are, as far as they can be told.
    fn name_inputs(&self, inputs: &mut [Input]) {
        let root = self.document.graph_module.module_call_graph.iter().find(|call| call.fqn.is_empty());
        let Some(signature) = root.and_then(|call| call.signature.as_ref()) else { return };
        let Some((_, spec)) = tree_of(&signature.in_spec) else { return };
        let [args, kwargs] = &*spec.children_spec else { return };
        let names = signature.forward_arg_names.clone().unwrap_or_default();
        let mut leaves = Vec::new();
        for (index, child) in args.children_spec.iter().enumerate() {
            let name = names.get(index).cloned().unwrap_or_else(|| format!("arg{index}"));
            leaves.extend(child.names().into_iter().map(|inner| joined(&name, &inner)));
        }
        leaves.extend(kwargs.names());
        if leaves.len() == self.document.graph_module.signature.input_specs.iter().filter(|spec| is_user(spec)).count()
        {
            // Those that were fixed at export have no place among the inputs.
            let kept: Vec<String> = self
                .document
                .graph_module
                .signature
                .input_specs
                .iter()
                .filter(|spec| is_user(spec))
                .zip(leaves)
                .filter(|(spec, _)| matches!(spec, InputSpec::UserInput { arg } if is_variable(arg)))
                .map(|(_, name)| name)
                .collect();
            for (input, name) in inputs.iter_mut().zip(kept) {
                input.name = name;
            }
        }
    }

    /// The buffers that the program writes to, in place or as outputs of their own.
    fn kept(&self, plan: &Plan, infos: &[LeafInfo]) -> Vec<(usize, Slot)> {
        let written = |(index, info): (usize, &LeafInfo)| {
            let slot = info.slots.iter().find(|slot| plan.written.contains(slot))?;
            Some((index, *slot))
        };
        let mut kept: Vec<(usize, Slot)> = infos.iter().enumerate().filter_map(written).collect();
        for spec in &self.document.graph_module.signature.output_specs {
            if let OutputSpec::BufferMutation { arg, buffer_name } = spec {
                let leaf = infos.iter().position(|info| info.name == *buffer_name);
                kept.extend(leaf.zip(plan.by_name.get(&arg.name).copied()));
            }
        }
        kept
    }

    fn outputs(&self, plan: &Plan) -> Result<Vec<Output>> {
        let module = &self.document.graph_module;
        let root = module.module_call_graph.iter().find(|call| call.fqn.is_empty());
        let spec = root.and_then(|call| call.signature.as_ref()).and_then(|signature| tree_of(&signature.out_spec));
        let names = spec.map(|(_, spec)| spec.names()).unwrap_or_default();
        let mut outputs = Vec::new();
        for spec in &module.signature.output_specs {
            let value = match spec {
                OutputSpec::UserOutput { arg } => OutputValue::of(arg, &plan.by_name).map_err(invalid)?,
                OutputSpec::LossOutput { arg } => OutputValue::Slot(output_slot(plan, &arg.name)?),
                OutputSpec::ParameterMutation { parameter_name } => {
                    return Err(invalid(format!(
                        "it writes to its parameter '{parameter_name}', which is not supported"
                    )));
                }
                OutputSpec::BufferMutation { .. } | OutputSpec::UserInputMutation(_) | OutputSpec::Token(_) => {
                    continue;
                }
                OutputSpec::GradientToParameter(_) | OutputSpec::GradientToUserInput(_) => {
                    return Err(invalid("gradients as outputs are not supported"));
                }
            };
            let index = outputs.len();
            // A tuple's outputs, and a single one, have no names of their own.
            let own = names.get(index).filter(|name| !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
            outputs.push(Output { name: own.cloned().unwrap_or_else(|| format!("output_{index}")), value });
        }
        Ok(outputs)
    }
}

fn output_slot(plan: &Plan, name: &str) -> Result<Slot> {
    plan.by_name.get(name).copied().ok_or_else(|| invalid(format!("its output '{name}' is not there")))
}

fn is_user(spec: &InputSpec) -> bool {
    matches!(spec, InputSpec::UserInput { .. } | InputSpec::ConstantInput(_))
}

/// Whether an input is given when the program runs.
fn is_variable(arg: &Argument) -> bool {
    matches!(
        arg,
        Argument::AsTensor(_) | Argument::AsSymInt(Symbolic::AsName(_)) | Argument::AsSymFloat(Symbolic::AsName(_))
    )
}

fn joined(outer: &str, inner: &str) -> String {
    if inner.is_empty() { outer.to_owned() } else { format!("{outer}.{inner}") }
}

fn tree_of(text: &str) -> Option<(i64, TreeSpec)> {
    serde_json::from_str(text).ok()
}

/// The elements of a weight, as Burn holds them: a scalar is `[1]`.
fn data_of(name: &str, tensor: &Tensor) -> Result<TensorData> {
    let data = tensor_to_data(tensor).map_err(|error| invalid(format!("'{name}': {error}")))?;
    if tensor.shape().is_empty() {
        return Ok(TensorData::from_bytes(data.bytes().clone(), [1], data.dtype()));
    }
    Ok(data)
}

impl Length {
    fn from(size: &Size) -> Self {
        match (size, size.symbol()) {
            (Size::AsInt(length), _) => Length::Exactly(usize::try_from(*length).unwrap_or(0)),
            (_, Some(symbol)) => Length::Symbol(symbol.to_owned()),
            (Size::AsExpr(found), _) => Expression::read(&found.expr_str).map_or(Length::Any, Length::Computed),
        }
    }
}
