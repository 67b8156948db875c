//! What a network is trained to do: its loss on a batch, and its accuracy on samples held back.

use burn::module::Module as _;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use rekindle::models::functional::Array;
use rekindle::models::{Inputs, Network, Outputs};
use rekindle::recorder::Error;
use rekindle::train::data::{Batch, Dataset, Elements};
use rekindle::train::loss::{bce_with_logits, cross_entropy, mse, nll};

use super::answer::{Anything, usage};

/// The losses of `--loss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum Loss {
    /// Logits against classes
    #[default]
    CrossEntropy,
    /// Numbers against numbers
    Mse,
    /// Logits against numbers from 0 to 1
    BceWithLogits,
    /// Log-probabilities against classes
    Nll,
    /// What a program of torch.export computes itself: its first output, of inputs and targets
    Graph,
}

/// A loss, and the device to compute it on.
pub(super) struct Task {
    /// Without autodiff.
    device: Device,
    loss: Loss,
    /// What networks compute in.
    dtype: FloatDType,
}

impl Task {
    pub(super) fn new(device: Device, loss: Loss, dtype: FloatDType) -> Self {
        Task { device, loss, dtype }
    }

    /// The loss of a batch, ready for its backward pass.
    pub(super) fn loss(&self, network: &Network, batch: &Batch) -> Result<Tensor<1>, Error> {
        if self.loss == Loss::Graph {
            return graph_loss(network, batch);
        }
        let device = self.device.clone().autodiff();
        self.of(self.forward(network, batch, &device)?, batch, &device)
    }

    fn of(&self, outputs: Outputs, batch: &Batch, device: &Device) -> Result<Tensor<1>, Error> {
        match (self.loss, outputs) {
            (Loss::CrossEntropy, Outputs::D2(logits)) => cross_entropy(logits, batch.classes::<1>(device)?),
            (Loss::Nll, Outputs::D2(log_probabilities)) => nll(log_probabilities, batch.classes::<1>(device)?),
            (Loss::CrossEntropy, Outputs::D4(logits)) => cross_entropy(logits, batch.classes::<3>(device)?),
            (Loss::Nll, Outputs::D4(log_probabilities)) => nll(log_probabilities, batch.classes::<3>(device)?),
            (Loss::Mse, Outputs::D2(outputs)) => mse(outputs, batch.values_in::<2>(device, self.dtype)?),
            (Loss::Mse, Outputs::D4(outputs)) => mse(outputs, batch.values_in::<4>(device, self.dtype)?),
            (Loss::BceWithLogits, Outputs::D2(logits)) => {
                bce_with_logits(logits, batch.values_in::<2>(device, self.dtype)?)
            }
            (Loss::BceWithLogits, Outputs::D4(logits)) => {
                bce_with_logits(logits, batch.values_in::<4>(device, self.dtype)?)
            }
            (_, outputs) => {
                Err(Error::invalid(format!("no loss of the command fits outputs of shape {:?}", outputs.shape())))
            }
        }
    }

    /// Makes sure before any work that the network takes such samples and the loss their targets: by what the network, which
    /// does not change, makes of one batch of them, and a look at all classes.
    pub(super) fn check(&self, network: &Network, batch: &Batch, samples: &Dataset) -> Result<(), Error> {
        if self.loss == Loss::Graph {
            return graph_loss(&network.valid(), batch).map(drop);
        }
        let outputs = self.forward(&network.valid(), batch, &self.device)?;
        if let (Loss::CrossEntropy | Loss::Nll, Some(&classes)) = (self.loss, outputs.shape().get(1)) {
            samples.check_classes(classes)?;
        }
        self.of(outputs, batch, &self.device).map(drop)
    }

    /// The part of the samples whose class has the largest output; `None` where that says nothing.
    pub(super) fn accuracy(&self, network: &Network, samples: &Dataset, batch_size: usize) -> Anything<Option<f64>> {
        let Elements::I64(classes) = samples.targets().elements() else { return Ok(None) };
        if samples.is_empty() || !matches!(self.loss, Loss::CrossEntropy | Loss::Nll) {
            return Ok(None);
        }
        let network = network.valid();
        let mut right = 0_usize;
        for places in (0..samples.len()).collect::<Vec<_>>().chunks(batch_size) {
            let batch = samples.batch(places)?;
            let Outputs::D2(outputs) = self.forward(&network, &batch, &self.device)? else { return Ok(None) };
            let best = outputs.argmax(1).into_data().convert::<i64>();
            let best = best.as_slice::<i64>().map_err(|error| usage(format!("outputs cannot be read: {error:?}")))?;
            right += best.iter().zip(places).filter(|(best, place)| classes.get(**place) == Some(*best)).count();
        }
        #[allow(clippy::cast_precision_loss)] // counts of samples
        Ok(Some(right as f64 / samples.len() as f64))
    }
}

impl Task {
    /// The mean loss over samples.
    pub(super) fn mean_loss(&self, network: &Network, samples: &Dataset, batch_size: usize) -> Result<f64, Error> {
        let network = network.valid();
        let mut sum = 0.0;
        for places in (0..samples.len()).collect::<Vec<_>>().chunks(batch_size) {
            let batch = samples.batch(places)?;
            let loss = match self.loss {
                Loss::Graph => graph_loss(&network, &batch)?,
                _ => self.of(self.forward(&network, &batch, &self.device)?, &batch, &self.device)?,
            };
            let loss = loss.try_into_scalar::<f64>();
            let loss = loss.map_err(|error| Error::invalid(format!("the loss cannot be read: {error:?}")))?;
            #[allow(clippy::cast_precision_loss)] // counts of samples
            (sum += loss * places.len() as f64);
        }
        #[allow(clippy::cast_precision_loss)]
        Ok(sum / samples.len() as f64)
    }

    fn forward(&self, network: &Network, batch: &Batch, device: &Device) -> Result<Outputs, Error> {
        if let Network::Program(program) = network {
            let outputs = array_of(batch.input_data()).map(|array| program.forward(&[array]))?;
            let first = outputs.and_then(|outputs| outputs.into_iter().next().map(Outputs::from_array).transpose());
            let first = first.map_err(|error| Error::invalid(error.to_string()))?;
            return first.ok_or_else(|| Error::invalid("the program has no output"));
        }
        let inputs = match batch.input_shape().len() {
            2 => Inputs::D2(batch.inputs_in(device, self.dtype)?),
            3 => Inputs::D3(batch.inputs_in(device, self.dtype)?),
            4 => Inputs::D4(batch.inputs_in(device, self.dtype)?),
            _ => {
                let shape = batch.input_shape().get(1..).unwrap_or_default();
                return Err(Error::invalid(format!(
                    "inputs have shape {shape:?}, and the network takes {}",
                    takes(network)
                )));
            }
        };
        network.forward(inputs).map_err(|error| Error::invalid(error.to_string()))
    }
}

/// A part of a batch as a program takes it.
fn array_of(data: &TensorData) -> Result<Array, Error> {
    let array = Array::from_data(data.clone(), data.shape().as_slice(), &Device::flex());
    array.map_err(|error| Error::invalid(error.to_string()))
}

/// The loss that a program computes of inputs and targets.
fn graph_loss(network: &Network, batch: &Batch) -> Result<Tensor<1>, Error> {
    let Network::Program(program) = network else {
        return Err(Error::invalid("--loss graph is for a program of torch.export (--model NET.pt2)"));
    };
    let wrong = |error: rekindle::models::ModelError| Error::invalid(error.to_string());
    let given = match program.inputs().len() {
        1 => vec![array_of(batch.input_data())?],
        2 => vec![array_of(batch.input_data())?, array_of(batch.target_data())?],
        count => {
            let reason = format!("the program takes {count} inputs, and batches have inputs and targets");
            return Err(Error::invalid(reason));
        }
    };
    let first = program.forward(&given).map_err(wrong)?.into_iter().next();
    let loss = first.ok_or_else(|| Error::invalid("the program has no output"))?;
    if loss.numel() != 1 {
        let reason = format!("the program's first output has the shape {:?}, and is no loss", loss.shape());
        return Err(Error::invalid(reason));
    }
    loss.reshaped(&[1]).and_then(Array::into_float).map_err(wrong)
}

/// The shape of one input, for messages.
fn takes(network: &Network) -> String {
    let length = |length: &Option<usize>| length.map_or_else(|| "any".to_owned(), |n| n.to_string());
    format!("[{}]", network.input_shape().iter().map(length).collect::<Vec<_>>().join(", "))
}
