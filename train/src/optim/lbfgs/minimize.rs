//! `LBFGS.step` of `torch/optim/lbfgs.py`: all that it does with what it is given to make less.

use std::sync::Arc;

use rekindle_recorder::Result;

use super::memory::{Kept, Search};
use super::rule::Settings;
use super::scalar::Scalar::{self, Float, Int};
use super::strong_wolfe::{Point, strong_wolfe};
use crate::attributes::invalid;
use crate::optim::array::{Array, Real, dot, largest_magnitude, mapped, pairs, pairs_and_dot, sum_of_magnitudes};
use crate::optim::number::Number;

/// What is to become less: a function of all parameters' elements in a row.
pub(crate) trait Objective<T> {
    /// It and its gradient, where the parameters are.
    fn here(&mut self) -> Result<(f64, Vec<T>)>;

    /// The parameters that it was asked for last.
    fn params(&self) -> Result<Vec<T>>;

    /// Goes to these parameters.
    fn go(&mut self, params: &[T]) -> Result<()>;

    /// It and its gradient with these parameters, where it goes.
    fn at(&mut self, params: &[T]) -> Result<(f64, Vec<T>)> {
        self.go(params)?;
        self.here()
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
    let (start, grad) = objective.here()?;
    let (mut loss, mut grad) = (start, Arc::new(grad));
    let mut evaluations = 1;
    kept.func_evals += 1;
    if settings.at_minimum(&grad) {
        return Ok(start);
    }
    let mut params = objective.params()?;
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
        search.prev_flat_grad = Arc::clone(&grad);
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
            let along = |t| objective.at(&moved(params.clone(), t, &search.d));
            let most = settings.max_eval - evaluations;
            let (found, more) = strong_wolfe(along, start, search.t, &search.d, most)?;
            search.t = found.t;
            params = moved(params, found.t, &search.d);
            (loss, grad) = (found.loss, found.grad);
            more
        } else {
            params = moved(params, search.t, &search.d);
            // PyTorch saves the evaluation whose gradient would not be used.
            let last = iterations == settings.max_iter;
            if !last {
                let (found, gradient) = objective.at(&params)?;
                (loss, grad) = (found, Arc::new(gradient));
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
fn moved<T: Real>(params: Vec<T>, t: Scalar<T>, direction: &Vec<T>) -> Vec<T> {
    Array::add(params, direction, t.element().double())
}

/// The elements, to be changed: a copy if something else has them, too.
fn own<T: Real>(elements: Arc<Vec<T>>) -> Vec<T> {
    Arc::try_unwrap(elements).unwrap_or_else(|shared| mapped(&shared, |x| x))
}

impl<T: Real> Search<T> {
    /// The first direction: straight down.
    fn start(grad: &[T]) -> Self {
        Search {
            d: Arc::new(mapped(grad, |x| -x)),
            t: Int(0),
            old_dirs: Vec::new(),
            old_stps: Vec::new(),
            ro: Vec::new(),
            h_diag: Int(1),
            prev_flat_grad: Arc::default(),
            prev_loss: 0.0,
        }
    }

    /// Takes the last step into the history, and sets the next direction by it.
    fn turn(&mut self, grad: &[T], al: &mut Option<Vec<Option<T>>>, history_size: usize) {
        let mut y = own(std::mem::take(&mut self.prev_flat_grad));
        pairs(&mut y, grad, |old, new| new - old);
        let s = own(std::mem::take(&mut self.d)).scale(self.t.element().double());
        let ys = T::of(dot(&y, &s));
        if ys > T::of(1e-10) {
            if self.old_dirs.len() == history_size {
                self.old_dirs.remove(0);
                self.old_stps.remove(0);
                self.ro.remove(0);
            }
            self.h_diag = Scalar::Tensor(ys / T::of(dot(&y, &y)));
            self.ro.push(T::of(1.0) / ys);
            self.old_dirs.push(Arc::new(y));
            self.old_stps.push(Arc::new(s));
        }
        let al = al.get_or_insert_with(|| vec![None; history_size]);
        al.resize(al.len().max(history_size), None);

        let (ys, ss) = (&self.old_dirs, &self.old_stps);
        let h_diag = self.h_diag.element().double();
        let mut d = mapped(grad, |x| -x);
        // Each time the dot product that comes next is computed on the way.
        let mut product = ss.last().map_or(0.0, |s| dot(s, &d));
        for (i, (y, ro)) in ys.iter().zip(&self.ro).enumerate().rev() {
            let weight = T::of(product) * *ro;
            al[i] = Some(weight);
            let less = |x: T, y: T| Number::add(x, y, -weight.double());
            product = match i.checked_sub(1) {
                Some(before) => pairs_and_dot(&mut d, y, &ss[before], less),
                None => pairs_and_dot(&mut d, y, y, |x, y| Number::mul(less(x, y), h_diag)),
            };
        }
        if ys.is_empty() {
            d = d.scale(h_diag);
        }
        for (i, (s, ro)) in ss.iter().zip(&self.ro).enumerate() {
            let weight = T::of(product) * *ro;
            let more = (al[i].unwrap_or(weight) - weight).double();
            let add = |x: T, s: T| Number::add(x, s, more);
            match ys.get(i + 1) {
                Some(y) => product = pairs_and_dot(&mut d, s, y, add),
                None => pairs(&mut d, s, add),
            }
        }
        self.d = Arc::new(d);
    }
}
