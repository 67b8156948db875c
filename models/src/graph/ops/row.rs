//! A row of the table of operations: what an operation is called, takes, gives and does.

use burn::tensor::{DType, Device};
use rekindle_random::Generator;

use crate::Result;
use crate::functional::{Array, Number, refused};
use crate::graph::autocast::is_word;
use crate::graph::item::{Given, Item, Slot};
use crate::graph::steps::Block;

/// What an operation gives.
pub(in crate::graph) enum Out {
    One(Array),
    Many(Vec<Array>),
    Items(Vec<Item>),
    Number(Number),
    /// Nothing: an assertion that the program was exported with.
    Nothing,
}

rekindle_recorder::from! { Out:
    Array: array => Out::One(array);
    Vec<Array>: arrays => Out::Many(arrays);
    (Array, Array): (one, other) => Out::Many(vec![one, other]);
    Number: number => Out::Number(number);
}

/// A node that is computed.
pub(in crate::graph) struct Call<'a> {
    pub(in crate::graph) given: Given<'a>,
    /// Whether the program trains.
    pub(in crate::graph) train: bool,
    pub(in crate::graph) device: &'a Device,
    pub(in crate::graph) generator: &'a mut Generator,
    /// The order of dimensions in which the first argument lies in memory; none where that is their own.
    pub(in crate::graph) order: &'a [usize],
    /// The graphs that it runs: branches, or the body of a loop.
    pub(in crate::graph) blocks: &'a [Block],
    /// What autocast casts to around the program: in its graphs, too.
    pub(in crate::graph) around: Option<DType>,
    /// Values that become others: the running statistics of a batch norm.
    pub(in crate::graph) writes: Vec<(Slot, Array)>,
}

impl Call<'_> {
    /// Runs one of its graphs on these values.
    pub(in crate::graph) fn block(&mut self, index: usize, given: Vec<Item>) -> Result<Vec<Item>> {
        let block = self.blocks.get(index).ok_or_else(|| refused("control flow", "a graph is missing"))?;
        block.run(given, self.train, self.device, self.around, self.generator)
    }

    /// The value that this argument reads becomes another.
    pub(in crate::graph) fn write(&mut self, argument: &str, array: Array) {
        if let Some(slot) = self.given.slot(argument) {
            self.writes.push((slot, array));
        }
    }
}

/// Whether the result shares its memory with an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) enum View {
    /// Never: a new tensor.
    No,
    /// Always; what is written to the result is written to the argument by [`Undo`].
    Always(Undo),
    /// When nothing had to be changed: the type, or elements that do not lie as they should.
    WhenUnchanged(Undo),
    /// The argument itself in evaluation: dropout.
    InEvaluation,
}

impl View {
    /// How what is written to the result comes to the argument; `None` where it never does.
    pub(in crate::graph) fn undo(self) -> Option<Undo> {
        match self {
            View::No => None,
            View::Always(undo) | View::WhenUnchanged(undo) => Some(undo),
            View::InEvaluation => Some(Undo::Same),
        }
    }
}

/// How what is written to a view comes to what it is a view of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) enum Undo {
    /// It is the same tensor.
    Same,
    /// The same elements in another shape.
    Reshape,
    /// Dimensions in another order.
    Transpose,
    TransposeLast,
    Reverse,
    Permute,
    Move,
    /// A part of a dimension.
    Slice,
    Narrow,
    Select,
    /// One of several parts of a dimension.
    Parts,
    /// One of the places of a dimension.
    Places,
    /// A diagonal.
    Diagonal,
    /// By the places of its elements, where no place is there twice.
    Index,
    /// In a way that is not supported.
    Refused,
}

/// An operation.
pub(in crate::graph) struct Op {
    /// Its name without `torch.ops.`, such as `aten.add.Tensor`.
    pub(in crate::graph) name: &'static str,
    /// The names of its arguments.
    pub(in crate::graph) args: &'static [&'static str],
    pub(in crate::graph) run: fn(&mut Call<'_>) -> Result<Out>,
    pub(in crate::graph) view: View,
}

impl Op {
    /// Whether it draws an element for each of its first argument, in the order of memory.
    pub(in crate::graph) fn draws(&self) -> bool {
        ["aten.dropout.default", "aten.native_dropout.default", "aten.bernoulli_.float"].contains(&self.name)
    }

    /// Whether it goes by how the elements of its first argument lie in memory.
    pub(in crate::graph) fn goes_by_memory(&self) -> bool {
        self.name.starts_with("aten.as_strided")
    }
}

/// What is several steps here and one in PyTorch, which computes it of 16-bit numbers in float32 and rounds once: so it is here. By
/// their names without the overload, or with it.
const WIDE: &str = "
    _adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _softmax _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d addcdiv addcmul avg_pool1d avg_pool2d avg_pool3d
    binary_cross_entropy binary_cross_entropy_with_logits cdist celu col2im cross_entropy_loss cumprod cumsum elu
    embedding_bag exp2 expm1 floor_divide fmod gelu glu grid_sampler grid_sampler_2d grid_sampler_3d hardsigmoid
    hardswish hypot lerp linalg_matrix_norm linalg_norm linalg_vector_norm log10 log2 log_sigmoid log_softmax
    logaddexp logaddexp2 logcumsumexp logsumexp mish multi_margin_loss multilabel_margin_loss mvlgamma nanmean
    nansum nll_loss nll_loss2d nll_loss_forward nll_loss_nd norm pdist pow remainder renorm round rsqrt selu sigmoid
    silu sinc smooth_l1_loss softmax softplus special_xlog1py std std_mean sum upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_trilinear3d var var_mean xlogy
";

impl Op {
    /// Whether of 16-bit numbers it is computed in float32.
    pub(in crate::graph) fn is_wide(&self) -> bool {
        let name = self.name.strip_prefix("aten.").unwrap_or_default();
        let base = name.split('.').next().unwrap_or(name);
        is_word(WIDE, base) || is_word(WIDE, name)
    }
}

/// Rows of operations: the name, the arguments, whether the result is a view, and how it is computed.
macro_rules! ops {
    ($($name:literal ($($arg:tt),* $(,)?) $([$view:expr])? |$c:ident| $run:expr;)*) => {
        pub(super) const OPS: &[$crate::graph::ops::row::Op] = &[$(
            $crate::graph::ops::row::Op {
                name: $name,
                args: &[$(stringify!($arg)),*],
                run: |$c| { let out = $run; Ok(out.into()) },
                view: ops!(@view $($view)?),
            },
        )*];
    };
    (@view) => { $crate::graph::ops::row::View::No };
    (@view $view:expr) => { $view };
}
pub(super) use ops;
