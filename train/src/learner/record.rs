//! Burn's records: of an optimizer, from the state dict of `torch.optim` and back; of a scheduler, which holds numbers only.

use std::collections::BTreeMap;

use burn::module::Module;
use burn_optim::OptimizerRecord;
use burn_optim::lr_scheduler::LrSchedulerRecord;
use burn_pack::{Scalar, Tensor as PackTensor};
use rekindle_recorder::{Checkpoint, Dict, Error, Result, Tensor, Value};

use crate::attributes::{invalid, number};
use crate::optim::burn_record::{RANK, read, take, written};
use crate::optim::{Optimizer, ParamGroup};

/// The state of an optimizer as a `ModuleOptimizer` of [`TorchOptimizer`](super::TorchOptimizer)s keeps it.
///
/// # Errors
/// When the model is another one, or a parameter's state has what no optimizer of burn-optim's keeps.
pub(super) fn optimizer_record<M: Module>(optimizer: &Optimizer, model: &M) -> Result<OptimizerRecord> {
    let rule = optimizer.kind().rule();
    let state_dict = optimizer.state_dict(model)?;
    let state = state_dict.as_dict().and_then(|dict| dict.get("state"));
    let state = state.as_ref().and_then(Value::as_dict).cloned().unwrap_or_else(Dict::new);
    let (mut tensors, mut scalars) = (Vec::new(), BTreeMap::new());
    for (place, parameter) in optimizer.parameters().enumerate() {
        let Some(Value::Dict(entries)) = state.get_key(&Value::from(place)) else { continue };
        for (name, value) in entries.entries().iter().filter_map(|(key, value)| Some((key.as_str()?, value))) {
            match (value.as_tensor(), number(value)) {
                (_, Some(number)) if rule.scalars.contains(&name) => {
                    for piece in &parameter.pieces {
                        scalars.insert(format!("{}.{name}", piece.id.val()), Scalar::Float(number));
                    }
                }
                (Some(moment), _) if rule.moments.contains(&name) => {
                    for (piece, data) in parameter.pieces.iter().zip(parameter.split(moment)?) {
                        let id = piece.id.val();
                        let (bytes, shape, dtype) = data.into_parts();
                        tensors.push(PackTensor::new(format!("{id}.{name}"), dtype, shape, Some(id), bytes));
                        scalars.insert(format!("{id}.{RANK}"), Scalar::from(piece.shape.len()));
                    }
                }
                _ if matches!(value, Value::None) => {}
                _ => {
                    let what = format!("state[{place}]['{name}'] in a record of burn-optim's");
                    return Err(Error::unsupported(what).advise("go on with Run, which keeps it"));
                }
            }
        }
    }
    OptimizerRecord::from_bytes(written(tensors, &scalars)?).map_err(|error| invalid(error.to_string()))
}

/// Takes over the state of a record, and these groups.
///
/// # Errors
/// When the record is of other parameters, or of an optimizer of burn-optim's own. Nothing has changed then.
pub(super) fn load_optimizer_record<M: Module>(
    optimizer: &mut Optimizer,
    model: &M,
    record: OptimizerRecord,
    groups: &[ParamGroup],
) -> Result<()> {
    let bytes = record.into_bytes().map_err(|error| invalid(format!("the optimizer's record: {error}")))?;
    let (scalars, mut found) = read(bytes)?;
    let rule = optimizer.kind().rule();
    let state = Dict::new();
    for (place, parameter) in optimizer.parameters().enumerate() {
        let entries = Dict::new();
        for name in rule.scalars {
            let first = parameter.pieces.first().map(|piece| format!("{}.{name}", piece.id.val()));
            if let Some(Scalar::Float(number)) = first.and_then(|name| scalars.get(&name)) {
                #[allow(clippy::cast_possible_truncation)] // as it was
                entries.insert(*name, Tensor::scalar(*number as f32));
            }
        }
        for name in rule.moments {
            if let Some(moment) = take(parameter, name, &mut found)? {
                entries.insert(*name, moment);
            }
        }
        if !entries.is_empty() {
            state.insert(place, entries);
        }
    }
    if let Some(name) = found.keys().min() {
        return Err(invalid(format!(
            "the learner's optimizer has '{name}', which is no state of {} or of none of its parameters; give the learner the \
             training's own optimizer (`TorchTraining::optimizer`) and model (`TorchTraining::model`)",
            optimizer.kind()
        )));
    }
    let groups = Value::list(groups.iter().map(ParamGroup::to_value));
    let state_dict = Dict::from_iter([("state", Value::from(state)), ("param_groups", groups)]);
    optimizer.load_state_dict(model, &state_dict.into())
}

/// The number of bytes, beside which they stand eight at a time.
const SIZE: &str = "bytes";

/// A value as burn-optim's record of a scheduler, which holds numbers: the bytes of `torch.save`, eight to a number.
pub(super) fn to_scalars(value: &Value) -> Result<LrSchedulerRecord> {
    let bytes = Checkpoint::from(value.clone()).to_bytes()?;
    let record = LrSchedulerRecord::new().with_scalar(SIZE, bytes.len());
    Ok(bytes.chunks(8).enumerate().fold(record, |record, (place, chunk)| {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        record.with_scalar(&format!("{place}"), u64::from_le_bytes(eight))
    }))
}

/// The value of such a record.
///
/// # Errors
/// When it is of another scheduler.
pub(super) fn of_scalars(record: &LrSchedulerRecord) -> Result<Value> {
    let read = || {
        let size = record.scalar::<usize>(SIZE)?;
        let numbers = (0..size.div_ceil(8)).map(|place| record.scalar::<u64>(&place.to_string()));
        let mut bytes = numbers.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<_>>();
        bytes.truncate(size);
        Some(bytes)
    };
    let bytes = read().ok_or_else(|| invalid("the scheduler's record is none of TorchScheduler's"))?;
    Ok(Checkpoint::from_bytes(bytes)?.root().clone())
}
