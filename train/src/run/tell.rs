//! What a program tells its run and asks it for: values of its own, means, metrics.

use burn::module::Module;
use rekindle_recorder::serde::{from_value, to_value};
use rekindle_recorder::{Result, ResultExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parts::Run;

impl<M: Module> Run<M> {
    /// Keeps a value of the program's own with the run, anything that serde can take apart: it is in the run's
    /// [whole checkpoints](Self::whole_checkpoint), and there again where the run goes on.
    ///
    /// # Errors
    /// When Python has nothing like it ([how](rekindle_recorder::serde)).
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::Device};
    /// # use rekindle_train::{Run, optim::{Optimizer, SgdOptions}};
    /// # let device = Device::flex().autodiff();
    /// # let start = || -> Result<_, rekindle_recorder::Error> {
    /// #     let model = LinearConfig::new(3, 2).init(&device);
    /// #     let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    /// #     Ok(Run::start(model, optimizer))
    /// # };
    /// let mut run = start()?;
    /// run.set_value("best", &(0.93, "step 400"))?;
    /// let saved = run.whole_checkpoint()?;
    ///
    /// let mut again = start()?;
    /// assert!(again.value::<(f64, String)>("best")?.is_none());
    /// again.restore(&saved)?;
    /// assert_eq!(again.value::<(f64, String)>("best")?.unwrap().1, "step 400");
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn set_value(&mut self, name: impl Into<String>, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let name = name.into();
        let value = to_value(value).at(&name)?;
        self.notes.values.insert(name, value);
        Ok(())
    }

    /// The value of the program's own that was kept under this name.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.notes.values.get(name).map(|value| from_value(value).at(name)).transpose()
    }

    /// Takes a number into the mean of this name, such as a loss of the epoch that is under way. A mean that is in progress is part
    /// of the run's whole checkpoints.
    pub fn record(&mut self, name: impl Into<String>, number: f64) {
        let (sum, count) = self.notes.means.entry(name.into()).or_default();
        (*sum, *count) = (*sum + number, count.saturating_add(1));
    }

    /// The mean of what was [recorded](Self::record) under this name since it was [taken](Self::take_mean) last.
    #[must_use]
    pub fn mean(&self, name: &str) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // a count
        self.notes.means.get(name).map(|(sum, count)| sum / *count as f64)
    }

    /// The [mean](Self::mean), which begins anew.
    pub fn take_mean(&mut self, name: &str) -> Option<f64> {
        let mean = self.mean(name);
        self.notes.means.shift_remove(name);
        mean
    }

    /// Tells the run a metric as it is after the last step, such as an accuracy: a checkpoint of this step has it, and where
    /// [`CheckpointOptions::best`](crate::checkpoints::CheckpointOptions::best) names it, it tells which is the best.
    pub fn tell(&mut self, metric: impl Into<String>, value: f64) {
        self.notes.told.insert(metric.into(), value);
    }

    /// The metric that the run was [told](Self::tell) since its last step.
    #[must_use]
    pub fn told(&self, metric: &str) -> Option<f64> {
        self.notes.told.get(metric).copied()
    }
}
