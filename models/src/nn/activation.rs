//! Activation functions as layers: a table of their options with PyTorch's defaults, and what each computes.

use burn::module::{Flag, Param};
use burn::tensor::Tensor;

use super::dropout::Dropout;
use super::module::{Forward, keeps_rank, module, options, rounded, stateless, value};
use crate::Result;
use crate::functional::{Array, Unary};
use crate::init::{Init, Rule};

macro_rules! activations {
    ($(
        $(#[$doc:meta])*
        $name:ident ($($(#[$needed_doc:meta])* $needed:ident: $needed_type:ty $(=> $stored:ty)?),*)
        {$($(#[$field_doc:meta])* $field:ident / $with:ident: $type:ty = $default:expr),*}
        |$this:ident, $x:ident| $compute:expr;
    )+) => {
        options! { $(
            $(#[$doc])*
            $name($($(#[$needed_doc])* $needed: $needed_type $(=> $stored)?),*) {$($(#[$field_doc])* $field / $with: $type = $default),*}
        )+ }
        stateless!($($name),+);
        $(
            impl Forward for $name {
                fn forward_array(&self, $x: &Array) -> Result<Array> {
                    let $this = self;
                    let _ = $this;
                    $compute
                }
            }
            keeps_rank!($name: "The same shape; `GLU` halves one dimension.");
        )+
    };
}

/// The dimension that was said, or that PyTorch takes where none is.
fn softmax_dim(dim: Option<i64>, x: &Array) -> i64 {
    dim.unwrap_or_else(|| i64::from(!matches!(x.rank(), 0 | 1 | 3)))
}

activations! {
    /// `torch.nn.ReLU`: `max(x, 0)`.
    ReLU() {} |this, x| x.relu();
    /// `torch.nn.ReLU6`: `min(max(x, 0), 6)`.
    ReLU6() {} |this, x| x.hardtanh(0.0, 6.0);
    /// `torch.nn.LeakyReLU(negative_slope=0.01)`.
    LeakyReLU() {
        /// The factor below 0. Default 0.01.
        negative_slope / with_negative_slope: f64 = 0.01
    } |this, x| x.leaky_relu(this.negative_slope);
    /// `torch.nn.ELU(alpha=1.0)`.
    ELU() {
        /// What it goes to below 0, negated. Default 1.
        alpha / with_alpha: f64 = 1.0
    } |this, x| x.elu(this.alpha, 1.0, 1.0);
    /// `torch.nn.CELU(alpha=1.0)`.
    CELU() {
        /// What it goes to below 0, negated. Default 1.
        alpha / with_alpha: f64 = 1.0
    } |this, x| x.celu(this.alpha);
    /// `torch.nn.SELU`.
    SELU() {} |this, x| x.selu();
    /// `torch.nn.GELU(approximate='none')`.
    GELU() {
        /// Whether it is the form with tanh. Default false.
        tanh / with_tanh: bool = false
    } |this, x| rounded(x, [], |x, []| x.gelu(this.tanh));
    /// `torch.nn.SiLU`: `x sigmoid(x)`.
    SiLU() {} |this, x| rounded(x, [], |x, []| x.silu());
    /// `torch.nn.Mish`: `x tanh(softplus(x))`.
    Mish() {} |this, x| rounded(x, [], |x, []| x.mish());
    /// `torch.nn.Sigmoid`.
    Sigmoid() {} |this, x| x.sigmoid();
    /// `torch.nn.LogSigmoid`.
    LogSigmoid() {} |this, x| x.log_sigmoid();
    /// `torch.nn.Tanh`.
    Tanh() {} |this, x| x.unary(Unary::Tanh);
    /// `torch.nn.Tanhshrink`: `x - tanh(x)`.
    Tanhshrink() {} |this, x| x.sub(&x.unary(Unary::Tanh)?);
    /// `torch.nn.Hardtanh(min_val=-1.0, max_val=1.0)`.
    Hardtanh() {
        /// The least value. Default -1.
        min_val / with_min_val: f64 = -1.0,
        /// The greatest value. Default 1.
        max_val / with_max_val: f64 = 1.0
    } |this, x| x.hardtanh(this.min_val, this.max_val);
    /// `torch.nn.Hardsigmoid`.
    Hardsigmoid() {} |this, x| x.hardsigmoid();
    /// `torch.nn.Hardswish`.
    Hardswish() {} |this, x| x.hardswish();
    /// `torch.nn.Hardshrink(lambd=0.5)`.
    Hardshrink() {
        /// What is 0 around 0. Default 0.5.
        lambd / with_lambd: f64 = 0.5
    } |this, x| x.hardshrink(this.lambd);
    /// `torch.nn.Softshrink(lambd=0.5)`.
    Softshrink() {
        /// What is 0 around 0. Default 0.5.
        lambd / with_lambd: f64 = 0.5
    } |this, x| x.softshrink(this.lambd);
    /// `torch.nn.Softplus(beta=1.0, threshold=20.0)`.
    Softplus() {
        /// How sharp the bend is. Default 1.
        beta / with_beta: f64 = 1.0,
        /// From where it is `x` itself. Default 20.
        threshold / with_threshold: f64 = 20.0
    } |this, x| x.softplus(this.beta, this.threshold);
    /// `torch.nn.Softsign`: `x / (1 + |x|)`.
    Softsign() {} |this, x| x.softsign();
    /// `torch.nn.Threshold(threshold, value)`.
    Threshold(
        /// Above it `x` stays.
        threshold: f64,
        /// What it becomes elsewhere.
        value: f64
    ) {} |this, x| x.threshold(this.threshold, this.value);
    /// `torch.nn.Softmax(dim)`.
    Softmax(
        /// Along which dimension they sum to 1. `None`: PyTorch's old default, 0 of one or three dimensions and 1 of others.
        dim: impl Into<Option<i64>> => Option<i64>
    ) {} |this, x| x.softmax(softmax_dim(this.dim, x));
    /// `torch.nn.Softmin(dim)`: the softmax of `-x`.
    Softmin(
        /// Along which dimension they sum to 1. `None`: PyTorch's old default, 0 of one or three dimensions and 1 of others.
        dim: impl Into<Option<i64>> => Option<i64>
    ) {} |this, x| x.unary(Unary::Neg)?.softmax(softmax_dim(this.dim, x));
    /// `torch.nn.Softmax2d`: over the channels of an image.
    Softmax2d() {} |this, x| x.softmax(-3);
    /// `torch.nn.LogSoftmax(dim)`.
    LogSoftmax(
        /// Along which dimension they are logarithms of what sums to 1. `None`: PyTorch's old default, 0 of one or three dimensions and 1 of others.
        dim: impl Into<Option<i64>> => Option<i64>
    ) {} |this, x| x.log_softmax(softmax_dim(this.dim, x));
    /// `torch.nn.GLU(dim=-1)`: one half times the sigmoid of the other.
    GLU() {
        /// Which dimension is halved. Default -1.
        dim / with_dim: i64 = -1
    } |this, x| x.glu(this.dim);
}

options! {
    /// `torch.nn.PReLU(num_parameters=1, init=0.25)`.
    PReLUConfig() {
        /// One slope, or one a channel. Default 1.
        num_parameters / with_num_parameters: usize = 1,
        /// What slopes begin with. Default 0.25.
        init_value / with_init_value: f64 = 0.25,
    }
}

/// `torch.nn.PReLU`: below 0 a learned slope.
#[derive(Clone, Debug)]
pub struct PReLU {
    /// The slopes, `[parameters]`.
    pub weight: Param<Tensor<1>>,
}

module!(PReLU { weight; });
keeps_rank!(PReLU: "The same shape.", RReLU: "The same shape.");

impl PReLUConfig {
    /// The layer, as PyTorch begins it.
    ///
    /// # Errors
    /// None in truth.
    pub fn init(&self, init: &mut Init<'_>) -> Result<PReLU> {
        Ok(PReLU { weight: init.param([self.num_parameters], Rule::Constant(self.init_value))? })
    }
}

impl Forward for PReLU {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.prelu(&value(&self.weight))
    }
}

/// `torch.nn.RReLU(lower=1/8, upper=1/3)`: below 0 a slope drawn for each element in training, and the mean of the bounds in evaluation.
#[derive(Clone, Debug)]
pub struct RReLU {
    /// Whether it draws on an autodiff device.
    pub training: Param<Flag>,
    /// The least slope.
    pub lower: f64,
    /// The greatest slope.
    pub upper: f64,
    draws: Dropout,
}

module!(RReLU { training; lower, upper, draws });

impl RReLU {
    /// With slopes between these; PyTorch's defaults are 1/8 and 1/3.
    #[must_use]
    pub fn new(lower: f64, upper: f64, init: &Init<'_>) -> Self {
        RReLU { training: Param::from_bool(true), lower, upper, draws: Dropout::new(0.0, init) }
    }
}

impl Forward for RReLU {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        if !(input.device().is_autodiff() && self.training.is_enabled()) {
            return input.leaky_relu(f64::midpoint(self.lower, self.upper));
        }
        self.draws.draw(|generator| input.rrelu(self.lower, self.upper, generator))
    }
}
