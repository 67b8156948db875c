//! Matrices: determinants, inverses, solutions, norms, and products of several.
//!
//! Determinants, inverses and Cholesky's factors are computed on the CPU in float64, with the gradient of first order.

use super::array::{Array, Kind, refused};
use super::autocast::full;
use super::index::signed;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// A square matrix, inverted: `None` where it has no inverse.
struct Inverted {
    inverse: Option<Vec<f64>>,
    determinant: f64,
    /// The logarithm of the determinant's size.
    log: f64,
}

/// Gauss and Jordan's elimination, with the largest pivot of each column.
fn inverted(matrix: &[f64], n: usize) -> Inverted {
    let mut left = matrix.to_vec();
    let mut right: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
    let (mut determinant, mut log) = (1.0, 0.0);
    for column in 0..n {
        let size = |row: &usize| left[row * n + column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        let value = left[pivot * n + column];
        determinant *= if pivot == column { value } else { -value };
        log += value.abs().ln();
        if value == 0.0 {
            return Inverted { inverse: None, determinant: 0.0, log: f64::NEG_INFINITY };
        }
        for at in 0..n {
            left.swap(pivot * n + at, column * n + at);
            right.swap(pivot * n + at, column * n + at);
        }
        for at in 0..n {
            left[column * n + at] /= value;
            right[column * n + at] /= value;
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = left[row * n + column];
            for at in 0..n {
                left[row * n + at] -= factor * left[column * n + at];
                right[row * n + at] -= factor * right[column * n + at];
            }
        }
    }
    Inverted { inverse: Some(right), determinant, log }
}

/// What the determinant changes by for each element: the determinants of what is left without its row and column.
fn cofactors(matrix: &[f64], n: usize) -> Vec<f64> {
    let without = |row: usize, column: usize| {
        let kept = (0..n * n).filter(|at| at / n != row && at % n != column);
        let minor: Vec<f64> = kept.map(|at| matrix[at]).collect();
        let sign = if (row + column).is_multiple_of(2) { 1.0 } else { -1.0 };
        sign * inverted(&minor, n - 1).determinant
    };
    (0..n * n).map(|at| without(at / n, at % n)).collect()
}

fn transposed(matrix: &[f64], n: usize) -> impl Iterator<Item = f64> + '_ {
    (0..n * n).map(move |at| matrix[(at % n) * n + at / n])
}

impl Array {
    /// The matrices as rows of float64, and their size.
    fn square(&self, operation: &str) -> Result<(Vec<Vec<f64>>, usize)> {
        let &[.., rows, columns] = self.shape() else { return Err(refused(operation, "it needs a matrix")) };
        if rows != columns || self.kind() != Kind::Float {
            return Err(refused(
                operation,
                format!("{:?} is no square matrix of floating-point numbers", self.shape()),
            ));
        }
        let elements = self.floats()?;
        Ok((elements.chunks((rows * rows).max(1)).map(<[f64]>::to_vec).collect(), rows))
    }

    fn like(&self, elements: &[f64], shape: &[usize]) -> Result<Self> {
        Array::from_floats(elements, shape, self.dtype(), &self.device())
    }

    /// `torch.linalg.det(self)`.
    ///
    /// # Errors
    /// When it is no square matrix.
    pub fn det(&self) -> Result<Self> {
        let (matrices, n) = self.square("det")?;
        let batch = &self.shape()[..self.rank() - 2];
        let (mut values, mut slopes) = (Vec::new(), Vec::new());
        for matrix in &matrices {
            let Inverted { inverse, determinant, .. } = inverted(matrix, n);
            values.push(determinant);
            match inverse {
                Some(inverse) => slopes.extend(transposed(&inverse, n).map(|x| x * determinant)),
                None => slopes.extend(cofactors(matrix, n)),
            }
        }
        if n == 0 {
            return Ok(Array::full(batch, Number::Int(1), self.dtype(), &self.device()));
        }
        let slopes = self.like(&slopes, self.shape())?;
        let value = self.like(&values, batch)?;
        self.first_order(&value, |change| change.mul(&slopes)?.sum(&[-2, -1], false))
    }

    /// `torch.linalg.slogdet(self)`: the determinant's sign, and the logarithm of its size.
    ///
    /// # Errors
    /// When it is no square matrix.
    pub fn slogdet(&self) -> Result<(Self, Self)> {
        let (matrices, n) = self.square("slogdet")?;
        let batch = &self.shape()[..self.rank() - 2];
        let (mut signs, mut logs, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
        for matrix in &matrices {
            let Inverted { inverse, determinant, log } = inverted(matrix, n);
            signs.push(if determinant == 0.0 { 0.0 } else { determinant.signum() });
            logs.push(log);
            match inverse {
                Some(inverse) => slopes.extend(transposed(&inverse, n)),
                None => slopes.extend(std::iter::repeat_n(f64::INFINITY, n * n)),
            }
        }
        if n == 0 {
            let full = |value: i64| Array::full(batch, Number::Int(value), self.dtype(), &self.device());
            return Ok((full(1), full(0)));
        }
        let slopes = self.like(&slopes, self.shape())?;
        let value = self.like(&logs, batch)?;
        let log = self.first_order(&value, |change| change.mul(&slopes)?.sum(&[-2, -1], false))?;
        Ok((self.like(&signs, batch)?, log))
    }

    /// `torch.logdet(self)`: NaN where the determinant is below 0.
    ///
    /// # Errors
    /// When it is no square matrix.
    pub fn logdet(&self) -> Result<Self> {
        let (sign, log) = self.slogdet()?;
        log.fill_where(&sign.lt(0.0)?, Number::Float(f64::NAN))
    }

    fn inverse_of(&self, operation: &str) -> Result<Self> {
        let (matrices, n) = self.square(operation)?;
        let mut inverses = Vec::with_capacity(self.numel());
        for matrix in &matrices {
            match inverted(matrix, n).inverse {
                Some(inverse) => inverses.extend(inverse),
                None => return Err(refused(operation, "a matrix is singular: it has no inverse")),
            }
        }
        self.like(&inverses, self.shape())
    }

    /// `torch.linalg.inv(self)`.
    ///
    /// # Errors
    /// When it is no square matrix, or has no inverse.
    pub fn inverse(&self) -> Result<Self> {
        full([self], None, |[x], _| {
            let inverse = x.inverse_of("inv")?;
            x.first_order(&inverse, |change| inverse.matmul(change)?.matmul(&inverse)?.negated())
        })
    }

    /// `torch.linalg.solve(self, other, left)`: the `x` for which `self @ x` (or `x @ self`) is the other.
    ///
    /// # Errors
    /// When the shapes do not go together, or this matrix has no inverse.
    pub fn solve(&self, other: &Array, left: bool) -> Result<Self> {
        full([self, other], None, |[x, other], _| x.solved(other, left))
    }

    fn solved(&self, other: &Array, left: bool) -> Result<Self> {
        if !left {
            return self.transpose(-2, -1)?.solve(&other.transpose(-2, -1)?, true)?.transpose(-2, -1);
        }
        let is_vector = other.rank() == 1
            || (other.rank() + 1 == self.rank() && Some(other.shape()) == self.shape().get(..self.rank() - 1));
        if is_vector {
            return self.solve(&other.unsqueeze(-1)?, true)?.squeeze(Some(&[-1]));
        }
        let inverse = self.inverse_of("solve")?;
        // In float64, so that the solution is as good as one by elimination.
        let wide = |x: &Array| x.detach().cast(burn::tensor::DType::F64);
        let exact = wide(self)?.inverse_of("solve")?;
        let x = exact.matmul(&wide(other)?)?.cast(self.dtype())?;
        let by_matrix = self.first_order(&x, |change| inverse.matmul(&change.matmul(&x)?)?.negated())?;
        let by_other = other.first_order(&x, |change| inverse.matmul(change))?;
        by_matrix.add(&by_other.sub(&x)?)
    }

    /// `torch.linalg.cholesky(self, upper)`: the triangle whose product with itself transposed this is.
    ///
    /// # Errors
    /// When it is no square matrix, or not positive definite.
    pub fn cholesky(&self, upper: bool) -> Result<Self> {
        full([self], None, |[x], _| x.cholesky_factor(upper))
    }

    fn cholesky_factor(&self, upper: bool) -> Result<Self> {
        let (matrices, n) = self.square("cholesky")?;
        let mut factors = Vec::with_capacity(self.numel());
        for matrix in &matrices {
            let mut factor = vec![0.0; n * n];
            for row in 0..n {
                for column in 0..=row {
                    let known = (0..column).map(|at| factor[row * n + at] * factor[column * n + at]).sum::<f64>();
                    let rest = matrix[row * n + column] - known;
                    factor[row * n + column] = match (row == column, rest > 0.0) {
                        (true, true) => rest.sqrt(),
                        (false, _) => rest / factor[column * n + column],
                        (true, false) => return Err(refused("cholesky", "a matrix is not positive definite")),
                    };
                }
            }
            factors.extend(factor);
        }
        let factor = self.like(&factors, self.shape())?;
        let inverse = factor.inverse_of("cholesky")?;
        let lower = self.first_order(&factor, |change| {
            let even = change.add(&change.transpose(-2, -1)?)?.mul(0.5)?;
            let inner = inverse.matmul(&even)?.matmul(&inverse.transpose(-2, -1)?)?;
            // The lower triangle, and half of the diagonal.
            factor.matmul(&inner.triangle(-1, true)?.add(&inner.triangle(0, true)?)?.mul(0.5)?)
        })?;
        if upper { lower.transpose(-2, -1) } else { Ok(lower) }
    }

    /// `torch.linalg.matrix_power(self, n)`.
    ///
    /// # Errors
    /// When it is no square matrix, or has no inverse where `n` is negative.
    pub fn matrix_power(&self, n: i64) -> Result<Self> {
        let &[.., rows, columns] = self.shape() else { return Err(refused("matrix_power", "it needs a matrix")) };
        if rows != columns {
            return Err(refused("matrix_power", format!("{:?} is no square matrix", self.shape())));
        }
        if n < 0 {
            return self.inverse()?.matrix_power(n.saturating_neg());
        }
        if n == 0 {
            let ones = Array::full(self.shape(), Number::Int(1), self.dtype(), &self.device());
            return ones.triangle(0, true)?.triangle(0, false);
        }
        let half = if n > 1 { Some(self.matrix_power(n / 2)?) } else { None };
        match half {
            None => Ok(self.clone()),
            Some(half) if n % 2 == 0 => half.matmul(&half),
            Some(half) => half.matmul(&half)?.matmul(self),
        }
    }

    /// `torch.linalg.multi_dot(arrays)`: the product of all; the first and the last may be vectors.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn multi_dot(arrays: &[Array]) -> Result<Self> {
        let (Some(first), rest) = (arrays.first(), arrays.get(1..).unwrap_or_default()) else {
            return Err(refused("multi_dot", "it needs a tensor"));
        };
        rest.iter().try_fold(first.clone(), |product, array| product.matmul(array))
    }

    /// `torch.kron(self, other)`: Kronecker's product.
    ///
    /// # Errors
    /// None at present.
    pub fn kron(&self, other: &Array) -> Result<Self> {
        let rank = self.rank().max(other.rank());
        let (a, b) = (self.lifted(rank)?, other.lifted(rank)?);
        let pairs = |x: &Array, first: bool| {
            let both = |&length: &usize| if first { [length, 1] } else { [1, length] };
            x.reshaped(&x.shape().iter().flat_map(both).collect::<Vec<_>>())
        };
        let shape: Vec<usize> = a.shape().iter().zip(b.shape()).map(|(a, b)| a * b).collect();
        pairs(&a, true)?.mul(&pairs(&b, false)?)?.reshaped(&shape)
    }

    /// `torch.linalg.cross(self, other, dim)`: of vectors of three numbers.
    ///
    /// # Errors
    /// When the shapes do not go together, or the dimension has not length 3.
    pub fn cross(&self, other: &Array, dim: i64) -> Result<Self> {
        let shape = super::broadcast_shape(self.shape(), other.shape())?;
        let (a, b) = (self.expanded(&shape)?, other.expanded(&shape)?);
        if shape.get(a.dim(dim)?) != Some(&3) {
            return Err(refused("cross", format!("dimension {dim} of {shape:?} has not length 3")));
        }
        let turned = |x: &Array, by: i64| x.roll(&[-by], &[dim]);
        turned(&a, 1)?.mul(&turned(&b, 2)?)?.sub(&turned(&a, 2)?.mul(&turned(&b, 1)?)?)
    }

    /// `torch.tensordot(self, other, (own, others))`: summed over these dimensions of both.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn tensordot(&self, other: &Array, own: &[i64], others: &[i64]) -> Result<Self> {
        let places = |x: &Array, dims: &[i64]| dims.iter().map(|&dim| x.dim(dim)).collect::<Result<Vec<usize>>>();
        let (own, others) = (places(self, own)?, places(other, others)?);
        let rest = |x: &Array, dims: &[usize]| (0..x.rank()).filter(|dim| !dims.contains(dim)).collect::<Vec<_>>();
        let (rows, columns) = (rest(self, &own), rest(other, &others));
        let lengths = |x: &Array, dims: &[usize]| dims.iter().map(|&dim| x.shape()[dim]).collect::<Vec<usize>>();
        let size = |lengths: &[usize]| lengths.iter().product::<usize>();
        // Where one of the two has length 1, the other is summed.
        let (mut a, mut b) = (self.clone(), other.clone());
        for (&one, &two) in own.iter().zip(&others) {
            match (a.shape()[one], b.shape()[two]) {
                (x, y) if x == y => {}
                (1, _) => b = b.sum(&[signed(two)], true)?,
                (_, 1) => a = a.sum(&[signed(one)], true)?,
                _ => return Err(refused("tensordot", format!("{:?} and {:?}", self.shape(), other.shape()))),
            }
        }
        let inner = size(&lengths(&a, &own));
        let mut shape = lengths(&a, &rows);
        let left = a.permuted(&[&*rows, &*own].concat()).reshaped(&[size(&shape), inner])?;
        let outer = lengths(&b, &columns);
        let right = b.permuted(&[&*others, &*columns].concat()).reshaped(&[inner, size(&outer)])?;
        shape.extend(outer);
        left.matmul(&right)?.reshaped(&shape)
    }

    /// `torch.block_diag(*arrays)`.
    ///
    /// # Errors
    /// When one has more than two dimensions.
    pub fn block_diag(arrays: &[Array]) -> Result<Self> {
        let blocks = arrays.iter().map(|array| array.lifted(2)).collect::<Result<Vec<_>>>()?;
        let width = |block: &Array| signed(block.shape()[1]);
        if let Some(block) = blocks.iter().find(|block| block.rank() != 2) {
            return Err(refused("block_diag", format!("{:?} is no matrix", block.shape())));
        }
        let whole: i64 = blocks.iter().map(width).sum();
        let mut before = 0;
        let mut rows = Vec::with_capacity(blocks.len());
        for block in &blocks {
            let pad = [before, whole - before - width(block)];
            rows.push(block.pad(&pad, super::Padding::Constant(Number::Int(0)))?);
            before += width(block);
        }
        Array::cat(&rows, 0)
    }

    /// `torch.linalg.matrix_norm(self, ord, dims, keepdim)`, of orders 1, -1, `inf`, `-inf`; without an order Frobenius'.
    ///
    /// # Errors
    /// For orders that need singular values (2, -2, nuclear), and when there are no such dimensions.
    pub fn matrix_norm(&self, ord: Option<f64>, dims: &[i64], keepdim: bool) -> Result<Self> {
        let &[rows, columns] = dims else { return Err(refused("matrix_norm", "it needs two dimensions")) };
        let (rows, columns) = (signed(self.dim(rows)?), signed(self.dim(columns)?));
        let Some(ord) = ord else { return self.vector_norm(2.0, &[rows, columns], keepdim) };
        let (summed, rest) = match ord.abs() {
            1.0 => (rows, columns),
            f64::INFINITY => (columns, rows),
            _ => {
                return Err(refused(
                    "matrix_norm",
                    format!("order {ord} needs singular values, which are not supported"),
                ));
            }
        };
        let sums = self.unary(Unary::Abs)?.sum(&[summed], true)?;
        let norm = if ord > 0.0 { sums.amax(&[rest], true)? } else { sums.amin(&[rest], true)? };
        if keepdim { Ok(norm) } else { norm.squeeze(Some(&[rows, columns])) }
    }

    /// `torch.renorm(self, p, dim, maxnorm)`: each part along a dimension is shortened to this norm.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn renorm(&self, p: f64, dim: i64, maxnorm: f64) -> Result<Self> {
        let at = self.dim(dim)?;
        let over: Vec<i64> = (0..self.rank()).filter(|&other| other != at).map(signed).collect();
        let norm = self.vector_norm(p, &over, true)?;
        let long = norm.gt(maxnorm)?;
        let factor = norm.add(1e-7)?.divides(maxnorm)?;
        self.mul(&super::select(&long, &factor, &norm.detach().mul(0.0)?.add(1.0)?)?)
    }

    /// Each vector of the last dimension, shortened to `max` where its `p`-norm is greater: the rows that `max_norm` of an embedding gives.
    ///
    /// # Errors
    /// For a tensor without dimensions.
    pub fn shortened(&self, max: f64, p: f64) -> Result<Self> {
        let norm = self.vector_norm(p, &[-1], true)?;
        let factor = norm.add(1e-7)?.divides(max)?;
        self.mul(&super::select(&norm.gt(max)?, &factor, 1.0)?)
    }

    /// `torch.embedding_renorm_(self, index, max, p)`: this matrix with the rows that are named [`shortened`](Self::shortened).
    ///
    /// # Errors
    /// When a number has no row, or the device does not give them.
    pub fn embedding_renorm(&self, index: &Array, max: f64, p: f64) -> Result<Self> {
        let rows = self.shape().first().copied().unwrap_or(0);
        let mut seen = vec![false; rows];
        for number in index.ints()? {
            let place = usize::try_from(number).ok().and_then(|at| seen.get_mut(at));
            *place.ok_or_else(|| refused("embedding", format!("there is no row {number} of {rows}")))? = true;
        }
        let seen = Array::from_bools(&seen, &[rows, 1], &self.device())?;
        super::select(&seen, &self.shortened(max, p)?, self)
    }
}
