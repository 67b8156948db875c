//! `LBFGS.step` of `torch/optim/lbfgs.py`: all that it does with what it is given to make less.

use rekindle_recorder::Result;

use super::memory::{Kept, Search};
use super::rule::Settings;
use super::scalar::Scalar::{self, Float, Int};
use super::strong_wolfe::{Point, strong_wolfe};
use crate::attributes::invalid;
use crate::optim::array::{Array as _, Real, dot, largest_magnitude, pairs, sum_of_magnitudes};

/// What is to become less: a function of all parameters' elements in a row.
pub(crate) trait Objective<T> {
    /// It, the parameters, and its gradient, where they are.
    fn here(&mut self) -> Result<(f64, Vec<T>, Vec<T>)>;

    /// Goes to these parameters.
    fn go(&mut self, params: &[T]) -> Result<()>;

    /// It and its gradient with these parameters, where it goes.
    fn at(&mut self, params: &[T]) -> Result<(f64, Vec<T>)> {
        self.go(params)?;
        self.here().map(|(value, _, grad)| (value, grad))
    }
}

/// `LBFGS.step`: gives the objective before it.
pub(crate) fn minimize<T: Real>(
    objective: &mut impl Objective<T>,
    settings: &Settings,
    kept: &mut Kept<T>,
) -> Result<f64> {
    if let Some(search) = &kept.search {
        search.fits(settings.history_size)?;
    }
    let (start, mut params, mut grad) = objective.here()?;
    let mut loss = start;
    let mut evaluations = 1;
    kept.func_evals += 1;
    if settings.at_minimum(&grad) {
        return Ok(start);
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
            let along = |t| objective.at(&moved(&params, t, &search.d));
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
                (loss, grad) = objective.at(&params)?;
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
    objective.go(&params)?;
    Ok(start)
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
