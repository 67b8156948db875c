//! A program's parameters and buffers, of any rank and type, as Burn's modules hold them.

use burn::module::Param;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::functional::{Array, Kind, dtype_name, kind_of, refused};
use crate::nn::Buffer;
use crate::nn::parts::{Change, Look};
use crate::{ModelError, Result};

/// How many dimensions a parameter or buffer may have.
const RANKS: &str = "6";

macro_rules! leaves {
    ($($rank:literal: $param:ident $float:ident $int:ident $bool:ident;)*) => {
        /// A parameter or a buffer.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // each holds a tensor that dwarfs it
        pub(super) enum Leaf {
            $(
                $param(Param<Tensor<$rank>>),
                $float(Buffer<Tensor<$rank>>),
                $int(Buffer<Tensor<$rank, Int>>),
                $bool(Buffer<Tensor<$rank, Bool>>),
            )*
        }

        impl Leaf {
            pub(super) fn shown(&self, look: &mut impl Look) {
                match self {
                    $(
                        Leaf::$param(x) => look.at(x),
                        Leaf::$float(x) => look.at(x),
                        Leaf::$int(x) => look.at(x),
                        Leaf::$bool(x) => look.at(x),
                    )*
                }
            }

            pub(super) fn changed(self, change: &mut impl Change) -> Self {
                match self {
                    $(
                        Leaf::$param(x) => Leaf::$param(change.on(x)),
                        Leaf::$float(x) => Leaf::$float(change.on(x)),
                        Leaf::$int(x) => Leaf::$int(change.on(x)),
                        Leaf::$bool(x) => Leaf::$bool(change.on(x)),
                    )*
                }
            }

            pub(super) fn is_parameter(&self) -> bool {
                matches!(self, $(Leaf::$param(_))|*)
            }

            /// A parameter or buffer of these elements; the shape is Burn's, `[1]` for a scalar.
            pub(super) fn new(data: TensorData, parameter: bool, trained: bool, device: &Device) -> Result<Self> {
                let (dtype, rank) = (data.dtype(), data.shape().num_dims());
                let options = (device, dtype);
                match (rank, kind_of(dtype), parameter) {
                    $(
                        ($rank, Kind::Float, true) => {
                            let param = Param::from_tensor(Tensor::<$rank>::from_data(data, options));
                            Ok(Leaf::$param(if trained { param } else { param.set_require_grad(false) }))
                        }
                        ($rank, Kind::Float, false) => Ok(Leaf::$float(Buffer::new(Tensor::from_data(data, options)))),
                        ($rank, Kind::Int, _) => Ok(Leaf::$int(Buffer::new(Tensor::from_data(data, options)))),
                        ($rank, Kind::Bool, _) => Ok(Leaf::$bool(Buffer::new(Tensor::from_data(data, device)))),
                    )*
                    _ => {
                        let reason = format!("a tensor of {rank} dimensions is a parameter; at most {RANKS} are supported");
                        Err(ModelError::Program { reason })
                    }
                }
            }

            /// Its value, under the shape that PyTorch has.
            pub(super) fn array(&self, scalar: bool) -> Result<Array> {
                let array = match self {
                    $(
                        Leaf::$param(param) => Array::from_float(param.val()),
                        Leaf::$float(buffer) => Array::from_float(buffer.value()),
                        Leaf::$int(buffer) => Array::from_int(buffer.value()),
                        Leaf::$bool(buffer) => Array::from_bool(buffer.value()),
                    )*
                };
                if scalar { array.reshaped(&[]) } else { Ok(array) }
            }

            /// Another value for a buffer.
            pub(super) fn set(&self, array: Array) -> Result<()> {
                let name = dtype_name(array.dtype());
                match (self, array.kind()) {
                    $(
                        (Leaf::$float(buffer), Kind::Float) => buffer.set(array.detach().into_float()?),
                        (Leaf::$int(buffer), Kind::Int) => buffer.set(array.into_int()?),
                        (Leaf::$bool(buffer), Kind::Bool) => buffer.set(array.into_bool()?),
                    )*
                    _ => return Err(refused("a program", format!("it writes {name} to a parameter or a buffer of another type"))),
                }
                Ok(())
            }
        }
    };
}

leaves! {
    1: Param1 Float1 Int1 Bool1;
    2: Param2 Float2 Int2 Bool2;
    3: Param3 Float3 Int3 Bool3;
    4: Param4 Float4 Int4 Bool4;
    5: Param5 Float5 Int5 Bool5;
    6: Param6 Float6 Int6 Bool6;
}
