//! What a device has and what it lacks, where Burn does not see to it: element types, functions of them, and how truth values are stored.

use std::sync::{Mutex, PoisonError};

use burn::backend::ops::FloatTensorOps;
use burn::backend::{BoolDType, Dispatch, DispatchDevice, DispatchTensor, FloatDType, Scalar, TensorMetadata};
use burn::tensor::{BoolStore, DType, Device, Shape, try_read_sync};

use super::array::{Array, Kind, dtype_name, kind_of, refused};
use crate::Result;

/// Whether it is on the CPU, where 16-bit numbers are multiplied in float32. Other devices have units of their own for them, which add up
/// in float32, too.
pub(crate) fn is_on_cpu(x: &Array) -> bool {
    matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// The device without its tape: what is made on it is a constant.
pub(super) fn plain(device: &Device) -> DispatchDevice {
    device.clone().inner().as_dispatch().clone()
}

/// Says that a device has no such floating-point numbers: some would give zeros for them.
pub(super) fn check_dtype(dtype: DType, device: &Device) -> Result<()> {
    if kind_of(dtype) != Kind::Float || dtype == DType::F32 || device.supports_dtype(dtype) {
        return Ok(());
    }
    Err(refused(format!("a tensor of {}", dtype_name(dtype)), "the device cannot compute with such numbers"))
}

/// Says that the device of this has no functions of numbers of the type: exponentials, powers, sines.
pub(super) fn check_functions(what: &str, of: &Array, dtype: DType) -> Result<()> {
    if dtype == DType::F64 && !is_on_cpu(of) && !has_double_functions(&of.device()) {
        return Err(refused(what, "this device has no such functions of float64 numbers"));
    }
    Ok(())
}

/// Whether a device that has 64-bit numbers has functions of them: shaders for Vulkan have none, and give 0. It is asked once.
fn has_double_functions(device: &Device) -> bool {
    static ASKED: Mutex<Vec<(DispatchDevice, bool)>> = Mutex::new(Vec::new());
    let device = plain(device);
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, has)) = asked.iter().find(|(known, _)| *known == device) {
        return *has;
    }
    let two = || Dispatch::float_full(Shape::from([1]), Scalar::Float(2.0), &device, FloatDType::F64);
    let near = |found: DispatchTensor, expected: f64| {
        let read = try_read_sync(Dispatch::float_into_data(found)).and_then(std::result::Result::ok);
        read.is_some_and(|data| data.iter::<f64>().all(|found| (found - expected).abs() < 1e-12))
    };
    let root = Dispatch::float_powf_scalar(two(), Scalar::Float(0.5));
    let has = near(root, 2_f64.sqrt()) && near(Dispatch::float_exp(two()), 2_f64.exp());
    asked.push((device, has));
    has
}

/// How truth values are stored on a device: GPUs have none, and take bytes or words.
pub(super) fn stored(device: &DispatchDevice) -> BoolDType {
    if matches!(device, DispatchDevice::Flex(_)) {
        return BoolStore::Native;
    }
    Device::new(device.clone()).settings().bool_dtype
}

/// The same on the device where this is.
pub(super) fn stored_as(tensor: &DispatchTensor) -> BoolDType {
    stored(&plain(&Device::new(tensor.device())))
}
