//! `LSTM`, `GRU`, `RNN` with layers, directions, projections and sequences of several lengths; `LSTMCell`, `GRUCell`, `RNNCell`.

use burn::module::{Content, Flag, Param};
use burn::tensor::Tensor;

use super::dropout::Dropout;
use super::module::{maybe, module, options, refused, value};
use super::parts::{Change, Look, Parts, walked};
use crate::Result;
use crate::functional::{Array, Cell, Number, Recurrent};
use crate::init::{Init, Rule};

options! {
    /// `torch.nn.LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    /// proj_size=0)`, and with the same options [`GRU`] and [`RNN`].
    RecurrentConfig(
        /// The length of an input.
        input_size: usize,
        /// The length of a state.
        hidden_size: usize,
    ) {
        /// How many layers. Default 1.
        num_layers / with_num_layers: usize = 1,
        /// Whether there are biases. Default true.
        bias / with_bias: bool = true,
        /// Whether the input is `[batch, length, features]`. Default false: `[length, batch, features]`.
        batch_first / with_batch_first: bool = false,
        /// What is dropped between layers, in training. Default 0.
        dropout / with_dropout: f64 = 0.0,
        /// Whether each layer also goes backwards. Default false.
        bidirectional / with_bidirectional: bool = false,
        /// Of an LSTM: the length of what a layer gives, made of its state. Default 0: the state itself.
        proj_size / with_proj_size: usize = 0,
        /// Of an RNN: whether it has `ReLU` in the place of tanh. Default false.
        relu / with_relu: bool = false,
    }

    /// `torch.nn.LSTMCell(input_size, hidden_size, bias=True)`, and with the same options [`GRUCell`] and [`RNNCell`].
    CellConfig(
        /// The length of an input.
        input_size: usize,
        /// The length of a state.
        hidden_size: usize,
    ) {
        /// Whether there are biases. Default true.
        bias / with_bias: bool = true,
        /// Of an RNN: whether it has `ReLU` in the place of tanh. Default false.
        relu / with_relu: bool = false,
    }
}

/// Options of an [`LSTM`].
pub type LSTMConfig = RecurrentConfig;
/// Options of a [`GRU`].
pub type GRUConfig = RecurrentConfig;
/// Options of an [`RNN`].
pub type RNNConfig = RecurrentConfig;

/// The parameters of one layer in one direction.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `weight_ih_l0`: `[gates * hidden, inputs]`.
    pub weight_ih: Param<Tensor<2>>,
    /// `weight_hh_l0`: `[gates * hidden, outputs]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `bias_ih_l0`: `[gates * hidden]`.
    pub bias_ih: Option<Param<Tensor<1>>>,
    /// `bias_hh_l0`: `[gates * hidden]`.
    pub bias_hh: Option<Param<Tensor<1>>>,
    /// `weight_hr_l0`: `[outputs, hidden]`.
    pub weight_hr: Option<Param<Tensor<2>>>,
    /// What PyTorch's names end in: `l0`, `l0_reverse`.
    suffix: String,
}

/// Layers of a recurrent network, with PyTorch's names: `weight_ih_l0`, `weight_hh_l0`, ..., `weight_ih_l0_reverse`.
#[derive(Clone, Debug)]
struct Stack {
    weights: Vec<Weights>,
    training: Param<Flag>,
    how: Recurrent,
    sizes: [usize; 3],
    draws: Dropout,
}

const CONTAINER: &str = "Struct:torch.nn.RNNBase";

impl Weights {
    fn each(&self, look: &mut impl Look) {
        let Weights { weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, suffix } = self;
        look.named(&format!("weight_ih_{suffix}"), CONTAINER, weight_ih);
        look.named(&format!("weight_hh_{suffix}"), CONTAINER, weight_hh);
        look.named(&format!("bias_ih_{suffix}"), CONTAINER, bias_ih);
        look.named(&format!("bias_hh_{suffix}"), CONTAINER, bias_hh);
        look.named(&format!("weight_hr_{suffix}"), CONTAINER, weight_hr);
    }

    fn changed(self, change: &mut impl Change) -> Self {
        let Weights { weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, suffix } = self;
        Weights {
            weight_ih: change.named(&format!("weight_ih_{suffix}"), CONTAINER, weight_ih),
            weight_hh: change.named(&format!("weight_hh_{suffix}"), CONTAINER, weight_hh),
            bias_ih: change.named(&format!("bias_ih_{suffix}"), CONTAINER, bias_ih),
            bias_hh: change.named(&format!("bias_hh_{suffix}"), CONTAINER, bias_hh),
            weight_hr: change.named(&format!("weight_hr_{suffix}"), CONTAINER, weight_hr),
            suffix,
        }
    }
}

impl Stack {
    fn each(&self, look: &mut impl Look) {
        self.weights.iter().for_each(|weights| weights.each(look));
        look.named("training", CONTAINER, &self.training);
    }

    fn changed(self, change: &mut impl Change) -> Self {
        let weights = self.weights.into_iter().map(|weights| weights.changed(change)).collect();
        let training = change.named("training", CONTAINER, self.training);
        Stack { weights, training, ..self }
    }

    fn new(config: &RecurrentConfig, cell: Cell, init: &mut Init<'_>) -> Result<Self> {
        let gates = gates(cell) * config.hidden_size;
        let projected = config.proj_size > 0;
        if config.hidden_size == 0 || config.num_layers == 0 {
            return Err(refused("a recurrent layer", "it has at least one layer, and a state of at least one element"));
        }
        if projected && (cell != Cell::Lstm || config.proj_size >= config.hidden_size) {
            return Err(refused("a recurrent layer", "only an LSTM has a projection, and one smaller than its state"));
        }
        let outputs = if projected { config.proj_size } else { config.hidden_size };
        let directions = if config.bidirectional { 2 } else { 1 };
        let draw = draw(config.hidden_size);
        let mut weights = Vec::new();
        for layer in 0..config.num_layers {
            let inputs = if layer == 0 { config.input_size } else { outputs * directions };
            for direction in 0..directions {
                let reverse = if direction == 1 { "_reverse" } else { "" };
                weights.push(Weights {
                    weight_ih: init.param([gates, inputs], draw)?,
                    weight_hh: init.param([gates, outputs], draw)?,
                    bias_ih: if config.bias { Some(init.param([gates], draw)?) } else { None },
                    bias_hh: if config.bias { Some(init.param([gates], draw)?) } else { None },
                    weight_hr: if projected { Some(init.param([outputs, config.hidden_size], draw)?) } else { None },
                    suffix: format!("l{layer}{reverse}"),
                });
            }
        }
        Ok(Stack {
            weights,
            training: Param::from_bool(true),
            how: Recurrent {
                cell,
                biases: config.bias,
                layers: config.num_layers,
                dropout: config.dropout,
                train: false,
                bidirectional: config.bidirectional,
                batch_first: config.batch_first,
            },
            sizes: [config.num_layers * directions, outputs, config.hidden_size],
            draws: Dropout::new(config.dropout, init),
        })
    }

    /// The outputs and the last states, from these states or from zeros.
    fn run(&self, input: &Array, states: Option<Vec<Array>>, lengths: Option<&[usize]>) -> Result<(Array, Vec<Array>)> {
        let [slots, outputs, hidden] = self.sizes;
        let width = self.weights.first().map_or(0, |weights| weights.weight_ih.lazy_shape().dims::<2>()[1]);
        if !(2..=3).contains(&input.rank()) || input.shape().last() != Some(&width) {
            let reason = format!("an input of {:?} is no sequence of {width} features", input.shape());
            return Err(refused("a recurrent layer", reason));
        }
        let batch = if input.rank() == 3 { Some(input.shape()[usize::from(!self.how.batch_first)]) } else { None };
        let shape = |width: usize| std::iter::once(slots).chain(batch).chain([width]).collect::<Vec<_>>();
        let mut expected = vec![shape(outputs)];
        expected.extend((self.how.cell == Cell::Lstm).then(|| shape(hidden)));
        let zeros = |shape: &Vec<usize>| Array::full(shape, Number::Int(0), input.dtype(), &input.device());
        let states = states.unwrap_or_else(|| expected.iter().map(zeros).collect());
        if let Some((state, shape)) = states.iter().zip(&expected).find(|(state, shape)| state.shape() != **shape) {
            let reason = format!("a state of {:?} is not {shape:?}", state.shape());
            return Err(refused("a recurrent layer", reason));
        }
        let mut all = Vec::new();
        for weights in &self.weights {
            all.extend([value(&weights.weight_ih), value(&weights.weight_hh)]);
            all.extend([&weights.bias_ih, &weights.bias_hh].into_iter().filter_map(|bias| maybe(bias.as_ref())));
            all.extend(maybe(weights.weight_hr.as_ref()));
        }
        let train = input.device().is_autodiff() && self.training.is_enabled();
        let how = Recurrent { train, ..self.how.clone() };
        self.draws.draw(|generator| match lengths {
            Some(lengths) => how.run_lengths(input, lengths, &states, &all, generator),
            None => how.run(input, &states, &all, generator),
        })
    }
}

/// How many gates a step has.
fn gates(cell: Cell) -> usize {
    match cell {
        Cell::Lstm => 4,
        Cell::Gru => 3,
        Cell::Tanh | Cell::Relu => 1,
    }
}

/// What all parameters of a recurrent layer are drawn from.
fn draw(hidden: usize) -> Rule {
    #[allow(clippy::cast_precision_loss)] // the length of a state
    let bound = if hidden == 0 { 0.0 } else { 1.0 / (hidden as f64).sqrt() };
    Rule::Uniform { a: -bound, b: bound }
}

macro_rules! recurrent {
    ($($(#[$doc:meta])* $name:ident, $cell:expr, $init:ident, $state:ty, $from:expr, $to:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            stack: Stack,
        }

        impl RecurrentConfig {
            #[doc = concat!("The layers of an [`", stringify!($name), "`], with weights as PyTorch draws them.")]
            ///
            /// # Errors
            /// When the sizes make no such layers.
            pub fn $init(&self, init: &mut Init<'_>) -> Result<$name> {
                let cell: fn(&Self) -> Cell = $cell;
                Ok($name { stack: Stack::new(self, cell(self), init)? })
            }
        }

        impl $name {
            /// A sequence `[length, batch, features]` (or `[batch, length, features]`, or without a batch) and the states before it, of
            /// `[layers * directions, batch, width]`; none are zeros. Gives the outputs and the last states.
            ///
            /// # Errors
            /// When the shapes do not go together.
            pub fn forward<const D: usize>(&self, input: Tensor<D>, state: Option<$state>) -> Result<(Tensor<D>, $state)> {
                let from: fn($state) -> Vec<Array> = $from;
                let to: fn(Vec<Array>) -> Result<$state> = $to;
                let (output, last) = self.stack.run(&Array::from_float(input), state.map(from), None)?;
                Ok((output.into_float()?, to(last)?))
            }

            /// As [`forward`](Self::forward), of sequences of these lengths, one for each of the batch: what `pack_padded_sequence`, the
            /// layer and `pad_packed_sequence` give. What is behind the end of a sequence counts nothing, and is 0 in the output.
            ///
            /// # Errors
            /// As there, and when a length is 0 or more than there is.
            pub fn forward_lengths<const D: usize>(
                &self,
                input: Tensor<D>,
                lengths: &[usize],
                state: Option<$state>,
            ) -> Result<(Tensor<D>, $state)> {
                let from: fn($state) -> Vec<Array> = $from;
                let to: fn(Vec<Array>) -> Result<$state> = $to;
                let (output, last) = self.stack.run(&Array::from_float(input), state.map(from), Some(lengths))?;
                Ok((output.into_float()?, to(last)?))
            }

            /// The parameters: of each layer, forwards, then backwards.
            #[must_use]
            pub fn weights(&self) -> &[Weights] {
                &self.stack.weights
            }
        }

        impl Parts for $name {
            fn each(&self, look: &mut impl Look) {
                self.stack.each(look);
            }

            fn changed(self, change: &mut impl Change) -> Self {
                $name { stack: self.stack.changed(change) }
            }

            fn content(&self, content: Content) -> Option<Content> {
                content.set_top_level_type(stringify!($name)).add_debug_attribute("how", &self.stack.how).optional()
            }
        }

        walked!([] $name);
    )+ };
}

/// One state.
fn only<const D: usize>(states: Vec<Array>) -> Result<Tensor<D>> {
    let state = states.into_iter().next();
    state.ok_or_else(|| refused("a recurrent layer", "it has no state"))?.into_float()
}

/// The two states of an LSTM.
fn both<const D: usize>(states: Vec<Array>) -> Result<(Tensor<D>, Tensor<D>)> {
    let mut states = states.into_iter();
    let mut next = || states.next().ok_or_else(|| refused("an LSTM", "it has two states"))?.into_float();
    Ok((next()?, next()?))
}

recurrent! {
    /// `torch.nn.LSTM`. Its states are what a step gives and what it remembers, `(h, c)`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use rekindle_models::init::Init;
    /// use rekindle_models::nn::LSTMConfig;
    ///
    /// let device = Device::flex();
    /// let config = LSTMConfig::new(3, 5).with_num_layers(2).with_batch_first(true);
    /// let layer = config.init_lstm(&mut Init::seeded(&device, 0))?;
    /// let (output, (h, c)) = layer.forward(Tensor::<3>::ones([1, 7, 3], &device), None)?;
    /// assert_eq!((output.dims(), h.dims(), c.dims()), ([1, 7, 5], [2, 1, 5], [2, 1, 5]));
    /// # Ok::<(), rekindle_models::ModelError>(())
    /// ```
    LSTM, |_| Cell::Lstm, init_lstm, (Tensor<D>, Tensor<D>), |(h, c)| vec![Array::from_float(h), Array::from_float(c)], both;
    /// `torch.nn.GRU`.
    GRU, |_| Cell::Gru, init_gru, Tensor<D>, |h| vec![Array::from_float(h)], only;
    /// `torch.nn.RNN`, of tanh or `ReLU`.
    RNN, |config| if config.relu { Cell::Relu } else { Cell::Tanh }, init_rnn, Tensor<D>, |h| vec![Array::from_float(h)], only;
}

macro_rules! cells {
    ($($(#[$doc:meta])* $name:ident, $cell:expr, $init:ident, $states:literal, $state:ty, $from:expr, $to:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// `[gates * hidden, inputs]`.
            pub weight_ih: Param<Tensor<2>>,
            /// `[gates * hidden, hidden]`.
            pub weight_hh: Param<Tensor<2>>,
            /// `[gates * hidden]`.
            pub bias_ih: Option<Param<Tensor<1>>>,
            /// `[gates * hidden]`.
            pub bias_hh: Option<Param<Tensor<1>>>,
            cell: Cell,
        }

        module!($name { weight_ih, weight_hh, bias_ih, bias_hh; cell });

        impl CellConfig {
            #[doc = concat!("The [`", stringify!($name), "`], with weights as PyTorch draws them.")]
            ///
            /// # Errors
            /// None in truth.
            pub fn $init(&self, init: &mut Init<'_>) -> Result<$name> {
                let cell: fn(&Self) -> Cell = $cell;
                let cell = cell(self);
                let (rows, draw) = (gates(cell) * self.hidden_size, draw(self.hidden_size));
                Ok($name {
                    weight_ih: init.param([rows, self.input_size], draw)?,
                    weight_hh: init.param([rows, self.hidden_size], draw)?,
                    bias_ih: if self.bias { Some(init.param([rows], draw)?) } else { None },
                    bias_hh: if self.bias { Some(init.param([rows], draw)?) } else { None },
                    cell,
                })
            }
        }

        impl $name {
            /// One step: `[batch, inputs]` or `[inputs]`, and the state before it, of `[batch, hidden]` or `[hidden]`; none is zeros.
            ///
            /// # Errors
            /// When the shapes do not go together.
            pub fn forward<const D: usize>(&self, input: Tensor<D>, state: Option<$state>) -> Result<$state> {
                let from: fn($state) -> Vec<Array> = $from;
                let to: fn(Vec<Array>) -> Result<$state> = $to;
                let x = Array::from_float(input);
                let zeros = || {
                    let mut shape = x.shape().to_vec();
                    if let Some(last) = shape.last_mut() {
                        *last = self.weight_hh.lazy_shape().dims::<2>()[1];
                    }
                    vec![Array::full(&shape, Number::Int(0), x.dtype(), &x.device()); $states]
                };
                let states = state.map_or_else(zeros, from);
                let (b_ih, b_hh) = (maybe(self.bias_ih.as_ref()), maybe(self.bias_hh.as_ref()));
                let weights = [&value(&self.weight_ih), &value(&self.weight_hh)];
                to(self.cell.single(&x, &states, weights, [b_ih.as_ref(), b_hh.as_ref()])?)
            }
        }
    )+ };
}

cells! {
    /// `torch.nn.LSTMCell`. Its states are `(h, c)`.
    LSTMCell, |_| Cell::Lstm, init_lstm, 2, (Tensor<D>, Tensor<D>), |(h, c)| vec![Array::from_float(h), Array::from_float(c)], both;
    /// `torch.nn.GRUCell`.
    GRUCell, |_| Cell::Gru, init_gru, 1, Tensor<D>, |h| vec![Array::from_float(h)], only;
    /// `torch.nn.RNNCell`, of tanh or `ReLU`.
    RNNCell, |config| if config.relu { Cell::Relu } else { Cell::Tanh }, init_rnn, 1, Tensor<D>, |h| vec![Array::from_float(h)], only;
}
