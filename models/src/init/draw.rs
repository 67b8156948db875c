//! What first weights are drawn from, element by element as `torch.nn.init` draws them.

use rekindle_random::{Generator, normal_, randperm, trunc_normal_, uniform_};

use super::{orthogonal, refused};
use crate::Result;

/// Which of a weight's connections are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// Those that go into an output: `mode='fan_in'`.
    #[default]
    In,
    /// Those that an input goes to: `mode='fan_out'`.
    Out,
}

/// What follows a layer, which decides how large its weights begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, a convolution, or a sigmoid.
    Linear,
    /// `tanh`.
    Tanh,
    /// `relu`.
    Relu,
    /// `leaky_relu` with this slope; PyTorch's default is 0.01 for `calculate_gain`, 0 for `kaiming_*`.
    LeakyRelu(f64),
    /// `selu`.
    Selu,
}

impl Nonlinearity {
    /// `nn.init.calculate_gain(nonlinearity)`.
    ///
    /// ```
    /// use rekindle_models::init::Nonlinearity;
    ///
    /// assert_eq!(Nonlinearity::Relu.gain(), 2.0_f64.sqrt());
    /// ```
    #[must_use]
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu => 2.0_f64.sqrt(),
            Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Nonlinearity::Selu => 3.0 / 4.0,
        }
    }
}

/// How the elements of a parameter come about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Draw {
    Uniform {
        a: f64,
        b: f64,
    },
    Normal {
        mean: f64,
        std: f64,
    },
    /// An embedding's: normal, with this row 0.
    Rows {
        padding: Option<usize>,
        std: f64,
    },
    TruncNormal {
        mean: f64,
        std: f64,
        a: f64,
        b: f64,
    },
    Constant(f64),
    Eye,
    Dirac {
        groups: usize,
    },
    Orthogonal {
        gain: f64,
    },
    Sparse {
        sparsity: f64,
        std: f64,
    },
}

/// A weight's connections into an output and out of an input.
pub(super) fn fans(shape: &[usize]) -> Result<(f64, f64)> {
    let &[outputs, inputs, ref field @ ..] = shape else {
        return Err(refused(
            "init",
            format!("a tensor of {shape:?} has no fan in and fan out: it needs two dimensions"),
        ));
    };
    let field: usize = field.iter().product();
    Ok((float(inputs * field), float(outputs * field)))
}

impl Draw {
    pub(crate) fn xavier_uniform(shape: &[usize], gain: f64) -> Result<Self> {
        let (inputs, outputs) = fans(shape)?;
        let bound = 3.0_f64.sqrt() * (gain * (2.0 / (inputs + outputs)).sqrt());
        Ok(Draw::Uniform { a: -bound, b: bound })
    }

    pub(crate) fn xavier_normal(shape: &[usize], gain: f64) -> Result<Self> {
        let (inputs, outputs) = fans(shape)?;
        Ok(Draw::Normal { mean: 0.0, std: gain * (2.0 / (inputs + outputs)).sqrt() })
    }

    pub(crate) fn kaiming_uniform(shape: &[usize], mode: Fan, nonlinearity: Nonlinearity) -> Result<Self> {
        let bound = 3.0_f64.sqrt() * kaiming(shape, mode, nonlinearity)?;
        Ok(Draw::Uniform { a: -bound, b: bound })
    }

    pub(crate) fn kaiming_normal(shape: &[usize], mode: Fan, nonlinearity: Nonlinearity) -> Result<Self> {
        Ok(Draw::Normal { mean: 0.0, std: kaiming(shape, mode, nonlinearity)? })
    }

    /// That there are such elements for a parameter of this shape.
    pub(super) fn check(&self, shape: &[usize]) -> Result<()> {
        // Bounds and deviations are looked at by what draws, also where it draws nothing.
        let (mut none, mut generator): (Vec<f32>, _) = (Vec::new(), Generator::default());
        match *self {
            Draw::Uniform { a, b } => uniform_(&mut generator, &mut none, a, b)?,
            Draw::Normal { mean, std } => normal_(&mut generator, &mut none, mean, std)?,
            Draw::TruncNormal { mean, std, a, b } => trunc_normal_(&mut generator, &mut none, mean, std, a, b)?,
            Draw::Eye if shape.len() != 2 => return Err(refused("eye_", "it is for matrices")),
            Draw::Rows { padding: Some(padding), .. } if shape.first().is_none_or(|&rows| padding >= rows) => {
                return Err(refused("Embedding", format!("there is no row {padding} for padding_idx")));
            }
            Draw::Dirac { groups } => {
                let fits = (3..=5).contains(&shape.len()) && groups > 0 && shape[0].is_multiple_of(groups);
                if !fits {
                    let reason = format!("{shape:?} in {groups} groups is no weight of a convolution");
                    return Err(refused("dirac_", reason));
                }
            }
            Draw::Orthogonal { .. } if shape.len() < 2 => {
                return Err(refused("orthogonal_", "it needs two or more dimensions"));
            }
            Draw::Sparse { sparsity, std } => {
                if shape.len() != 2 || !(0.0..=1.0).contains(&sparsity) {
                    return Err(refused("sparse_", "it is for matrices, and a share of 0 to 1"));
                }
                normal_(&mut generator, &mut none, 0.0, std)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The elements, row-major.
    pub(super) fn values(&self, shape: &[usize], generator: &mut Generator) -> Result<Vec<f32>> {
        let mut values = vec![0.0_f32; shape.iter().product()];
        match *self {
            Draw::Uniform { a, b } => uniform_(generator, &mut values, a, b)?,
            Draw::Normal { mean, std } => normal_(generator, &mut values, mean, std)?,
            Draw::Rows { padding, std } => {
                normal_(generator, &mut values, 0.0, std)?;
                let width = shape.last().copied().unwrap_or(0);
                if let Some(row) = padding.and_then(|row| values.get_mut(row * width..(row + 1) * width)) {
                    row.fill(0.0);
                }
            }
            Draw::TruncNormal { mean, std, a, b } => trunc_normal_(generator, &mut values, mean, std, a, b)?,
            #[allow(clippy::cast_possible_truncation)] // as PyTorch stores it
            Draw::Constant(value) => values.fill(value as f32),
            Draw::Eye => {
                let columns = shape[1];
                (0..shape[0].min(columns)).for_each(|at| values[at * columns + at] = 1.0);
            }
            Draw::Dirac { groups } => dirac(&mut values, shape, groups),
            Draw::Orthogonal { gain } => {
                normal_(generator, &mut values, 0.0, 1.0)?;
                orthogonal::orthogonalise(&mut values, shape[0], gain);
            }
            Draw::Sparse { sparsity, std } => {
                normal_(generator, &mut values, 0.0, std)?;
                let (rows, columns) = (shape[0], shape[1]);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most the rows
                let zeros = (sparsity * float(rows)).ceil() as usize;
                for column in 0..columns {
                    for row in randperm(generator, rows).into_iter().take(zeros) {
                        values[usize::try_from(row).unwrap_or(0) * columns + column] = 0.0;
                    }
                }
            }
        }
        Ok(values)
    }
}

fn kaiming(shape: &[usize], mode: Fan, nonlinearity: Nonlinearity) -> Result<f64> {
    let (inputs, outputs) = fans(shape)?;
    let fan = if mode == Fan::In { inputs } else { outputs };
    // PyTorch leaves a tensor without elements alone.
    if fan == 0.0 { Ok(0.0) } else { Ok(nonlinearity.gain() / fan.sqrt()) }
}

/// In each group the first inputs go to the first outputs, at the centre of the kernel.
fn dirac(values: &mut [f32], shape: &[usize], groups: usize) {
    let (outputs, inputs, field) = (shape[0] / groups, shape[1], &shape[2..]);
    let centre = field.iter().fold(0, |at, &length| at * length + length / 2);
    let size: usize = field.iter().product();
    for group in 0..groups {
        for at in 0..outputs.min(inputs) {
            values[((group * outputs + at) * inputs + at) * size + centre] = 1.0;
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a layer's inputs are far below 2^53
fn float(count: usize) -> f64 {
    count as f64
}
