//! The documents in a `.pt2` archive that say which tensor is which part of which record (`PayloadConfig` of
//! `torch/_export/serde/schema.py`).

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::value::tensor::{TensorClass, TensorData, TensorParts, element_count};
use crate::{DType, Error, Result, ResultExt as _, Storage, Tensor};

/// Element types as the schema numbers them.
const DTYPES: &[(i64, DType)] = &[
    (1, DType::UInt8),
    (2, DType::Int8),
    (3, DType::Int16),
    (4, DType::Int32),
    (5, DType::Int64),
    (6, DType::Float16),
    (7, DType::Float32),
    (8, DType::Float64),
    (9, DType::Complex32),
    (10, DType::Complex64),
    (11, DType::Complex128),
    (12, DType::Bool),
    (13, DType::BFloat16),
    (28, DType::UInt16),
    (29, DType::Float8E4M3Fn),
    (30, DType::Float8E5M2),
    (31, DType::Float8E4M3Fnuz),
    (32, DType::Float8E5M2Fnuz),
    (33, DType::Float8E8M0Fnu),
    (34, DType::UInt32),
    (35, DType::UInt64),
];

/// The layout of a dense tensor. Others are pickled.
const STRIDED: i64 = 7;

/// The tensors and objects of a program by their names, in order.
#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) config: IndexMap<String, Payload>,
}

#[derive(Deserialize)]
pub(super) struct Payload {
    /// The record, beside the document.
    pub(super) path_name: String,
    #[serde(default)]
    is_param: bool,
    /// Whether the record is a file of `torch.save`'s, or else the bytes of a storage.
    #[serde(default)]
    pub(super) use_pickle: bool,
    tensor_meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    dtype: i64,
    sizes: Vec<SymInt>,
    #[serde(default)]
    requires_grad: bool,
    device: Device,
    strides: Vec<SymInt>,
    storage_offset: SymInt,
    layout: i64,
}

#[derive(Deserialize)]
struct Device {
    #[serde(rename = "type")]
    kind: String,
    index: Option<i64>,
}

/// A number, or an expression of numbers that are not known yet: no weight has such a shape.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SymInt {
    AsInt(i64),
    AsExpr(IgnoredAny),
}

/// A tensor of a program, but for its storage.
pub(super) struct Described {
    parts: TensorParts,
    /// The device tag of its storage.
    pub(super) location: String,
}

impl Payload {
    /// The tensor as the document describes it.
    pub(super) fn describe(&self, name: &str) -> Result<Described> {
        let Some(meta) = &self.tensor_meta else {
            return Err(Error::invalid_tensor(name, "it is described neither as a tensor nor as pickled"));
        };
        let dtype = DTYPES.iter().find(|row| row.0 == meta.dtype).map(|row| row.1);
        let (Some(dtype), STRIDED) = (dtype, meta.layout) else {
            let what = format!("'{name}' with element type {} and layout {} of torch.export", meta.dtype, meta.layout);
            return Err(Error::unsupported(what));
        };
        let number = |number: &SymInt| match number {
            SymInt::AsInt(number) => usize::try_from(*number).ok(),
            SymInt::AsExpr(_) => None,
        };
        let numbers = |all: &[SymInt]| all.iter().map(number).collect::<Option<Vec<usize>>>();
        let parts = (numbers(&meta.sizes), numbers(&meta.strides), number(&meta.storage_offset));
        let (Some(shape), Some(stride), Some(offset)) = parts else {
            return Err(Error::invalid_tensor(name, "its shape, strides or offset are no numbers, or negative"));
        };
        let class = if self.is_param { TensorClass::Parameter { state: None } } else { TensorClass::Tensor };
        let parts = TensorParts {
            requires_grad: meta.requires_grad,
            class,
            ..TensorParts::strided(dtype, shape, Storage::from_bytes(None, Vec::new()), offset, stride)
        };
        let location = match meta.device.index {
            Some(index) => format!("{}:{index}", meta.device.kind),
            None => meta.device.kind.clone(),
        };
        Ok(Described { parts, location })
    }
}

impl Described {
    pub(super) fn dtype(&self) -> DType {
        self.parts.dtype
    }

    /// The tensor over its storage. A program that was exported with fake tensors has elements of none: they are tensors on the
    /// device `meta`.
    pub(super) fn tensor(self, storage: Storage, name: &str) -> Result<Tensor> {
        let TensorParts { shape, data, .. } = &self.parts;
        let data = match data.clone() {
            TensorData::Strided { stride, .. } if storage.is_empty() && element_count(shape) != Some(0) => {
                TensorData::Meta { stride }
            }
            TensorData::Strided { offset, stride, .. } => TensorData::Strided { storage, offset, stride },
            other => other,
        };
        Tensor::new(TensorParts { data, ..self.parts }).at(name)
    }
}
