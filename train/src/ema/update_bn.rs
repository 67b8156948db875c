//! `torch.optim.swa_utils.update_bn`: the running statistics that a model's batch norms have over given batches.

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _};
use rekindle_recorder::{LoadOptions, Result, StateDict, Tensor};

use crate::attributes::invalid;

const MEAN: &str = "running_mean";
const VAR: &str = "running_var";
const COUNT: &str = "num_batches_tracked";

/// What the first pass begins with to find out a batch norm's momentum: so much more than any mean that this is all that is
/// left of it.
const PROBE: f32 = 1_099_511_627_776.0;

/// `torch.optim.swa_utils.update_bn(loader, model)`: gives the model the running statistics of its batch norms over these
/// batches, each batch weighing the same. `forward` is called with the model and a batch, twice for the first; what it
/// computes is dropped. The model must train there: be on an autodiff device, as the batch is.
///
/// Burn's modules do not let their momentum be changed from outside, as PyTorch does for a while; a batch's statistics are
/// what is left of a running mean and variance of 0, over the momentum.
///
/// # Errors
/// When a batch norm does not train, or the statistics cannot be read.
pub fn update_bn<M: Module, B>(
    model: M,
    batches: impl IntoIterator<Item = B>,
    forward: impl FnMut(&M, &B),
) -> Result<M> {
    update_bn_with_rows(model, &LayerRows::default(), batches, forward)
}

/// [`update_bn`] for a model with layers of one's own, which lie as these rows say.
///
/// # Errors
/// As [`update_bn`].
pub fn update_bn_with_rows<M: Module, B>(
    mut model: M,
    rows: &LayerRows,
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(&M, &B),
) -> Result<M> {
    let state = model.state_dict_with(rows)?;
    let norms = state.keys().filter_map(|name| name.strip_suffix(MEAN));
    let norms: Vec<String> = norms.filter(|path| state.contains(&format!("{path}{VAR}"))).map(str::to_owned).collect();
    if norms.is_empty() {
        return Ok(model);
    }
    // As `reset_running_stats` leaves them.
    let average = |path| {
        let channels = state.get(&format!("{path}{MEAN}")).map_or(0, Tensor::numel);
        Average { path, momentum: 1.0, mean: vec![0.0; channels], var: vec![1.0; channels] }
    };
    let mut averages: Vec<Average> = norms.into_iter().map(average).collect();
    let mut count = 0;
    for batch in batches {
        if count == 0 {
            set(&mut model, rows, &state, &averages, PROBE)?;
            forward(&model, &batch);
            let probed = model.state_dict_with(rows)?;
            for average in &mut averages {
                average.momentum = momentum(&average.read(&probed, MEAN)?, &average.path)?;
            }
        }
        set(&mut model, rows, &state, &averages, 0.0)?;
        forward(&model, &batch);
        count += 1;
        let after = model.state_dict_with(rows)?;
        for average in &mut averages {
            average.take(&after, count)?;
        }
    }
    let mut last = StateDict::new();
    for average in averages {
        average.put(&mut last, &state, &average.mean, &average.var, count)?;
    }
    model.load_state_dict_with_rows(&last, &LoadOptions::lenient(), rows)?;
    Ok(model)
}

/// The statistics of a batch norm so far.
struct Average {
    /// Where it is, with a dot.
    path: String,
    momentum: f32,
    mean: Vec<f32>,
    var: Vec<f32>,
}

impl Average {
    fn read(&self, state: &StateDict, buffer: &str) -> Result<Vec<f32>> {
        let name = format!("{}{buffer}", self.path);
        state.get(&name).ok_or_else(|| invalid(format!("the model has lost '{name}'")))?.to_vec()
    }

    /// Takes in what a batch has left, as PyTorch does with `momentum=None`.
    #[allow(clippy::cast_precision_loss)]
    fn take(&mut self, state: &StateDict, count: i64) -> Result<()> {
        let share = 1.0 / count as f32;
        for (buffer, average) in [(MEAN, self.read(state, MEAN)?), (VAR, self.read(state, VAR)?)] {
            let to = if buffer == MEAN { &mut self.mean } else { &mut self.var };
            for (to, left) in to.iter_mut().zip(average) {
                *to = share * (left / self.momentum) + (1.0 - share) * *to;
            }
        }
        Ok(())
    }

    fn put(&self, into: &mut StateDict, like: &StateDict, mean: &[f32], var: &[f32], count: i64) -> Result<()> {
        into.insert(format!("{}{MEAN}", self.path), Tensor::from_vec(&[mean.len()], mean.to_vec())?);
        into.insert(format!("{}{VAR}", self.path), Tensor::from_vec(&[var.len()], var.to_vec())?);
        let name = format!("{}{COUNT}", self.path);
        if like.contains(&name) {
            into.insert(name, Tensor::scalar(count));
        }
        Ok(())
    }
}

/// Begins a pass with these running means.
fn set<M: Module>(model: &mut M, rows: &LayerRows, like: &StateDict, averages: &[Average], mean: f32) -> Result<()> {
    let mut begin = StateDict::new();
    for average in averages {
        let channels = average.mean.len();
        average.put(&mut begin, like, &vec![mean; channels], &vec![0.0; channels], 0)?;
    }
    model.load_state_dict_with_rows(&begin, &LoadOptions::lenient(), rows).map(drop)
}

/// The momentum of a batch norm that has this left of [`PROBE`].
#[allow(clippy::cast_possible_truncation)]
fn momentum(left: &[f32], path: &str) -> Result<f32> {
    let kept = left.first().map_or(1.0, |first| f64::from(*first) / f64::from(PROBE));
    let found = 1.0 - kept;
    if !(found > 1e-7 && found <= 1.0) {
        let path = path.trim_end_matches('.');
        return Err(invalid(format!(
            "the batch norm '{path}' does not take its statistics from batches; put the model and the batches on an autodiff \
             device, and do not freeze it"
        )));
    }
    // It is known to one part in ten million, and was given with few digits.
    let given = (found * 1e6).round() / 1e6;
    Ok(if (given - found).abs() < 1e-7 { given } else { found } as f32)
}
