//! Products of matrices: `matmul`, `linear` and those with something added.

use burn::backend::Dispatch;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};

use burn::tensor::DType;

use super::array::{Array, Kind, refused};
use super::autocast::lower;
use super::broadcast::broadcast_shape;
use super::cpu::{Linear, Matmul, computed, pays};
use super::number::{Number, promoted};
use crate::Result;

impl Array {
    /// `torch.matmul(self, other)`: vectors, matrices and batches of them. Of 16-bit numbers it is computed in float32 on the CPU, and
    /// rounded once, as PyTorch does; so with all products.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn matmul(&self, other: &Array) -> Result<Self> {
        lower([self, other], None, |[one, other], _| one.multiplied(other))
    }

    fn multiplied(&self, other: &Array) -> Result<Self> {
        let mismatch = || refused("matmul", format!("{:?} and {:?} do not go together", self.shape(), other.shape()));
        if self.rank() == 0 || other.rank() == 0 {
            return Err(mismatch());
        }
        let dtype = promoted(self.dtype(), other.dtype());
        let (a, b) = (self.cast(dtype)?, other.cast(dtype)?);
        let a = if a.rank() == 1 { a.unsqueeze(0)? } else { a };
        let b = if b.rank() == 1 { b.unsqueeze(1)? } else { b };
        let (&[.., rows, inner], &[.., other_inner, columns]) = (a.shape(), b.shape()) else { return Err(mismatch()) };
        if inner != other_inner {
            return Err(mismatch());
        }
        let batch = broadcast_shape(&a.shape()[..a.rank() - 2], &b.shape()[..b.rank() - 2])?;
        let mut shape = batch.clone();
        shape.extend([rows, columns]);
        let product = if shape.contains(&0) || inner == 0 {
            Array::nothing(&shape, dtype, &[&a, &b])
        } else if b.rank() == 2 && a.rank() > 2 {
            // One matrix for the whole batch: its rows one under the other.
            let flat = a.reshaped(&[a.numel() / inner, inner])?;
            flat.product(&b)?.reshaped(&shape)?
        } else {
            a.lifted(shape.len())?.product(&b.lifted(shape.len())?)?
        };
        let mut shape = batch;
        shape.extend((self.rank() > 1).then_some(rows));
        shape.extend((other.rank() > 1).then_some(columns));
        product.reshaped(&shape)
    }

    fn product(&self, other: &Array) -> Result<Self> {
        let (one, two) = (self.shape(), other.shape());
        if one[..one.len() - 2] == two[..two.len() - 2]
            && pays(self.numel() * two[two.len() - 1], Linear::least(one[one.len() - 2]))
            && let Some(product) = computed(Matmul, &[self, other])
        {
            return Ok(Array::of(product));
        }
        Ok(Array::of(match self.kind() {
            Kind::Float => Dispatch::float_matmul(self.prim(), other.prim()),
            Kind::Int if self.dtype() != DType::I64 => {
                return self.cast(DType::I64)?.product(&other.cast(DType::I64)?)?.cast(self.dtype());
            }
            Kind::Int => Dispatch::int_matmul(self.prim(), other.prim()),
            Kind::Bool => return Err(refused("matmul", "it is not for truth values")),
        }))
    }

    /// `torch.nn.functional.linear(self, weight, bias)`: the weight is `[out, in]`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn linear(&self, weight: &Array, bias: Option<&Array>) -> Result<Self> {
        lower([self, weight], bias, |[x, weight], bias| {
            if let (&[outputs, inputs], Some(&length)) = (weight.shape(), x.shape().last())
                && inputs == length
                && pays(x.numel() * outputs, Linear::least(x.numel() / inputs.max(1)))
                && bias.is_none_or(|bias| bias.shape() == [outputs])
                && let Some(y) =
                    computed(Linear, &[Some(x), Some(weight), bias].into_iter().flatten().collect::<Vec<_>>())
            {
                let shape = [&x.shape()[..x.rank() - 1], &[outputs]].concat();
                return Ok(Array::new(y, &shape));
            }
            let weight = if weight.rank() == 2 { weight.transpose(0, 1)? } else { weight.clone() };
            let product = x.matmul(&weight)?;
            match bias {
                Some(bias) => product.add(bias),
                None => Ok(product),
            }
        })
    }

    /// `beta * self + alpha * (a @ b)`: `torch.addmm`, `baddbmm`, `addmv`; with `beta` 0 this tensor does not count at all.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn add_product(&self, a: &Array, b: &Array, beta: Number, alpha: Number) -> Result<Self> {
        lower([self, a, b], None, |[x, a, b], _| x.product_added(a, b, beta, alpha))
    }

    fn product_added(&self, a: &Array, b: &Array, beta: Number, alpha: Number) -> Result<Self> {
        let scaled = |x: Array, factor: Number| {
            let factor = if x.kind() == Kind::Int { Number::Int(factor.int()) } else { factor };
            if factor.float() == 1.0 { Ok(x) } else { x.mul(super::Operand::Number(factor)) }
        };
        let product = scaled(a.matmul(b)?, alpha)?;
        if beta.float() == 0.0 { Ok(product) } else { scaled(self.clone(), beta)?.add(&product) }
    }

    /// `torch.einsum(equation, operands)`.
    ///
    /// # Errors
    /// When the equation does not fit the operands.
    pub fn einsum(equation: &str, operands: &[Array]) -> Result<Self> {
        let plan = Einsum::read(equation, operands)?;
        let mut result: Option<Array> = None;
        for (index, operand) in operands.iter().enumerate() {
            let aligned = plan.aligned(index, operand)?;
            result = Some(match result {
                None => aligned,
                // What no later operand and not the result has is summed at once, as a product of matrices.
                Some(left) => plan.contracted(&left, &aligned, index)?,
            });
        }
        let result = result.ok_or_else(|| refused("einsum", "it needs an operand"))?;
        plan.finished(&result)
    }
}

/// An equation: every operand is brought to all labels, in one order, with length 1 where it lacks one.
struct Einsum {
    /// For each operand its labels; a label of an ellipsis is a number below 256 that no letter has.
    inputs: Vec<Vec<u32>>,
    output: Vec<u32>,
    /// All labels: those of the output, then those that are summed over.
    labels: Vec<u32>,
}

impl Einsum {
    fn read(equation: &str, operands: &[Array]) -> Result<Self> {
        let wrong = || refused("einsum", format!("'{equation}' does not fit its operands"));
        let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = equation.split_once("->").map_or((&*equation, None), |(left, right)| (left, Some(right)));
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != operands.len() {
            return Err(wrong());
        }
        let letters = |term: &str| term.chars().filter(|c| *c != '.').count();
        let extra =
            |term: &str, rank: usize| if term.contains("...") { rank.checked_sub(letters(term)) } else { Some(0) };
        let extras: Vec<usize> = terms
            .iter()
            .zip(operands)
            .map(|(term, operand)| extra(term, operand.rank()).ok_or_else(wrong))
            .collect::<Result<_>>()?;
        let widest = extras.iter().copied().max().unwrap_or(0);
        // The dimensions of an ellipsis are counted from its end.
        let spell = |term: &str, count: usize| -> Vec<u32> {
            let numbers = (widest - count..widest).map(|number| u32::try_from(number).unwrap_or(0));
            match term.split_once("...") {
                Some((before, after)) => {
                    before.chars().map(u32::from).chain(numbers).chain(after.chars().map(u32::from)).collect()
                }
                None => term.chars().map(u32::from).collect(),
            }
        };
        let inputs: Vec<Vec<u32>> = terms.iter().zip(&extras).map(|(term, &count)| spell(term, count)).collect();
        if inputs.iter().zip(operands).any(|(labels, operand)| labels.len() != operand.rank()) {
            return Err(wrong());
        }
        let all = || inputs.iter().flatten().copied();
        let output = match right {
            Some(right) => spell(right, widest),
            None => {
                let mut once: Vec<u32> =
                    all().filter(|label| all().filter(|other| other == label).count() == 1).collect();
                let numbers = (0..widest).map(|number| u32::try_from(number).unwrap_or(0));
                once.retain(|label| *label >= u32::from('A'));
                once.sort_unstable();
                numbers.chain(once).collect()
            }
        };
        let mut labels = output.clone();
        for label in all() {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        Ok(Einsum { inputs, output, labels })
    }

    /// The operand with all labels as dimensions, in order.
    fn aligned(&self, index: usize, operand: &Array) -> Result<Array> {
        let mut labels = self.inputs[index].clone();
        let mut x = operand.clone();
        // A label that comes twice in one operand is its diagonal.
        while let Some((one, other)) = repeated(&labels) {
            x = x.diagonal(0, super::index::signed(one), super::index::signed(other))?;
            let label = labels.remove(other);
            labels.remove(one);
            labels.push(label);
        }
        let order: Vec<usize> =
            self.labels.iter().filter_map(|label| labels.iter().position(|own| own == label)).collect();
        let x = x.permuted(&order);
        let mut lengths = x.shape().iter();
        let length = |label: &u32| if labels.contains(label) { lengths.next().copied().unwrap_or(1) } else { 1 };
        let shape: Vec<usize> = self.labels.iter().map(length).collect();
        x.reshaped(&shape)
    }

    /// The product of what there is so far and the operand: labels that end here and that both have are summed over.
    fn contracted(&self, left: &Array, right: &Array, index: usize) -> Result<Array> {
        let later = |label: &u32| self.inputs[index + 1..].iter().any(|labels| labels.contains(label));
        let is_long = |x: &Array, dim: usize| x.shape()[dim] > 1;
        let role = |dim: usize| {
            let ends = !self.output.contains(&self.labels[dim]) && !later(&self.labels[dim]);
            match (is_long(left, dim), is_long(right, dim)) {
                (true, true) if ends => 'k',
                (true, false) => 'm',
                (false, true) => 'n',
                _ => 'b',
            }
        };
        let dims = |wanted: char| (0..self.labels.len()).filter(|&dim| role(dim) == wanted).collect::<Vec<usize>>();
        let (batch, rows, inner, columns) = (dims('b'), dims('m'), dims('k'), dims('n'));
        let shape = broadcast_shape(left.shape(), right.shape())?;
        let lengths = |dims: &[usize]| dims.iter().map(|&dim| shape[dim]).product::<usize>();
        let sizes = |dims: &[usize]| dims.iter().map(|&dim| shape[dim]).collect::<Vec<usize>>();
        let arranged = |x: &Array, first: &[usize], second: &[usize], absent: &[usize]| {
            // Along the batch, a length of 1 is repeated; what the operand lacks goes to the end.
            let mut wide = x.shape().to_vec();
            batch.iter().for_each(|&dim| wide[dim] = shape[dim]);
            let order: Vec<usize> = [&batch, first, second, absent].concat();
            x.expanded(&wide)?.permuted(&order).reshaped(&[lengths(&batch), lengths(first), lengths(second)])
        };
        let a = arranged(left, &rows, &inner, &columns)?;
        let b = arranged(right, &inner, &columns, &rows)?;
        let product = a.matmul(&b)?;
        let mut out = sizes(&batch);
        out.extend(sizes(&rows));
        out.extend(sizes(&columns));
        out.extend(vec![1; inner.len()]);
        let order: Vec<usize> = [&*batch, &*rows, &*columns, &*inner].concat();
        Ok(product.reshaped(&out)?.permuted(&super::index::inverse(&order)))
    }

    /// Without the labels that the output lacks.
    fn finished(&self, x: &Array) -> Result<Array> {
        let summed: Vec<i64> = (self.output.len()..self.labels.len()).map(super::index::signed).collect();
        if summed.is_empty() { Ok(x.clone()) } else { x.sum(&summed, false) }
    }
}

/// Two places with one label.
fn repeated(labels: &[u32]) -> Option<(usize, usize)> {
    let pair = |other: usize| labels[..other].iter().position(|label| *label == labels[other]).map(|one| (one, other));
    (0..labels.len()).find_map(pair)
}
