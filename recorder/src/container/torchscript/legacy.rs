//! The archives of PyTorch 1.0 to 1.3: `model.json` describes the modules (`caffe2/proto/torch.proto` as JSON), a table of tensors
//! tells where each lies in the records `tensors/N`, and `attributes.pkl` holds what is no parameter.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use crate::container::torchscript::modules::{Budget, Model, Plain};
use crate::container::zip::Storages;
use crate::value::tensor::{Quantizer, TensorParts};
use crate::{DType, Error, Global, Limits, Result, ResultExt as _, Tensor, Value};

/// For messages.
const PLACE: &str = "record model.json";

/// Element types as `caffe2.proto` numbers and names them.
const DTYPES: &[(i64, &str, DType)] = &[
    (1, "FLOAT", DType::Float32),
    (2, "INT32", DType::Int32),
    (3, "BYTE", DType::UInt8),
    (5, "BOOL", DType::Bool),
    (6, "UINT8", DType::UInt8),
    (7, "INT8", DType::Int8),
    (8, "UINT16", DType::UInt16),
    (9, "INT16", DType::Int16),
    (10, "INT64", DType::Int64),
    (12, "FLOAT16", DType::Float16),
    (13, "DOUBLE", DType::Float64),
    (16, "BFLOAT16", DType::BFloat16),
];

/// A number of 64 bits: protobuf's JSON writes it as a string.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Int {
    Number(i64),
    Text(String),
}

impl Default for Int {
    fn default() -> Self {
        Int::Number(0)
    }
}

impl Int {
    fn get(&self) -> Result<i64> {
        match self {
            Int::Number(number) => Ok(*number),
            Int::Text(text) => text.parse().map_err(|_| Error::damaged(PLACE, format!("{text:?} is no number"))),
        }
    }

    fn index(&self) -> Result<usize> {
        let number = self.get()?;
        usize::try_from(number).map_err(|_| Error::damaged(PLACE, format!("{number} is no place, length or stride")))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ModelDef {
    #[serde(alias = "main_module")]
    main_module: ModuleDef,
    tensors: Vec<TensorDef>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ModuleDef {
    name: String,
    submodules: Vec<ModuleDef>,
    parameters: Vec<ParameterDef>,
    attributes: Vec<AttributeDef>,
    /// What `__setstate__` is given.
    #[serde(alias = "get_state_attribute_id")]
    get_state_attribute_id: Option<Int>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ParameterDef {
    name: String,
    #[serde(alias = "tensor_id")]
    tensor_id: Int,
    #[serde(alias = "is_buffer")]
    is_buffer: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AttributeDef {
    name: String,
    /// Its place in `attributes.pkl`; negative where it has no value.
    id: Int,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TensorDef {
    dims: Vec<Int>,
    offset: Int,
    strides: Vec<Int>,
    #[serde(alias = "requires_grad")]
    requires_grad: bool,
    #[serde(alias = "data_type")]
    data_type: DataType,
    data: RecordRef,
    device: String,
    #[serde(alias = "is_quantized")]
    is_quantized: bool,
    scale: f64,
    #[serde(alias = "zero_point")]
    zero_point: Int,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DataType {
    Number(i64),
    Name(String),
}

impl Default for DataType {
    fn default() -> Self {
        DataType::Number(0)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RecordRef {
    key: String,
}

/// A model of such an archive.
pub(super) struct Legacy {
    pub(super) model: Model,
    pub(super) constants: Vec<(Arc<str>, Value)>,
    pub(super) globals: Vec<Global>,
}

pub(super) fn read(storages: &mut Storages, limits: &Limits) -> Result<Legacy> {
    let def: ModelDef = storages.json("model.json")?;
    let named = |(i, def): (usize, &TensorDef)| {
        tensor(def, storages).at(format_args!("tensor {i} of model.json ({})", def.data.key))
    };
    let tensors: Vec<Tensor> = def.tensors.iter().enumerate().map(named).collect::<Result<_>>()?;
    let (attributes, globals) = if storages.archive().find("attributes.pkl").is_some() {
        // Its tensors are places in the table.
        let unpickled = storages.unpickle("attributes.pkl", |key| format!("tensors/{key}"))?;
        (unpickled.value.items().unwrap_or_default(), unpickled.globals)
    } else {
        (Vec::new(), Vec::new())
    };
    let mut reading = Reading {
        tensors: &tensors,
        attributes,
        used: HashSet::new(),
        model: Model::default(),
        plain: Plain::with_tensors(tensors.clone()),
        budget: Budget::new(limits),
    };
    reading.module(&def.main_module, "")?;
    let Reading { used, model, .. } = reading;
    // The code calls every tensor by its place in the table; those that are no module's are its constants.
    let constants = tensors.iter().enumerate().filter(|(i, _)| !used.contains(i));
    let constants = constants.map(|(i, tensor)| (format!("c{i}").into(), tensor.clone().into())).collect();
    Ok(Legacy { model, constants, globals })
}

struct Reading<'a> {
    tensors: &'a [Tensor],
    attributes: Vec<Value>,
    /// The places in the table that parameters and buffers have.
    used: HashSet<usize>,
    model: Model,
    plain: Plain,
    budget: Budget<'a>,
}

impl Reading<'_> {
    // The parser of JSON bounds how deep modules nest.
    fn module(&mut self, def: &ModuleDef, path: &str) -> Result<()> {
        let named = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        self.budget.take(path)?;
        self.model.modules.push(path.into());
        let (buffers, parameters): (Vec<_>, Vec<_>) = def.parameters.iter().partition(|def| def.is_buffer);
        for def in parameters.into_iter().chain(buffers) {
            let index = def.tensor_id.index()?;
            let Some(tensor) = self.tensors.get(index) else {
                let reason = format!("'{}' is tensor {index} of {}", named(&def.name), self.tensors.len());
                return Err(Error::damaged(PLACE, reason));
            };
            self.used.insert(index);
            let name = named(&def.name);
            self.budget.take(&name)?;
            self.model.state_dict.push((name.into(), tensor.detach()));
        }
        let registered: HashSet<&str> = def.parameters.iter().map(|parameter| &*parameter.name).collect();
        for attribute in &def.attributes {
            let name = named(&attribute.name);
            self.budget.take(&name)?;
            // A buffer may be registered as an attribute, too.
            if registered.contains(&*attribute.name) {
                continue;
            }
            let value = match attribute.id.get()? {
                ..0 => Value::None,
                id => self.attribute(id, &name)?,
            };
            self.model.attributes.push((name.into(), value));
        }
        if let Some(id) = &def.get_state_attribute_id {
            let state = self.attribute(id.get()?, path)?;
            self.model.attributes.push((path.into(), state));
        }
        def.submodules.iter().try_for_each(|child| self.module(child, &named(&child.name)))
    }

    fn attribute(&mut self, id: i64, name: &str) -> Result<Value> {
        match usize::try_from(id).ok().and_then(|id| self.attributes.get(id)) {
            Some(value) => Ok(self.plain.value(value)),
            None => Err(Error::damaged(PLACE, format!("'{name}' is attribute {id} of {}", self.attributes.len()))),
        }
    }
}

fn tensor(def: &TensorDef, storages: &mut Storages) -> Result<Tensor> {
    let row = DTYPES.iter().find(|(number, name, _)| match &def.data_type {
        DataType::Number(data_type) => number == data_type,
        DataType::Name(data_type) => name == data_type,
    });
    let Some(&(_, _, dtype)) = row else {
        let name = match &def.data_type {
            DataType::Number(number) => number.to_string(),
            DataType::Name(name) => name.clone(),
        };
        let advice = String::new();
        return Err(Error::unsupported(format!("the element type {name} in model.json")).advise(advice));
    };
    let dtype = match dtype {
        DType::Int8 if def.is_quantized => DType::QInt8,
        DType::UInt8 if def.is_quantized => DType::QUInt8,
        DType::Int32 if def.is_quantized => DType::QInt32,
        plain => plain,
    };
    let Some(record) = storages.archive().find(&def.data.key) else {
        return Err(Error::damaged(format!("record {}", def.data.key), "it is missing"));
    };
    let location = if def.device.is_empty() { "cpu" } else { &def.device };
    let storage = storages.storage_of(record, dtype, location)?;
    let counts = |counts: &[Int]| counts.iter().map(Int::index).collect::<Result<Vec<_>>>();
    let quantizer = if def.is_quantized {
        Some(Quantizer::PerTensor { scale: def.scale, zero_point: def.zero_point.get()? })
    } else {
        None
    };
    let parts = TensorParts::strided(dtype, counts(&def.dims)?, storage, def.offset.index()?, counts(&def.strides)?);
    Tensor::new(TensorParts { requires_grad: def.requires_grad, quantizer, ..parts })
}
