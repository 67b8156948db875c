//! `torch.optim.LBFGS`: a quasi-Newton method that evaluates the model several times in a step, with and without a line search.

mod memory;
mod scalar;
mod strong_wolfe;

use burn::module::Module;
use burn::tensor::{Gradients, Tensor, TensorData};
use rekindle_recorder::{DType, Error, Result, Value};

use super::array::{Array as _, Real, dot, largest_magnitude, pairs, sum_of_magnitudes};
use super::elementwise::Update;
use super::group::{Hyperparameters, ParamGroup, check};
use super::optimizer::{Optimizer, Parameter, list};
use super::rule::{OptimizerKind, Rule, View};
use super::state::ParamState;
use super::whole::{Places, devices, put, take, unreadable};
use crate::attributes::{Attributes, invalid, wrong_type};
use memory::{Kept, Search};
use scalar::Scalar::{self, Float, Int};
use strong_wolfe::{Point, strong_wolfe};

pub(crate) use memory::Memory;

/// The options of `torch.optim.LBFGS`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LbfgsOptions {
    /// Learning rate: the step's length without a line search, and the first that is tried with one. Default 1.
    pub lr: f64,
    /// Iterations of one step. Default 20.
    pub max_iter: u32,
    /// Evaluations of one step, after which it ends; `None` for `max_iter * 5 / 4`. Default `None`.
    pub max_eval: Option<u32>,
    /// A step ends when no element of the gradient is larger. Default 1e-7.
    pub tolerance_grad: f64,
    /// A step ends when the loss or every parameter changes by less. Default 1e-9.
    pub tolerance_change: f64,
    /// How many steps the approximation of the Hessian looks back. Default 100.
    pub history_size: u32,
    /// How a step's length is found. Default `None`: it is the learning rate.
    pub line_search_fn: Option<LineSearch>,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

/// How [`LbfgsOptions`] finds a step's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineSearch {
    /// A point that fulfils the strong Wolfe conditions: `strong_wolfe`.
    StrongWolfe,
}

const STRONG_WOLFE: &str = "strong_wolfe";

impl Default for LbfgsOptions {
    fn default() -> Self {
        LbfgsOptions {
            lr: 1.0,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search_fn: None,
            maximize: false,
        }
    }
}

impl From<LbfgsOptions> for Hyperparameters {
    fn from(options: LbfgsOptions) -> Self {
        // PyTorch spells this default as an `int`.
        let lr = if options.lr == 1.0 { Value::Int(1) } else { options.lr.into() };
        let max_eval = options.max_eval.map_or(i64::from(options.max_iter) * 5 / 4, i64::from);
        let line_search_fn = options.line_search_fn.map(|LineSearch::StrongWolfe| STRONG_WOLFE);
        Hyperparameters::new(
            OptimizerKind::Lbfgs,
            [
                ("lr", lr),
                ("max_iter", options.max_iter.into()),
                ("max_eval", max_eval.into()),
                ("tolerance_grad", options.tolerance_grad.into()),
                ("tolerance_change", options.tolerance_change.into()),
                ("history_size", options.history_size.into()),
                ("line_search_fn", line_search_fn.into()),
                ("maximize", options.maximize.into()),
            ],
        )
    }
}

#[derive(Debug)]
pub(crate) struct Lbfgs;

impl Rule for Lbfgs {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Lbfgs
    }

    fn complete(&self, _: &mut Attributes) {}

    fn check(&self, group: &Attributes) -> Result<()> {
        check(group, "lr", |x| x >= 0.0, "at least 0")?;
        Settings::of(group).map(drop)
    }

    fn scalars(&self) -> &'static [&'static str] {
        &[]
    }

    fn moments(&self) -> &'static [&'static str] {
        &[]
    }

    fn view(&self) -> View {
        View::Closure
    }

    fn prepare(&self, _: &ParamGroup, _: &mut ParamState) -> Result<Box<dyn Update>> {
        Err(invalid("LBFGS has no update of a single parameter: call step_closure"))
    }
}

/// A group's numbers.
#[derive(Clone, Debug)]
struct Settings {
    /// An `int` or a `float`.
    lr: Value,
    max_iter: i64,
    max_eval: i64,
    tolerance_grad: f64,
    tolerance_change: f64,
    history_size: usize,
    line_search: bool,
    maximize: bool,
}

impl Settings {
    fn of(group: &Attributes) -> Result<Self> {
        let value = group.get("line_search_fn").unwrap_or(&Value::None);
        let line_search = match (value, value.as_str()) {
            (Value::None, _) => false,
            (_, Some(STRONG_WOLFE)) => true,
            (_, Some(name)) => {
                return Err(invalid(format!("there is no line_search_fn '{name}'; there is {STRONG_WOLFE}")));
            }
            _ => return Err(wrong_type("line_search_fn", "a str or None", value)),
        };
        let max_eval = group.int("max_eval")?;
        if line_search && max_eval < 1 {
            return Err(invalid(format!("max_eval must be at least 1 for a line search, and is {max_eval}")));
        }
        let history_size = group.int("history_size")?;
        if history_size < 1 {
            return Err(invalid(format!("history_size must be at least 1, and is {history_size}")));
        }
        Ok(Settings {
            lr: match group.get("lr") {
                Some(Value::Int(lr)) => (*lr).into(),
                _ => group.float("lr")?.into(),
            },
            max_iter: group.int("max_iter")?,
            max_eval,
            tolerance_grad: group.float("tolerance_grad")?,
            tolerance_change: group.float("tolerance_change")?,
            history_size: usize::try_from(history_size).unwrap_or(usize::MAX),
            line_search,
            // Groups of PyTorch 2.12 and before do not say.
            maximize: group.contains("maximize") && group.flag("maximize")?,
        })
    }

    fn lr<T: Real>(&self) -> Scalar<T> {
        Scalar::read(&self.lr).unwrap_or(Int(0))
    }

    /// Whether no element of a gradient is large enough to go on.
    fn at_minimum<T: Real>(&self, grad: &[T]) -> bool {
        largest_magnitude(grad) <= T::of(self.tolerance_grad)
    }
}

impl Optimizer {
    /// `optimizer.step(closure)`: makes one step with the loss and gradients that `closure` gives for a model, which LBFGS asks
    /// for as often as it needs; the other optimizers ask once. Gives the model back with its parameters updated, and the
    /// loss before the step.
    ///
    /// ```
    /// # use burn::nn::LinearConfig;
    /// # use burn::tensor::{Device, Tensor};
    /// # use rekindle_train::optim::{LbfgsOptions, LineSearch, Optimizer};
    /// # let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(3, 2).init(&device);
    /// let options = LbfgsOptions { line_search_fn: Some(LineSearch::StrongWolfe), ..Default::default() };
    /// let mut optimizer = Optimizer::builder(options).build(&model)?;
    ///
    /// let (model, loss) = optimizer.step_closure(model, |model| {
    ///     let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
    ///     let grads = loss.backward();
    ///     (loss, grads)
    /// })?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// LBFGS computes in host memory, wherever the model is.
    ///
    /// # Errors
    /// As [`Optimizer::step`]; for LBFGS also when the parameters are not of one type.
    pub fn step_closure<M: Module>(
        &mut self,
        model: M,
        mut closure: impl FnMut(&M) -> (Tensor<1>, Gradients),
    ) -> Result<(M, f64)> {
        self.check_model(&model)?;
        let Some(first) = self.parameters.first().filter(|_| self.rule().view() == View::Closure) else {
            let (loss, grads) = closure(&model);
            let loss = loss.try_into_scalar::<f64>().map_err(unreadable)?;
            return Ok((self.step(model, grads)?, loss));
        };
        let dtype = first.named.dtype;
        if let Some(other) = self.parameters.iter().find(|parameter| parameter.named.dtype != dtype) {
            let (name, found) = (&other.named.name, other.named.dtype);
            let what = format!("LBFGS over parameters of {dtype} and of {found} ('{name}')");
            return Err(Error::unsupported(what));
        }
        let settings = Settings::of(&self.groups[0])?;
        let memory = self.parameters[0].state.memory();
        let mut objective = Objective {
            model,
            closure,
            parameters: &self.parameters,
            places: &self.places,
            maximize: settings.maximize,
        };
        let (loss, memory) = match (dtype, memory) {
            (DType::Float64, Some(Memory::F64(kept))) => objective.step(&settings, kept, Memory::F64)?,
            (DType::Float64, _) => objective.step(&settings, Kept::default(), Memory::F64)?,
            (_, Some(Memory::F32(kept))) => objective.step(&settings, kept, Memory::F32)?,
            (_, _) => objective.step(&settings, Kept::default(), Memory::F32)?,
        };
        let model = objective.model;
        self.parameters[0].state.remember(memory);
        list(&mut self.order, 0);
        Ok((model, loss))
    }
}

/// What is minimized: the model's parameters as one vector, and the closure's loss as a function of it.
struct Objective<'a, M, C> {
    model: M,
    closure: C,
    parameters: &'a [Parameter],
    places: &'a Places,
    maximize: bool,
}

impl<M: Module, C: FnMut(&M) -> (Tensor<1>, Gradients)> Objective<'_, M, C> {
    /// The closure's loss, the parameters, and their gradient: descending.
    fn evaluate<T: Real>(&mut self) -> Result<(f64, Vec<T>, Vec<T>)> {
        let (loss, grads) = (self.closure)(&self.model);
        let loss = loss.try_into_scalar::<f64>().map_err(unreadable)?;
        let taken = take(&self.model, self.parameters, self.places, &grads, |_| true)?;
        let (mut params, mut grad) = (Vec::new(), Vec::new());
        for taken in taken.into_iter().flatten() {
            let elements = |tensor: Tensor<1>| {
                let data = tensor.try_into_data().map_err(unreadable)?;
                data.convert::<T>().try_into_vec::<T>().map_err(unreadable)
            };
            params.extend(elements(taken.param)?);
            grad.extend(elements(taken.grad)?);
        }
        Ok((loss, params, if self.maximize { grad.neg() } else { grad }))
    }

    /// What is to become less, and its gradient, with these parameters.
    fn at<T: Real>(&mut self, params: &[T]) -> Result<(f64, Vec<T>)> {
        self.go(params)?;
        let (loss, _, grad) = self.evaluate()?;
        Ok((if self.maximize { -loss } else { loss }, grad))
    }

    /// Gives the model these parameters.
    fn go<T: Real>(&mut self, params: &[T]) -> Result<()> {
        let mut rest = params;
        let mut values = Vec::with_capacity(self.parameters.len());
        let devices = devices(&self.model, self.parameters, self.places);
        for (parameter, device) in self.parameters.iter().zip(devices) {
            let len = parameter.named.shape.iter().product();
            let (value, others) = rest.split_at_checked(len).ok_or_else(|| invalid("LBFGS lost parameters"))?;
            let data = TensorData::new(value.to_vec(), [len]);
            values.push(device.map(|device| Tensor::from_data(data, (&device, <T as burn::tensor::Element>::dtype()))));
            rest = others;
        }
        self.model = put(self.model.clone(), self.parameters, self.places, values)?;
        Ok(())
    }

    /// `LBFGS.step`: the closure's loss before it, and what is kept.
    fn step<T: Real>(
        &mut self,
        settings: &Settings,
        mut kept: Kept<T>,
        wrap: fn(Kept<T>) -> Memory,
    ) -> Result<(f64, Memory)> {
        if let Some(search) = &kept.search {
            search.fits(settings.history_size)?;
        }
        let (original, mut params, mut grad) = self.evaluate::<T>()?;
        let mut loss = if self.maximize { -original } else { original };
        let mut evaluations = 1;
        kept.func_evals += 1;
        if settings.at_minimum(&grad) {
            return Ok((original, wrap(kept)));
        }
        let mut iterations = 0;
        while iterations < settings.max_iter {
            iterations += 1;
            kept.n_iter += 1;
            let first = kept.n_iter == 1;
            if first {
                kept.search = Some(Search::start(&grad));
            }
            let Some(search) = &mut kept.search else {
                return Err(invalid("LBFGS's state counts iterations and has no direction"));
            };
            if !first {
                search.turn(&grad, &mut kept.al, settings.history_size);
            }
            search.prev_flat_grad.clone_from(&grad);
            search.prev_loss = loss;

            let lr = settings.lr::<T>();
            search.t = if first {
                let sum = Scalar::Tensor(T::of(sum_of_magnitudes(&grad)));
                Float(1.0).min(Float(1.0).div(sum)).mul(lr)
            } else {
                lr
            };
            let slope = Scalar::Tensor(T::of(dot(&grad, &search.d)));
            if slope > Float(-settings.tolerance_change) {
                break;
            }
            let more = if settings.line_search {
                let start = Point { t: Int(0), loss, grad, slope };
                let along = |t| self.at(&moved(&params, t, &search.d));
                let most = settings.max_eval - evaluations;
                let (found, more) = strong_wolfe(along, start, search.t, &search.d, most)?;
                search.t = found.t;
                params = moved(&params, found.t, &search.d);
                (loss, grad) = (found.loss, found.grad);
                more
            } else {
                params = moved(&params, search.t, &search.d);
                // PyTorch saves the evaluation whose gradient would not be used.
                let last = iterations == settings.max_iter;
                if !last {
                    (loss, grad) = self.at(&params)?;
                }
                i64::from(!last)
            };
            evaluations += more;
            kept.func_evals += more;

            let longest = largest_magnitude(&search.d) * search.t.element().magnitude();
            if iterations == settings.max_iter
                || evaluations >= settings.max_eval
                || settings.at_minimum(&grad)
                || longest <= T::of(settings.tolerance_change)
                || (loss - search.prev_loss).abs() < settings.tolerance_change
            {
                break;
            }
        }
        self.go(&params)?;
        Ok((original, wrap(kept)))
    }
}

/// The parameters after a step.
fn moved<T: Real>(params: &[T], t: Scalar<T>, direction: &Vec<T>) -> Vec<T> {
    params.to_vec().add(direction, t.element().double())
}

impl<T: Real> Search<T> {
    /// The first direction: straight down.
    fn start(grad: &[T]) -> Self {
        Search {
            d: grad.to_vec().neg(),
            t: Int(0),
            old_dirs: Vec::new(),
            old_stps: Vec::new(),
            ro: Vec::new(),
            h_diag: Int(1),
            prev_flat_grad: Vec::new(),
            prev_loss: 0.0,
        }
    }

    /// Takes the last step into the history, and sets the next direction by it.
    fn turn(&mut self, grad: &[T], al: &mut Option<Vec<Option<T>>>, history_size: usize) {
        let mut y = grad.to_vec();
        pairs(&mut y, &self.prev_flat_grad, |new, old| new - old);
        let s = std::mem::take(&mut self.d).scale(self.t.element().double());
        let ys = T::of(dot(&y, &s));
        if ys > T::of(1e-10) {
            if self.old_dirs.len() == history_size {
                self.old_dirs.remove(0);
                self.old_stps.remove(0);
                self.ro.remove(0);
            }
            self.h_diag = Scalar::Tensor(ys / T::of(dot(&y, &y)));
            self.ro.push(T::of(1.0) / ys);
            self.old_dirs.push(y);
            self.old_stps.push(s);
        }
        let al = al.get_or_insert_with(|| vec![None; history_size]);
        al.resize(al.len().max(history_size), None);

        let mut d = grad.to_vec().neg();
        let history = || self.old_dirs.iter().zip(&self.old_stps).zip(&self.ro).enumerate();
        for (i, ((y, s), ro)) in history().rev() {
            let weight = T::of(dot(s, &d)) * *ro;
            al[i] = Some(weight);
            d = d.add(y, -weight.double());
        }
        d = d.scale(self.h_diag.element().double());
        for (i, ((y, s), ro)) in history() {
            let weight = T::of(dot(y, &d)) * *ro;
            d = d.add(s, (al[i].unwrap_or(weight) - weight).double());
        }
        self.d = d;
    }
}
