//! Burn's own `OptimizerRecord` from an optimizer's state, and back: a run in Burn's format becomes a PyTorch checkpoint, and
//! the other way round. Here, too, layer rows move the moments of layers that lie otherwise in PyTorch.

use std::collections::{BTreeMap, HashMap};

use burn::module::Module;
use burn::tensor::{Bytes, TensorData};
use burn_pack::{Reader, Scalar, Tensor as PackTensor, Writer};
use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Dict, Error, Result, Tensor as TorchTensor, Value};

use super::optimizer::Optimizer;
use super::registry::OptimizerKind;
use crate::attributes::invalid;

/// What an optimizer of `torch.optim` calls its state, and what Burn calls it in a record.
struct Names {
    kinds: &'static [OptimizerKind],
    counter: Counter,
    /// Tensors of the parameter's shape.
    moments: &'static [(&'static str, &'static str)],
    /// A tensor that Burn keeps and computes anew in each step, and how.
    derived: Option<(&'static str, fn(&Dict) -> Result<TorchTensor>)>,
}

/// The number of steps.
enum Counter {
    /// Neither has it.
    Neither,
    /// Under this name in PyTorch, under this one in Burn.
    Both(&'static str, &'static str),
    /// PyTorch counts, but does not compute with it.
    Torch(&'static str),
}

const NAMES: &[Names] = &[
    Names {
        kinds: &[OptimizerKind::Sgd],
        counter: Counter::Neither,
        moments: &[("momentum_buffer", "momentum.velocity")],
        derived: None,
    },
    Names {
        kinds: &[OptimizerKind::Adam, OptimizerKind::AdamW],
        counter: Counter::Both("step", "momentum.time"),
        moments: &[
            ("exp_avg", "momentum.moment_1"),
            ("exp_avg_sq", "momentum.moment_2"),
            ("max_exp_avg_sq", "momentum.max_moment_2"),
        ],
        derived: None,
    },
    Names {
        kinds: &[OptimizerKind::Adagrad],
        counter: Counter::Both("step", "lr_decay.time"),
        moments: &[("sum", "lr_decay.sum")],
        derived: None,
    },
    Names {
        kinds: &[OptimizerKind::RMSprop],
        counter: Counter::Torch("step"),
        moments: &[
            ("square_avg", "square_avg.square_avg"),
            ("momentum_buffer", "momentum.buf"),
            ("grad_avg", "centered.grad_avg"),
        ],
        derived: Some(("centered.avg", variance)),
    },
];

/// The rank of each parameter, which Burn's records hold.
pub(crate) const RANK: &str = "__rank";

impl Optimizer {
    /// The state as Burn's `OptimizerRecord` holds it: `OptimizerRecord::from_bytes(bytes)` reads it, for `Sgd`, `Adam`, `AdamW`,
    /// `AdaGrad` and `RmsProp` of burn-optim. Parameters go by their ids, so save the model's record beside it.
    ///
    /// Burn computes with the same state by another formula: betas, `eps` and weight decay are rounded to `f32` (PyTorch keeps
    /// them `f64`), and its defaults differ (`eps` 1e-5, AdamW's weight decay 1e-4, SGD's dampening 0.1, `RmsProp`'s momentum
    /// 0.9). Hyper-parameters are no part of a record: configure Burn's optimizer with this one's.
    ///
    /// # Errors
    /// When Burn has no such optimizer, the model is another one, or state cannot be read from its device.
    pub fn to_burn_record<M: Module>(&self, model: &M) -> Result<Bytes> {
        self.check_model(model)?;
        let (names, state) = (self.names()?, self.state()?);
        let (mut tensors, mut scalars) = (Vec::new(), BTreeMap::new());
        for (place, parameter) in self.parameters().enumerate() {
            let Some(Value::Dict(entries)) = state.get_key(&Value::from(place)) else { continue };
            let mut moments = Vec::new();
            for (torch, burn) in names.moments {
                if let Some(Value::Tensor(moment)) = entries.get(torch) {
                    moments.push((burn, moment));
                }
            }
            if let (Some((burn, derive)), false) = (&names.derived, moments.is_empty()) {
                moments.push((burn, derive(&entries)?));
            }
            for (burn, moment) in moments {
                for (piece, data) in parameter.pieces.iter().zip(parameter.split(&moment)?) {
                    let id = piece.id.val();
                    let (bytes, shape, dtype) = data.into_parts();
                    tensors.push(PackTensor::new(format!("{id}.{burn}"), dtype, shape, Some(id), bytes));
                    scalars.insert(format!("{id}.{RANK}"), Scalar::from(piece.shape.len()));
                    if let Counter::Both(torch, burn) = names.counter {
                        scalars.insert(format!("{id}.{burn}"), Scalar::from(steps(&entries, torch)?));
                    }
                }
            }
        }
        written(tensors, &scalars)
    }

    /// Takes over the state from the bytes of Burn's `OptimizerRecord`; hyper-parameters stay as they are. Load the model's
    /// record into the model before, so that its ids are the record's. Parameters that the record does not know start anew. Burn
    /// does not count the steps of `RmsProp`, and PyTorch does not compute with their number: it starts from 0.
    ///
    /// # Errors
    /// When Burn has no such optimizer, the bytes are no such record, or state is of a parameter that is not this
    /// optimizer's or of another shape. Nothing has changed then.
    pub fn load_burn_record<M: Module>(&mut self, model: &M, bytes: Bytes) -> Result<()> {
        self.check_model(model)?;
        let names = self.names()?;
        let (scalars, mut found) = read(bytes)?;
        let state = Dict::new();
        for (place, parameter) in self.parameters().enumerate() {
            let entries = Dict::new();
            if let Counter::Both(torch, burn) = names.counter {
                let time =
                    parameter.pieces.first().and_then(|piece| scalars.get(&format!("{}.{burn}", piece.id.val())));
                if let Some(&time) = time {
                    entries.insert(torch, step(time)?);
                }
            }
            for (torch, burn) in names.moments {
                if let Some(moment) = take(parameter, burn, &mut found)? {
                    if let (Counter::Torch(counter), true) = (&names.counter, entries.is_empty()) {
                        entries.insert(*counter, TorchTensor::scalar(0.0_f32));
                    }
                    entries.insert(*torch, moment);
                }
            }
            if let Some((burn, _)) = names.derived {
                take(parameter, burn, &mut found)?;
            }
            if !entries.is_empty() {
                state.insert(place, entries);
            }
        }
        if let Some(name) = found.keys().min() {
            return Err(invalid(format!(
                "the record has '{name}', which is no state of {} or of a parameter that the optimizer does not have; load the \
                 model's own record first, so that its parameters have the ids of the record",
                self.kind()
            )));
        }
        self.load_state_dict(model, &self.with_groups(state))
    }

    fn names(&self) -> Result<&'static Names> {
        NAMES.iter().find(|names| names.kinds.contains(&self.kind())).ok_or_else(|| {
            let what = format!("a record of Burn's for {}", self.kind());
            let advice = "Burn has SGD, Adam, AdamW, AdaGrad and RMSProp with the same state";
            Error::unsupported(what).advise(advice)
        })
    }
}

/// What `RmsProp` divides by the root of: the square average, less the square of the average where there is one.
fn variance(entries: &Dict) -> Result<TorchTensor> {
    let Some(Value::Tensor(square_avg)) = entries.get("square_avg") else {
        return Err(Error::missing_key("square_avg"));
    };
    let Some(Value::Tensor(grad_avg)) = entries.get("grad_avg") else { return Ok(square_avg) };
    let averages = square_avg.to_f64_vec()?.into_iter().zip(grad_avg.to_f64_vec()?);
    let variance = averages.map(|(square_avg, grad_avg)| square_avg - grad_avg * grad_avg);
    #[allow(clippy::cast_possible_truncation)]
    match square_avg.dtype() {
        DType::Float64 => TorchTensor::from_vec(square_avg.shape(), variance.collect::<Vec<f64>>()),
        _ => TorchTensor::from_vec(square_avg.shape(), variance.map(|x| x as f32).collect::<Vec<f32>>()),
    }
}

/// The bytes of an `OptimizerRecord` of these.
pub(crate) fn written(tensors: Vec<PackTensor>, scalars: &BTreeMap<String, Scalar>) -> Result<Bytes> {
    let writer = scalars.iter().fold(Writer::new(tensors), |writer, (key, &value)| writer.with_scalar(key, value));
    writer.into_bytes().map_err(|error| invalid(format!("the state cannot be written as a record of Burn's: {error}")))
}

/// What the bytes of an `OptimizerRecord` hold.
pub(crate) fn read(bytes: Bytes) -> Result<(BTreeMap<String, Scalar>, HashMap<String, TensorData>)> {
    let unreadable = |error: burn_pack::Error| invalid(format!("this is no optimizer record of Burn's: {error}"));
    let reader = Reader::from_bytes(bytes).map_err(unreadable)?;
    let scalars = reader.scalars().clone();
    let mut found = HashMap::new();
    for tensor in reader.into_tensors().map_err(unreadable)? {
        let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(unreadable)?;
        let data = TensorData::try_from_bytes(bytes, shape, dtype);
        let data = data.map_err(|error| invalid(format!("the record's '{name}' is not whole: {error}")))?;
        found.insert(name, data);
    }
    Ok((scalars, found))
}

/// One moment of a parameter, out of the record's pieces.
pub(crate) fn take(
    parameter: &NamedParameter,
    leaf: &str,
    found: &mut HashMap<String, TensorData>,
) -> Result<Option<TorchTensor>> {
    let pieces: Vec<Option<TensorData>> =
        parameter.pieces.iter().map(|piece| found.remove(&format!("{}.{leaf}", piece.id.val()))).collect();
    if pieces.iter().all(Option::is_none) {
        return Ok(None);
    }
    let Some(pieces) = pieces.into_iter().collect::<Option<Vec<_>>>() else {
        return Err(invalid(format!("the record has '{leaf}' for a part of '{}' only", parameter.name)));
    };
    parameter.join(&pieces).map(Some)
}

/// The number of steps as Burn counts them.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn steps(entries: &Dict, name: &str) -> Result<usize> {
    let number = match entries.get(name) {
        Some(Value::Tensor(step)) => step.to_f64_vec()?.first().copied(),
        Some(other) => other.as_f64(),
        None => None,
    };
    match number {
        Some(number) if number >= 0.0 && number.fract() == 0.0 && number < 9.0e15 => Ok(number as usize),
        _ => Err(invalid(format!("'{name}' is no number of steps"))),
    }
}

/// The number of steps as PyTorch counts them.
#[allow(clippy::cast_precision_loss)]
fn step(time: Scalar) -> Result<TorchTensor> {
    let time = u64::try_from(time).map_err(|_| invalid("the record's number of steps is no whole number"))?;
    Ok(TorchTensor::scalar(time as f32))
}
