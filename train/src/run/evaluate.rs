//! The run's model on samples that it is not trained on.

use burn::module::Module;
use rekindle_recorder::{Error, Result};

use super::parts::Run;
use crate::attributes::invalid;
use crate::data::{Batch, Dataset};

impl<M: Module> Run<M> {
    /// The model as it is evaluated: `model.eval()` without gradients; and of a schedule-free optimizer with the weights of its
    /// `eval()`. The run's own stays as it is.
    ///
    /// # Errors
    /// When an optimizer does not fit the model any more.
    pub fn evaluated(&self) -> Result<M> {
        let model = self.optimizers().try_fold(self.model().clone(), |model, optimizer| optimizer.mixed(model, false));
        Ok(self.named(model)?.valid())
    }

    /// What the [evaluated](Self::evaluated) model gives for batches of samples in their order, such as a loss or an accuracy: the
    /// mean over all samples, each batch's number counted as often as it has samples.
    ///
    /// Nothing is drawn from the run's generator. A loop of PyTorch's that validates with a `DataLoader` draws a seed for its
    /// workers each time, shuffled or not: `rekindle_random::base_seed(&mut run.generator_mut())` before it does so here.
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
    /// # use rekindle_train::{Run, data::{Array, Dataset}, optim::{Optimizer, SgdOptions}};
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    /// # let mut run = Run::start(model, optimizer);
    /// # let held_back = Dataset::new(Array::new(5, &[3], vec![0.5_f32; 15])?, Array::new(5, &[], vec![1_i64; 5])?)?;
    /// use rekindle_train::loss::cross_entropy;
    ///
    /// let device = Device::flex();
    /// let loss = run.evaluate(&held_back, 2, |model, batch| {
    ///     let logits = model.forward(batch.inputs::<2>(&device)?);
    ///     Ok::<_, rekindle_recorder::Error>(cross_entropy(logits, batch.classes::<1>(&device)?)?.into_scalar::<f64>())
    /// })?;
    /// run.tell("loss", loss);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are no samples, or the batch size is 0; as [`evaluated`](Self::evaluated), and what the closure fails with.
    pub fn evaluate<E: From<Error>>(
        &self,
        samples: &Dataset,
        batch_size: usize,
        mut number: impl FnMut(&M, &Batch) -> Result<f64, E>,
    ) -> Result<f64, E> {
        if samples.is_empty() || batch_size == 0 {
            return Err(invalid("there is nothing to evaluate: no samples, or batches of none").into());
        }
        let (model, before) = (self.evaluated()?, self.generator().clone());
        let mut sum = 0.0;
        for places in (0..samples.len()).collect::<Vec<_>>().chunks(batch_size) {
            let batch = samples.batch(places)?;
            let given = number(&model, &batch);
            #[allow(clippy::cast_precision_loss)] // counts of samples
            match given {
                Ok(given) => sum += given * places.len() as f64,
                Err(error) => {
                    *self.generator() = before;
                    return Err(error);
                }
            }
        }
        *self.generator() = before;
        #[allow(clippy::cast_precision_loss)]
        Ok(sum / samples.len() as f64)
    }
}
