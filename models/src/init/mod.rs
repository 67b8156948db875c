//! `torch.nn.init`, and first weights as PyTorch's layers draw them when they are made.
//!
//! A network's builder makes its layers in PyTorch's order, each by [`Init`]; so a network built by `Init::seeded(&device, seed)`
//! is what `torch.manual_seed(seed); Model()` gives, bit for bit. [`Init`] also has every function of `torch.nn.init`, for
//! networks that draw once more; they work on parameters in place:
//!
//! ```
//! use burn::tensor::Device;
//! use rekindle_models::init::Init;
//! use rekindle_models::nn::LinearConfig;
//!
//! let device = Device::flex();
//! let mut init = Init::seeded(&device, 0);
//! let mut layer = LinearConfig::new(4, 2).init(&mut init)?;
//! init.xavier_uniform_(&mut layer.weight, 1.0)?; // nn.init.xavier_uniform_(layer.weight)
//! # Ok::<(), rekindle_models::ModelError>(())
//! ```

mod draw;
mod orthogonal;

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Distribution, Shape, Tensor, TensorData};
use rekindle_random::Generator;

pub use draw::{Fan, Nonlinearity};

use crate::error::{ModelError, Result};
use draw::{Draw, fans};

/// A generator that layers share: what dropout draws from.
pub type SharedGenerator = Arc<Mutex<Generator>>;

/// Makes parameters on a device, and draws them.
#[derive(Debug)]
pub struct Init<'a> {
    device: &'a Device,
    source: Source<'a>,
    shared: SharedGenerator,
}

/// Where first weights come from.
#[derive(Debug)]
enum Source<'a> {
    /// From Burn, when they are first used.
    Lazy,
    Own(&'a mut Generator),
    /// From the generator that dropout draws from.
    Shared,
}

impl<'a> Init<'a> {
    /// Layers with weights of PyTorch's distribution, drawn from a seed of Burn's when they are first used. Cheap where a state
    /// dict is loaded next.
    #[must_use]
    pub fn lazy(device: &'a Device) -> Self {
        Init { device, source: Source::Lazy, shared: shared(Generator::default()) }
    }

    /// Layers with the weights that PyTorch draws from this generator. Dropout draws from another: [`generator`](Self::generator).
    #[must_use]
    pub fn from_generator(device: &'a Device, generator: &'a mut Generator) -> Self {
        Init { device, source: Source::Own(generator), shared: shared(Generator::default()) }
    }

    /// Layers with the weights that PyTorch draws from this generator, which dropout draws from afterwards, as in PyTorch.
    #[must_use]
    pub fn shared(device: &'a Device, generator: SharedGenerator) -> Self {
        Init { device, source: Source::Shared, shared: generator }
    }

    /// As after `torch.manual_seed(seed)`: weights first, then dropout.
    #[must_use]
    pub fn seeded(device: &'a Device, seed: u64) -> Self {
        Init::shared(device, shared(Generator::new(seed)))
    }

    /// The generator that the layers made here draw from as they compute, where they draw: to be kept, set, or read.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        &self.shared
    }

    /// Where the parameters are.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.device
    }

    /// A parameter of this shape with these elements, drawn at once or when it is first used.
    pub(crate) fn param<const D: usize>(&mut self, shape: [usize; D], draw: Draw) -> Result<Param<Tensor<D>>> {
        draw.check(&shape)?;
        let drawn = match &mut self.source {
            Source::Own(generator) => draw.values(&shape, generator)?,
            Source::Shared => draw.values(&shape, &mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))?,
            Source::Lazy => {
                let late = move |device: &Device, require_grad: bool| {
                    // What cannot be drawn was refused above.
                    let values = draw.values(&shape, &mut seed_of(device));
                    let values = values.unwrap_or_else(|_| vec![f32::NAN; shape.iter().product()]);
                    Tensor::from_data(TensorData::new(values, shape), device).set_require_grad(require_grad)
                };
                return Ok(Param::uninitialized(ParamId::new(), late, self.device.clone(), true, Shape::from(shape)));
            }
        };
        Ok(Param::from_data(TensorData::new(drawn, shape), self.device))
    }

    /// The parameter with new elements, as frozen as it was.
    pub(crate) fn redraw<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, draw: Draw) -> Result<()> {
        let shape: [usize; D] = param.lazy_shape().dims();
        let dtype = if param.is_initialized() { Some(param.val().dtype()) } else { None };
        let trained = is_trained(param);
        let mut new = self.param(shape, draw)?;
        if let Some(dtype) = dtype.filter(|&dtype| dtype != DType::F32) {
            new = new.map(|tensor| tensor.cast(burn::tensor::FloatDType::from(dtype)).detach().require_grad());
        }
        *param = new.set_require_grad(trained);
        Ok(())
    }

    /// `nn.init.uniform_(tensor, a, b)`. PyTorch's defaults: 0, 1.
    ///
    /// # Errors
    /// When there is nothing between the bounds.
    pub fn uniform_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, a: f64, b: f64) -> Result<()> {
        self.redraw(param, Draw::Uniform { a, b })
    }

    /// `nn.init.normal_(tensor, mean, std)`. PyTorch's defaults: 0, 1.
    ///
    /// # Errors
    /// When `std` is negative.
    pub fn normal_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, mean: f64, std: f64) -> Result<()> {
        self.redraw(param, Draw::Normal { mean, std })
    }

    /// `nn.init.trunc_normal_(tensor, mean, std, a, b)`: normal, and nothing outside of the bounds. PyTorch's defaults: 0, 1, -2, 2.
    /// As PyTorch 2.15 draws it; before 2.13 it drew otherwise.
    ///
    /// # Errors
    /// When `std` is not positive or there is nothing between the bounds.
    pub fn trunc_normal_<const D: usize>(
        &mut self,
        param: &mut Param<Tensor<D>>,
        mean: f64,
        std: f64,
        a: f64,
        b: f64,
    ) -> Result<()> {
        self.redraw(param, Draw::TruncNormal { mean, std, a, b })
    }

    /// `nn.init.constant_(tensor, value)`.
    ///
    /// # Errors
    /// None in truth.
    pub fn constant_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, value: f64) -> Result<()> {
        self.redraw(param, Draw::Constant(value))
    }

    /// `nn.init.ones_(tensor)`.
    ///
    /// # Errors
    /// None in truth.
    pub fn ones_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>) -> Result<()> {
        self.redraw(param, Draw::Constant(1.0))
    }

    /// `nn.init.zeros_(tensor)`.
    ///
    /// # Errors
    /// None in truth.
    pub fn zeros_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>) -> Result<()> {
        self.redraw(param, Draw::Constant(0.0))
    }

    /// `nn.init.eye_(tensor)`: ones on the diagonal of a matrix.
    ///
    /// # Errors
    /// When it is no matrix.
    pub fn eye_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>) -> Result<()> {
        self.redraw(param, Draw::Eye)
    }

    /// `nn.init.dirac_(tensor, groups)`: a convolution that gives its input. PyTorch's default: 1 group.
    ///
    /// # Errors
    /// When it is no weight of a convolution, or its channels make no such groups.
    pub fn dirac_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, groups: usize) -> Result<()> {
        self.redraw(param, Draw::Dirac { groups })
    }

    /// `nn.init.xavier_uniform_(tensor, gain)`. PyTorch's default: 1.
    ///
    /// # Errors
    /// When it has fewer than two dimensions.
    pub fn xavier_uniform_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, gain: f64) -> Result<()> {
        let draw = Draw::xavier_uniform(&param.lazy_shape().dims::<D>(), gain)?;
        self.redraw(param, draw)
    }

    /// `nn.init.xavier_normal_(tensor, gain)`. PyTorch's default: 1.
    ///
    /// # Errors
    /// When it has fewer than two dimensions.
    pub fn xavier_normal_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, gain: f64) -> Result<()> {
        let draw = Draw::xavier_normal(&param.lazy_shape().dims::<D>(), gain)?;
        self.redraw(param, draw)
    }

    /// `nn.init.kaiming_uniform_(tensor, a, mode, nonlinearity)`: `a` is in the nonlinearity. PyTorch's defaults: fan in, leaky `ReLU`
    /// of 0.
    ///
    /// # Errors
    /// When it has fewer than two dimensions.
    pub fn kaiming_uniform_<const D: usize>(
        &mut self,
        param: &mut Param<Tensor<D>>,
        mode: Fan,
        nonlinearity: Nonlinearity,
    ) -> Result<()> {
        let draw = Draw::kaiming_uniform(&param.lazy_shape().dims::<D>(), mode, nonlinearity)?;
        self.redraw(param, draw)
    }

    /// `nn.init.kaiming_normal_(tensor, a, mode, nonlinearity)`, as [`kaiming_uniform_`](Self::kaiming_uniform_).
    ///
    /// # Errors
    /// When it has fewer than two dimensions.
    pub fn kaiming_normal_<const D: usize>(
        &mut self,
        param: &mut Param<Tensor<D>>,
        mode: Fan,
        nonlinearity: Nonlinearity,
    ) -> Result<()> {
        let draw = Draw::kaiming_normal(&param.lazy_shape().dims::<D>(), mode, nonlinearity)?;
        self.redraw(param, draw)
    }

    /// `nn.init.orthogonal_(tensor, gain)`: rows or columns of length `gain` at right angles. PyTorch's default: 1. As many numbers are
    /// drawn, and by Householder's reflections in LAPACK's order what is made of them is PyTorch's to about 1e-6; its blocks of
    /// columns round in another order.
    ///
    /// # Errors
    /// When it has fewer than two dimensions.
    pub fn orthogonal_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, gain: f64) -> Result<()> {
        self.redraw(param, Draw::Orthogonal { gain })
    }

    /// `nn.init.sparse_(tensor, sparsity, std)`: normal, with this share of each column 0. PyTorch's default: a deviation of 0.01.
    ///
    /// # Errors
    /// When it is no matrix, or the share is not in 0 to 1.
    pub fn sparse_<const D: usize>(&mut self, param: &mut Param<Tensor<D>>, sparsity: f64, std: f64) -> Result<()> {
        self.redraw(param, Draw::Sparse { sparsity, std })
    }
}

/// Whether it is trained; off an autodiff device, whether it is where it comes to one.
pub(crate) fn is_trained<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    !param.is_initialized() || param.is_require_grad() || param.clone().train().is_require_grad()
}

/// The weight of a `Linear` or a convolution as its `reset_parameters` draws it: `kaiming_uniform_(a=sqrt(5))`.
pub(crate) fn layer_weight(shape: &[usize]) -> Result<Draw> {
    Draw::kaiming_uniform(shape, Fan::In, Nonlinearity::LeakyRelu(5.0_f64.sqrt()))
}

/// Their bias: uniform, within the inverse root of the weight's inputs.
pub(crate) fn layer_bias(weight: &[usize]) -> Result<Draw> {
    let (inputs, _) = fans(weight)?;
    let bound = if inputs == 0.0 { 0.0 } else { 1.0 / inputs.sqrt() };
    // PyTorch has no -0 there.
    Ok(Draw::Uniform { a: 0.0 - bound, b: bound })
}

pub(crate) use draw::Draw as Rule;

fn shared(generator: Generator) -> SharedGenerator {
    Arc::new(Mutex::new(generator))
}

/// A generator that goes on from Burn's, which is the process's.
fn seed_of(device: &Device) -> Generator {
    let drawn = Tensor::<1>::random([2], Distribution::Uniform(0.0, 16_777_216.0), &device.clone().inner());
    let seed = drawn.into_data().iter::<f64>().fold(0.0, |seed, part| seed * 16_777_216.0 + part.floor());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, and below 2^48
    let seed = seed as u64;
    Generator::new(seed)
}

/// For layers: what cannot be made, and why.
pub(crate) fn refused(layer: &'static str, reason: impl Into<String>) -> ModelError {
    ModelError::Layer { layer, reason: reason.into() }
}
