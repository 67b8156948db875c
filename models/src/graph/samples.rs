//! The inputs that a program was exported with, out of its archive.

use burn::tensor::{DType, Device};
use rekindle_burn::tensor_to_data;
use rekindle_recorder::Value;

use super::program::{Program, invalid};
use crate::Result;
use crate::functional::{Array, Number};

/// The inputs of an archive, and which of their leaves are inputs of the program.
pub(super) struct Samples {
    /// `((args...), {kwargs})`; `None` where they were not saved.
    pub(super) value: Option<Value>,
    /// Of each leaf whether it is given when the program runs; others were fixed at export.
    pub(super) variable: Vec<bool>,
}

impl Program {
    /// The inputs that the program was exported with, in the order of [`inputs`](Self::inputs); `None` where the archive has
    /// none: PyTorch before 2.2 and some tools save none.
    ///
    /// # Errors
    /// When they cannot be read, or are not what the program takes.
    pub fn sample_inputs(&self) -> Result<Option<Vec<Array>>> {
        let Samples { value: Some(value), variable } = &self.ready.samples else { return Ok(None) };
        let mut leaves = Vec::new();
        collect(value, &mut leaves)?;
        if leaves.len() != variable.len() {
            let (found, expected) = (leaves.len(), variable.len());
            return Err(invalid(format!("its archive has {found} sample inputs, and the program takes {expected}")));
        }
        let given = leaves.iter().zip(variable).filter(|(_, variable)| **variable);
        given.map(|(leaf, _)| array(leaf)).collect::<Result<Vec<_>>>().map(Some)
    }
}

/// The leaves in the order of PyTorch's pytrees.
fn collect(value: &Value, leaves: &mut Vec<Value>) -> Result<()> {
    match value {
        Value::Tuple(items) => items.iter().try_for_each(|item| collect(item, leaves)),
        Value::List(list) => list.read().iter().try_for_each(|item| collect(item, leaves)),
        Value::Dict(dict) => dict.entries().iter().try_for_each(|(_, item)| collect(item, leaves)),
        Value::Object(_) => {
            Err(invalid(format!("its sample inputs hold {}, which is not supported", value.describe())))
        }
        leaf => {
            leaves.push(leaf.clone());
            Ok(())
        }
    }
}

fn array(leaf: &Value) -> Result<Array> {
    let device = Device::flex();
    match leaf {
        Value::Tensor(tensor) => {
            let data = tensor_to_data(tensor).map_err(|error| invalid(format!("a sample input: {error}")))?;
            Array::from_data(data, tensor.shape(), &device)
        }
        Value::Int(int) => Ok(Array::scalar(Number::Int(*int), DType::I64, &device)),
        Value::Float(float) => Ok(Array::scalar(Number::Float(*float), DType::F64, &device)),
        other => Err(invalid(format!("a sample input is {}, neither a tensor nor a number", other.describe()))),
    }
}
