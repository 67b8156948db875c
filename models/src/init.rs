//! First weights as PyTorch's layers draw them when they are made.
//!
//! A network's builder makes its layers in PyTorch's order, each by [`Init`]; so a network built from
//! `Generator::new(seed)` is what `torch.manual_seed(seed); Model()` gives, bit for bit.

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle_random::{Generator, uniform_};

use crate::error::{ModelError, Result};
use crate::nn::{BatchNorm, BatchNormConfig};

/// Makes layers on a device.
#[derive(Debug)]
pub struct Init<'a> {
    device: &'a Device,
    generator: Option<&'a mut Generator>,
}

impl<'a> Init<'a> {
    /// Layers with weights of PyTorch's distribution, drawn by Burn when they are first used. Cheap where a state dict is
    /// loaded next.
    #[must_use]
    pub fn lazy(device: &'a Device) -> Self {
        Init { device, generator: None }
    }

    /// Layers with the weights that PyTorch draws from this generator.
    #[must_use]
    pub fn from_generator(device: &'a Device, generator: &'a mut Generator) -> Self {
        Init { device, generator: Some(generator) }
    }

    /// `torch.nn.Linear(inputs, outputs)`.
    ///
    /// # Errors
    /// When it has no inputs.
    pub fn linear(&mut self, inputs: usize, outputs: usize) -> Result<Linear> {
        let mut linear = LinearConfig::new(inputs, outputs).init(self.device);
        if let Some(generator) = self.generator.as_deref_mut() {
            let weight = kaiming_uniform(generator, outputs * inputs, inputs)?;
            let weight = Tensor::<2>::from_data(TensorData::new(weight, [outputs, inputs]), self.device);
            // PyTorch's matrix is Burn's transposed. A tensor of its own, not a view of the other.
            let weight = Tensor::<2>::from_data(weight.transpose().into_data(), self.device);
            linear.weight = Param::from_tensor(weight);
            let bias = bias_uniform(generator, outputs, inputs)?;
            linear.bias = Some(Param::from_data(TensorData::new(bias, [outputs]), self.device));
        }
        Ok(linear)
    }

    /// `torch.nn.Conv2d` with what the configuration says; its initializer is not used where a generator is.
    ///
    /// # Errors
    /// When it has no inputs, or its channels cannot be divided among its groups.
    pub fn conv2d(&mut self, config: &Conv2dConfig) -> Result<Conv2d> {
        let Conv2dConfig { channels, groups, .. } = config;
        if channels.iter().any(|channels| channels.checked_rem(*groups) != Some(0)) {
            let reason = format!("channels {channels:?} cannot be divided among {groups} groups");
            return Err(ModelError::Layer { layer: "Conv2d", reason });
        }
        let mut conv = config.init(self.device);
        if let Some(generator) = self.generator.as_deref_mut() {
            let [outputs, inputs] = [config.channels[1], config.channels[0] / config.groups];
            let shape = [outputs, inputs, config.kernel_size[0], config.kernel_size[1]];
            let fan_in = shape[1..].iter().product();
            let weight = kaiming_uniform(generator, shape.iter().product(), fan_in)?;
            conv.weight = Param::from_data(TensorData::new(weight, shape), self.device);
            if config.bias {
                let bias = bias_uniform(generator, outputs, fan_in)?;
                conv.bias = Some(Param::from_data(TensorData::new(bias, [outputs]), self.device));
            }
        }
        Ok(conv)
    }

    /// `torch.nn.BatchNorm2d(channels)`, which draws nothing.
    #[must_use]
    pub fn batch_norm(&mut self, channels: usize) -> BatchNorm {
        BatchNormConfig::new(channels).init(self.device)
    }
}

/// `torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5))`, as the layers call it.
fn kaiming_uniform(generator: &mut Generator, count: usize, fan_in: usize) -> Result<Vec<f32>> {
    let slope = 5.0_f64.sqrt();
    let gain = (2.0 / (1.0 + slope * slope)).sqrt();
    let std = gain / float(fan_in).sqrt();
    uniform(generator, count, 3.0_f64.sqrt() * std)
}

fn bias_uniform(generator: &mut Generator, count: usize, fan_in: usize) -> Result<Vec<f32>> {
    uniform(generator, count, 1.0 / float(fan_in).sqrt())
}

fn uniform(generator: &mut Generator, count: usize, bound: f64) -> Result<Vec<f32>> {
    let mut values = vec![0.0_f32; count];
    uniform_(generator, &mut values, -bound, bound)?;
    Ok(values)
}

#[allow(clippy::cast_precision_loss)] // a layer's inputs are far below 2^53
fn float(count: usize) -> f64 {
    count as f64
}
