//! `torch.optim.Muon`: momentum whose matrix is made orthogonal, nearly, by Newton and Schulz's iteration, for the matrices of
//! hidden layers.

#[cfg(target_arch = "x86_64")]
mod bf16;

use burn::tensor::{DType as BurnDType, Device, FloatDType, Tensor, TensorData};
use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Error};

use super::array::{Array, Real, pairs};
use super::prelude::*;
use crate::attributes::wrong_type;
use crate::parameters::unreadable;

options! {
    /// The options of `torch.optim.Muon`, with its defaults. Its parameters are matrices; biases, embeddings and a network's
    /// last layer belong to another optimizer.
    ///
    /// The iteration is computed in `bfloat16`, as PyTorch does it: on devices that have that type.
    MuonOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 0.1.
        weight_decay: f64 = 0.1;
        /// How much of the average of gradients stays at each step. Default 0.95.
        momentum: f64 = 0.95;
        /// Nesterov's momentum. Default true.
        nesterov: bool = true;
        /// `a`, `b` and `c` of the iteration `X = a X + (b X Xᵀ + c X Xᵀ X Xᵀ) X`. Default (3.4445, -4.775, 2.0315).
        ns_coefficients: (f64, f64, f64) = (3.4445, -4.775, 2.0315);
        /// The least that a matrix is divided by to begin with. Default 1e-7.
        eps: f64 = 1e-7;
        /// How often the iteration runs: less than 100. Default 5.
        ns_steps: u32 = 5;
        /// How the learning rate depends on a matrix's shape. Default `None`, which is [`AdjustLr::Original`].
        adjust_lr_fn: Option<AdjustLr> = None => |adjust, _| adjust.map(AdjustLr::name).into();
    }
}

/// How Muon's learning rate depends on a matrix's shape, `[rows, columns]` as PyTorch has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdjustLr {
    /// Times the root of `rows / columns`, but at least 1.
    Original,
    /// Times a fifth of the root of the larger one: steps are about as large as AdamW's.
    MatchRmsAdamW,
    /// Times the root of `rows / columns`.
    SpectralUnclamped,
}

impl AdjustLr {
    const ALL: [AdjustLr; 3] = [AdjustLr::Original, AdjustLr::MatchRmsAdamW, AdjustLr::SpectralUnclamped];

    /// PyTorch's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AdjustLr::Original => "original",
            AdjustLr::MatchRmsAdamW => "match_rms_adamw",
            AdjustLr::SpectralUnclamped => "spectral_unclamped",
        }
    }

    /// What a group says.
    fn of(group: &Attributes) -> Result<Option<Self>> {
        let value = group.get("adjust_lr_fn").unwrap_or(&Value::None);
        if matches!(value, Value::None) {
            return Ok(None);
        }
        let name = value.as_str().ok_or_else(|| wrong_type("adjust_lr_fn", "a str or None", value))?;
        match AdjustLr::ALL.into_iter().find(|known| known.name() == name) {
            Some(known) => Ok(Some(known)),
            None => {
                let names = AdjustLr::ALL.map(AdjustLr::name).join(", ");
                Err(invalid(format!("there is no adjust_lr_fn '{name}'; there are {names}")))
            }
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn ratio(self, rows: usize, columns: usize) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self {
            AdjustLr::Original => 1.0_f64.max(rows / columns).sqrt(),
            AdjustLr::MatchRmsAdamW => 0.2 * rows.max(columns).sqrt(),
            AdjustLr::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}

const MOMENTUM_BUFFER: &str = "momentum_buffer";

pub(super) const RULE: Rule = Rule {
    gained: &[],
    ranges: &[Range::at_least_0(&["lr", "momentum", "weight_decay"])],
    check: |group| {
        if group.int("ns_steps")? >= 100 {
            return Err(invalid(format!("ns_steps must be less than 100, and is {}", group.int("ns_steps")?)));
        }
        coefficients(group)?;
        AdjustLr::of(group).map(drop)
    },
    scalars: &[],
    moments: &[MOMENTUM_BUFFER],
    needs: Some(|_| Ok(Vec::new())),
    view: View::Whole,
    admit,
    runs_on,
    ..Rule::new(prepare)
};

fn admit(parameter: &NamedParameter) -> Result<()> {
    if parameter.shape.len() == 2 {
        return Ok(());
    }
    Err(invalid(format!(
        "Muon trains matrices, and '{}' has the shape {:?}; give it to another optimizer, and leave it out of this one",
        parameter.name, parameter.shape
    )))
}

fn runs_on(device: &Device) -> Result<()> {
    if device.supports_dtype(BurnDType::BF16) {
        return Ok(());
    }
    let what = "Muon on a device that has no bfloat16".to_owned();
    let advice = "train on the CPU or on a device that has it".to_owned();
    Err(Error::unsupported(what).advise(advice))
}

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let &[rows, columns] = state.shape() else {
        return Err(invalid("a parameter of Muon is no matrix"));
    };
    state.whole(MOMENTUM_BUFFER, vec![rows, columns]);
    let lr = Scalar::of(group, "lr")?;
    Ok(Box::new(MuonUpdate {
        momentum: group.float("momentum")?,
        nesterov: group.flag("nesterov")?,
        keep: (1.0 - lr * group.float("weight_decay")?).value(),
        lr: (lr * AdjustLr::of(group)?.unwrap_or(AdjustLr::Original).ratio(rows, columns)).value(),
        orthogonal: Orthogonal {
            rows,
            columns,
            coefficients: coefficients(group)?,
            steps: group.int("ns_steps")?,
            eps: group.float("eps")?,
        },
    }))
}

fn coefficients(group: &Attributes) -> Result<[f64; 3]> {
    let numbers = group.floats("ns_coefficients")?;
    let count = numbers.len();
    numbers.try_into().map_err(|_| invalid(format!("ns_coefficients must be 3 numbers, and are {count}")))
}

/// `_single_tensor_muon` of `torch/optim/_muon.py`, of one parameter.
#[derive(Debug)]
struct MuonUpdate {
    momentum: f64,
    nesterov: bool,
    /// What is left of a weight when it has decayed.
    keep: f64,
    /// Adjusted to the shape.
    lr: f64,
    orthogonal: Orthogonal,
}

impl MuonUpdate {
    /// `stepped` is `torch.add(param, update, alpha=alpha)` of an update in `bfloat16`.
    fn step<X: Array>(
        &self,
        param: X,
        grad: X,
        buffer: X,
        orthogonal: impl FnOnce(X) -> Result<X>,
        stepped: impl FnOnce(X, &X, f64) -> X,
    ) -> Result<(X, X)> {
        let buffer = buffer.lerp(&grad, 1.0 - self.momentum);
        let update = if self.nesterov { grad.lerp(&buffer, self.momentum) } else { buffer.clone() };
        let update = orthogonal(update)?;
        Ok((stepped(param.scale(self.keep), &update, -self.lr), buffer))
    }
}

/// `torch.add(param, update, alpha=alpha)` of an update in `bfloat16`: beside `float16` both are `float32`.
fn promoted<T: Real>(mut param: Vec<T>, update: &Vec<T>, alpha: f64) -> Vec<T> {
    if T::DTYPE != DType::Float16 {
        return Array::add(param, update, alpha);
    }
    let single = |x: T| f32::of(x.double());
    pairs(&mut param, update, |x, y| T::of(single(y).mul_add(f32::of(alpha), single(x)).into()));
    param
}

fn lacking() -> rekindle_recorder::Error {
    invalid("a Muon state lacks its momentum_buffer")
}

/// Burn's CPU backend, where parameters in host memory come from.
#[cfg(feature = "flex")]
fn host() -> Result<Device> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn host() -> Result<Device> {
    let what = "a parameter in host memory without the feature 'flex'".to_owned();
    Err(Error::unsupported(what))
}

impl Formula for MuonUpdate {
    fn state(&self) -> &[&'static str] {
        &[MOMENTUM_BUFFER]
    }

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()> {
        let Ok([buffer]) = <[&mut [T]; 1]>::try_from(state) else { return Err(lacking()) };
        let orthogonal = |update: Vec<T>| {
            let len = update.len();
            let data = TensorData::new(update, [len]).convert::<f32>();
            let found = self.orthogonal.of_host(data)?;
            found.convert::<T>().try_into_vec().map_err(unreadable)
        };
        let (updated, after) = self.step(param.to_vec(), grad.to_vec(), buffer.to_vec(), orthogonal, promoted)?;
        param.copy_from_slice(&updated);
        buffer.copy_from_slice(&after);
        Ok(())
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)> {
        let Ok([buffer]) = <[Tensor<1>; 1]>::try_from(state) else { return Err(lacking()) };
        let orthogonal = |update: Tensor<1>| {
            let dtype = FloatDType::from(update.dtype());
            Ok(self.orthogonal.of(update.cast(FloatDType::F32)).cast(dtype))
        };
        let stepped = |param: Tensor<1>, update: &Tensor<1>, alpha: f64| match param.dtype() {
            BurnDType::F16 => {
                let wide = |tensor: Tensor<1>| tensor.cast(FloatDType::F32);
                (wide(param) + wide(update.clone()) * alpha).cast(FloatDType::F16)
            }
            _ => Array::add(param, update, alpha),
        };
        let (param, buffer) = self.step(param, grad, buffer, orthogonal, stepped)?;
        Ok((param, vec![buffer]))
    }
}

/// The nearly orthogonal matrix of another: `_zeropower_via_newtonschulz`.
#[derive(Clone, Copy, Debug)]
struct Orthogonal {
    rows: usize,
    columns: usize,
    coefficients: [f64; 3],
    steps: i64,
    eps: f64,
}

impl Orthogonal {
    /// Of elements in host memory, by the processor's own instructions where it has them.
    fn of_host(self, matrix: TensorData) -> Result<TensorData> {
        #[cfg(target_arch = "x86_64")]
        if bf16::is_there() && self.rows > 0 && self.columns > 0 {
            let shape = matrix.shape().clone();
            let mut elements = matrix.try_into_vec::<f32>().map_err(unreadable)?;
            self.in_place(&mut elements);
            return Ok(TensorData::new(elements, shape));
        }
        let matrix = Tensor::from_data(matrix, (&host()?, BurnDType::F32));
        self.of(matrix).try_into_data().map_err(unreadable)
    }

    /// All numbers are of `bfloat16` and kept as `f32`: a product or a sum of products is computed in `f32` and rounded once, as
    /// PyTorch's kernels do. (Burn's own matrix product of `bfloat16` rounds once more before `beta * input` is added.)
    fn of(self, matrix: Tensor<1>) -> Tensor<1> {
        if self.rows == 0 || self.columns == 0 {
            return matrix;
        }
        let [a, b, c] = self.coefficients;
        let tall = self.rows > self.columns;
        let x: Tensor<2> = rounded(matrix.reshape([self.rows, self.columns]));
        let x = if tall { x.transpose() } else { x };
        let norm = rounded(rounded(x.clone().square().sum().sqrt()).clamp_min(self.eps));
        let mut x = rounded(x / norm.reshape([1, 1]));
        for _ in 0..self.steps {
            let gram = rounded(x.clone().matmul(x.clone().transpose()));
            let update = sum(gram.clone(), b, gram.clone().matmul(gram) * c);
            x = sum(x.clone(), a, update.matmul(x));
        }
        let x = if tall { x.transpose() } else { x };
        x.reshape([self.rows * self.columns])
    }
}

/// `factor * tensor + other`, rounded once and to `bfloat16`, as PyTorch's kernels do; twice where the device has no `float64`.
#[allow(clippy::cast_possible_truncation)] // as PyTorch's scalars of `float32`
fn sum(tensor: Tensor<2>, factor: f64, other: Tensor<2>) -> Tensor<2> {
    let factor = f64::from(factor as f32);
    if !tensor.device().supports_dtype(BurnDType::F64) {
        return rounded(tensor * factor + other);
    }
    // Of so few digits a product has no more than a double.
    let wide = |tensor: Tensor<2>| tensor.cast(FloatDType::F64);
    rounded((wide(tensor) * factor + wide(other)).cast(FloatDType::F32))
}

/// Rounded to `bfloat16`.
fn rounded<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(FloatDType::BF16).cast(FloatDType::F32)
}
