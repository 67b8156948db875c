//! Recurrent layers: LSTM, GRU and the plain ones, stacked and in both directions.

use burn::tensor::{DType, FloatDType};
use rekindle_random::Generator;

use super::array::{Array, refused};
use super::autocast::{autocast, cast_eligible, region};
use super::broadcast::select;
use super::cpu::{Lstm, computed};
use super::device::is_on_cpu;
use super::index::signed;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// What a step of a recurrent layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gates i, f, g, o; a state beside the output.
    Lstm,
    /// Gates r, z, n with `n = tanh(W x + b + r (U h + c))`.
    Gru,
    /// `tanh(W x + b + U h + c)`.
    Tanh,
    /// `relu(W x + b + U h + c)`.
    Relu,
}

/// How layers are stacked.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is one of PyTorch's
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// Whether there are biases.
    pub biases: bool,
    /// How many layers.
    pub layers: usize,
    /// What is dropped between layers, in training.
    pub dropout: f64,
    /// Whether dropout drops.
    pub train: bool,
    /// Whether each layer also goes backwards.
    pub bidirectional: bool,
    /// Whether the input is `[batch, length, ...]`, not `[length, batch, ...]`.
    pub batch_first: bool,
}

/// The weights of one layer in one direction.
struct Weights<'a> {
    input: &'a Array,
    hidden: &'a Array,
    input_bias: Option<&'a Array>,
    hidden_bias: Option<&'a Array>,
    projection: Option<&'a Array>,
}

impl Recurrent {
    /// Runs the layers over a sequence: the outputs, and the last states (one, or two of an LSTM), each
    /// `[layers * directions, batch, width]`. Weights come per layer and direction: input, hidden, then biases, then a
    /// projection where `states` show that there is one.
    ///
    /// # Errors
    /// When the shapes do not go together, or the number of weights is another.
    pub fn run(
        &self,
        input: &Array,
        states: &[Array],
        weights: &[Array],
        generator: &mut Generator,
    ) -> Result<(Array, Vec<Array>)> {
        self.run_until(input, None, states, weights, generator)
    }

    /// As [`run`](Self::run), over sequences of these lengths, one for each of the batch: what `pack_padded_sequence`, the layers
    /// and `pad_packed_sequence` give. The outputs are as long as the longest, and 0 behind the end of a sequence.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when a length is 0, or more than there is.
    pub fn run_lengths(
        &self,
        input: &Array,
        lengths: &[usize],
        states: &[Array],
        weights: &[Array],
        generator: &mut Generator,
    ) -> Result<(Array, Vec<Array>)> {
        let batch_first = usize::from(self.batch_first);
        let there = (input.shape().get(1 - batch_first), input.shape().get(batch_first));
        let (Some(&batch), Some(&time)) = there else {
            return Err(refused("a recurrent layer", "sequences of several lengths have a batch"));
        };
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if input.rank() != 3 || lengths.len() != batch || longest > time || lengths.contains(&0) {
            let reason = format!("lengths of {lengths:?} are no lengths of {batch} sequences of 1 to {time}");
            return Err(refused("a recurrent layer", reason));
        }
        let input = input.narrow(i64::from(self.batch_first), 0, signed(longest))?;
        self.run_until(&input, Some(lengths), states, weights, generator)
    }

    fn run_until(
        &self,
        input: &Array,
        lengths: Option<&[usize]>,
        states: &[Array],
        weights: &[Array],
        generator: &mut Generator,
    ) -> Result<(Array, Vec<Array>)> {
        let plain = if self.biases { 4 } else { 2 };
        let slots = self.layers * if self.bidirectional { 2 } else { 1 };
        // PyTorch's CPU has an LSTM of its own for bfloat16: only what it gives, and takes back, is rounded.
        if self.cell == Cell::Lstm
            && region() == Some(FloatDType::BF16)
            && lengths.is_none()
            && weights.len() == slots * plain
            && is_on_cpu(input)
        {
            let wide = |x: &Array| cast_eligible(&cast_eligible(x, DType::BF16)?, DType::F32);
            let all = |arrays: &[Array]| arrays.iter().map(wide).collect::<Result<Vec<_>>>();
            let (input, states, weights) = (wide(input)?, all(states)?, all(weights)?);
            let run = || self.layered(&input, None, &states, &weights, Some(DType::BF16), generator);
            let (output, last) = autocast(None, run)?;
            let last = last.iter().map(|state| cast_eligible(state, DType::BF16)).collect::<Result<_>>()?;
            return Ok((cast_eligible(&output, DType::BF16)?, last));
        }
        // Within autocast weights are cast once, not at every step: what their gradients add up to has the region's type.
        let cast = |weight: &Array| region().map_or(Ok(weight.clone()), |dtype| cast_eligible(weight, dtype.into()));
        let weights = weights.iter().map(cast).collect::<Result<Vec<_>>>()?;
        self.layered(input, lengths, states, &weights, None, generator)
    }

    /// All layers. What a step gives is rounded to this type before the next one takes it.
    fn layered(
        &self,
        input: &Array,
        lengths: Option<&[usize]>,
        states: &[Array],
        weights: &[Array],
        rounded: Option<DType>,
        generator: &mut Generator,
    ) -> Result<(Array, Vec<Array>)> {
        let directions = if self.bidirectional { 2 } else { 1 };
        let slots = self.layers * directions;
        let each = weights.len() / slots.max(1);
        let plain = if self.biases { 4 } else { 2 };
        let projected = each == plain + 1;
        if slots == 0 || each * slots != weights.len() || !(each == plain || projected) {
            return Err(refused(
                "a recurrent layer",
                format!("{} weights do not make up {slots} layers", weights.len()),
            ));
        }
        let unbatched = input.rank() == 2;
        let batched = |x: &Array, dim: i64| if unbatched { x.unsqueeze(dim) } else { Ok(x.clone()) };
        let mut x = batched(input, i64::from(!self.batch_first))?;
        let states: Vec<Array> = states.iter().map(|state| batched(state, 1)).collect::<Result<_>>()?;
        if self.batch_first {
            x = x.transpose(0, 1)?;
        }
        if x.rank() != 3 || states.is_empty() || states.iter().any(|state| state.shape().first() != Some(&slots)) {
            return Err(refused(
                "a recurrent layer",
                format!("an input of {:?} does not fit its states", input.shape()),
            ));
        }
        let ends = lengths.map(|lengths| Ends::of(lengths, x.shape()[0], &x)).transpose()?;
        let mut last: Vec<Vec<Array>> = vec![Vec::new(); states.len()];
        for layer in 0..self.layers {
            if layer > 0 && self.train && self.dropout > 0.0 {
                x = match &ends {
                    Some(ends) => ends.dropped(&x, self.dropout, generator)?,
                    None => x.dropout(self.dropout, generator)?,
                };
            }
            let mut outputs = Vec::new();
            for direction in 0..directions {
                let slot = layer * directions + direction;
                let rows = &weights[slot * each..(slot + 1) * each];
                let weights = Weights {
                    input: &rows[0],
                    hidden: &rows[1],
                    input_bias: self.biases.then(|| &rows[2]),
                    hidden_bias: self.biases.then(|| &rows[3]),
                    projection: projected.then(|| &rows[each - 1]),
                };
                let begin = states.iter().map(|state| state.select(0, signed(slot))).collect::<Result<Vec<_>>>()?;
                let (output, end) = self.pass(&x, begin, &weights, direction == 1, ends.as_ref(), rounded)?;
                outputs.push(output);
                end.into_iter().zip(&mut last).for_each(|(state, last)| last.push(state));
            }
            x = Array::cat(&outputs, -1)?;
        }
        if self.batch_first {
            x = x.transpose(0, 1)?;
        }
        let single = |x: Array, dim: i64| if unbatched { x.squeeze(Some(&[dim])) } else { Ok(x) };
        let x = single(x, i64::from(!self.batch_first))?;
        let last = last.iter().map(|states| single(Array::stack(states, 0)?, 1)).collect::<Result<_>>()?;
        Ok((x, last))
    }

    /// One layer in one direction.
    fn pass(
        &self,
        x: &Array,
        mut state: Vec<Array>,
        weights: &Weights<'_>,
        backwards: bool,
        ends: Option<&Ends>,
        rounded: Option<DType>,
    ) -> Result<(Array, Vec<Array>)> {
        // The inputs of all steps at once.
        let inputs = x.linear(weights.input, weights.input_bias)?;
        if self.cell == Cell::Lstm
            && ends.is_none()
            && let Some(passed) = weights.lstm(&inputs, &state, backwards)?
        {
            return Ok(passed);
        }
        let inputs = inputs.unbind(0)?;
        let mut outputs = Vec::with_capacity(inputs.len());
        let steps = inputs.iter().enumerate();
        let order: Vec<(usize, &Array)> = if backwards { steps.rev().collect() } else { steps.collect() };
        for (time, input) in order {
            let mut next = self.cell.step(input, &state, weights)?;
            if let (Some(dtype), Some(output)) = (rounded, next.first_mut()) {
                *output = output.cast(dtype)?.cast(output.dtype())?;
            }
            let Some(ends) = ends else {
                state = next;
                outputs.push(state[0].clone());
                continue;
            };
            // Behind its end a sequence keeps its state, and gives nothing.
            let goes_on = &ends.goes_on[time];
            let kept = next.iter().zip(&state).map(|(next, before)| select(goes_on, next, before));
            state = kept.collect::<Result<_>>()?;
            outputs.push(select(goes_on, &state[0], &state[0].zeros_like())?);
        }
        if backwards {
            outputs.reverse();
        }
        Ok((Array::stack(&outputs, 0)?, state))
    }
}

impl Weights<'_> {
    /// A whole pass of an LSTM by an operator of our own, where it serves.
    fn lstm(&self, inputs: &Array, state: &[Array], backwards: bool) -> Result<Option<(Array, Vec<Array>)>> {
        let ([h, c], &[times, batch, gates]) = (state, inputs.shape()) else { return Ok(None) };
        let wide = [batch, gates / 4];
        let fits = self.projection.is_none()
            && self.hidden.shape() == [gates, gates / 4]
            && h.shape() == wide
            && c.shape() == wide
            && self.hidden_bias.is_none_or(|bias| bias.shape() == [gates]);
        let given: Vec<&Array> =
            [Some(inputs), Some(h), Some(c), Some(self.hidden), self.hidden_bias].into_iter().flatten().collect();
        let Some(y) = fits.then(|| computed(Lstm { backwards }, &given)).flatten() else { return Ok(None) };
        let y = Array::of(y);
        let last = y.select(0, if backwards { 0 } else { signed(times) - 1 })?;
        Ok(Some((y.narrow(0, 0, signed(times))?, vec![last, y.select(0, signed(times))?])))
    }
}

/// Where sequences of several lengths end.
struct Ends {
    /// For each time, which of the batch go on: `[batch, 1]`.
    goes_on: Vec<Array>,
    /// Where each element of PyTorch's packed data stands in `[time * batch]`: time by time, the longest sequence first.
    packed: Array,
    /// Where each of `[time * batch]` stands in the packed data, or behind it.
    unpacked: Array,
}

impl Ends {
    fn of(lengths: &[usize], times: usize, like: &Array) -> Result<Self> {
        let (device, batch) = (like.device(), lengths.len());
        let at = |time: usize| {
            let goes_on: Vec<bool> = lengths.iter().map(|&length| time < length).collect();
            Array::from_bools(&goes_on, &[batch, 1], &device)
        };
        let mut longest_first: Vec<usize> = (0..batch).collect();
        longest_first.sort_by_key(|&at| std::cmp::Reverse(lengths[at]));
        let rows = (0..times).flat_map(|time| longest_first.iter().map(move |&at| (time, at)));
        let packed: Vec<usize> =
            rows.filter(|&(time, at)| time < lengths[at]).map(|(time, at)| time * batch + at).collect();
        let mut unpacked = vec![packed.len(); times * batch];
        packed.iter().enumerate().for_each(|(place, &row)| unpacked[row] = place);
        let array = |places: &[usize]| {
            let places: Vec<i64> = places.iter().copied().map(signed).collect();
            Array::from_ints(&places, &[places.len()], &device)
        };
        let goes_on = (0..times).map(at).collect::<Result<_>>()?;
        Ok(Ends { goes_on, packed: array(&packed)?, unpacked: array(&unpacked)? })
    }

    /// Dropout of the packed data.
    fn dropped(&self, x: &Array, p: f64, generator: &mut Generator) -> Result<Array> {
        let &[times, batch, width] = x.shape() else { return Ok(x.clone()) };
        let rows = x.reshaped(&[times * batch, width])?.taken(0, &self.packed)?;
        let nothing = Array::full(&[1, width], Number::Int(0), x.dtype(), &x.device());
        let dropped = Array::cat(&[rows.dropout(p, generator)?, nothing], 0)?;
        dropped.taken(0, &self.unpacked)?.reshaped(&[times, batch, width])
    }
}

impl Cell {
    /// One step of a cell of its own (`torch.lstm_cell`, `gru_cell`, ...): the new states.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn single(
        self,
        x: &Array,
        state: &[Array],
        weights: [&Array; 2],
        biases: [Option<&Array>; 2],
    ) -> Result<Vec<Array>> {
        let [input, hidden] = weights;
        let [input_bias, hidden_bias] = biases;
        let weights = Weights { input, hidden, input_bias, hidden_bias, projection: None };
        self.step(&x.linear(input, input_bias)?, state, &weights)
    }

    fn step(self, input: &Array, state: &[Array], weights: &Weights<'_>) -> Result<Vec<Array>> {
        let Some(before) = state.first() else { return Err(refused("a recurrent layer", "it needs a state")) };
        let hidden = before.linear(weights.hidden, weights.hidden_bias)?;
        match self {
            Cell::Tanh => Ok(vec![input.add(&hidden)?.unary(Unary::Tanh)?]),
            Cell::Relu => Ok(vec![input.add(&hidden)?.relu()?]),
            Cell::Gru => {
                let [(r, hr), (z, hz), (n, hn)] =
                    [0, 1, 2].map(|gate| (gate_of(input, 3, gate), gate_of(&hidden, 3, gate)));
                let r = r?.add(&hr?)?.sigmoid()?;
                let z = z?.add(&hz?)?.sigmoid()?;
                let n = n?.add(&r.mul(&hn?)?)?.unary(Unary::Tanh)?;
                Ok(vec![before.sub(&n)?.mul(&z)?.add(&n)?])
            }
            Cell::Lstm => {
                let Some(memory) = state.get(1) else { return Err(refused("an LSTM", "it needs two states")) };
                let gates = input.add(&hidden)?;
                let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gate_of(&gates, 4, gate));
                let (i, f, o) = (i?.sigmoid()?, f?.sigmoid()?, o?.sigmoid()?);
                let memory = f.mul(memory)?.add(&i.mul(&g?.unary(Unary::Tanh)?)?)?;
                let mut output = o.mul(&memory.unary(Unary::Tanh)?)?;
                if let Some(projection) = weights.projection {
                    output = output.linear(projection, None)?;
                }
                Ok(vec![output, memory])
            }
        }
    }
}

/// One of the parts of the last dimension.
fn gate_of(gates: &Array, parts: usize, index: usize) -> Result<Array> {
    let width = gates.shape().last().copied().unwrap_or(0) / parts;
    gates.narrow(-1, signed(index * width), signed(width))
}
