//! The line search of `torch.optim.LBFGS`: `_strong_wolfe` and `_cubic_interpolate` of `torch/optim/lbfgs.py`.

use std::sync::Arc;

use rekindle_recorder::Result;

use super::scalar::Scalar;
use super::scalar::Scalar::{Float, Int};
use crate::optim::array::{Real, dot, largest_magnitude};

/// How much of the decrease that the slope promises is enough.
const C1: f64 = 1e-4;
/// How much of the slope may be left.
const C2: f64 = 0.9;
const TOLERANCE_CHANGE: f64 = 1e-9;

/// A step length and what the objective is there.
#[derive(Clone, Debug)]
pub(super) struct Point<T> {
    pub(super) t: Scalar<T>,
    pub(super) loss: f64,
    pub(super) grad: Arc<Vec<T>>,
    /// The slope along the direction.
    pub(super) slope: Scalar<T>,
}

/// Searches along `direction` from `start`, whose `t` is 0, beginning with a step of `t`; gives the point and how often the
/// objective was evaluated. `evaluate` gives the loss and gradient after a step.
pub(super) fn strong_wolfe<T: Real>(
    mut evaluate: impl FnMut(Scalar<T>) -> Result<(f64, Vec<T>)>,
    start: Point<T>,
    t: Scalar<T>,
    direction: &[T],
    max_evaluations: i64,
) -> Result<(Point<T>, i64)> {
    let mut at = |t: Scalar<T>| -> Result<Point<T>> {
        let (loss, grad) = evaluate(t)?;
        let slope = Scalar::Tensor(T::of(dot(&grad, direction)));
        Ok(Point { t, loss, grad: Arc::new(grad), slope })
    };
    let longest = Scalar::Tensor(largest_magnitude(direction));
    let (loss, slope) = (Float(start.loss), start.slope);
    let too_high = |new: &Point<T>| Float(new.loss) > loss.add(Float(C1).mul(new.t).mul(slope));
    let flat_enough = |new: &Point<T>| new.slope.abs() <= Float(-C2).mul(slope);

    let mut new = at(t)?;
    let mut evaluations = 1;

    // Widen until there is a bracket around a point that fulfils the Wolfe conditions.
    let mut previous = start.clone();
    let mut iterations = 0;
    let mut done = false;
    let mut bracket = loop {
        if iterations >= max_evaluations {
            break [start, new];
        }
        if too_high(&new) || (iterations > 1 && new.loss >= previous.loss) {
            break [previous, new];
        }
        if flat_enough(&new) {
            done = true;
            break [new.clone(), new];
        }
        if new.slope >= Int(0) {
            break [previous, new];
        }
        let least = new.t.add(Float(0.01).mul(new.t.sub(previous.t)));
        let most = new.t.mul(Int(10));
        let t = cubic_interpolate(&previous, &new, Some((least, most)));
        previous = std::mem::replace(&mut new, at(t)?);
        evaluations += 1;
        iterations += 1;
    };

    // Narrow it.
    let lower = |bracket: &[Point<T>; 2]| {
        let first = bracket[0].loss <= bracket[1].loss;
        usize::from(!first)
    };
    let mut low = if done { 0 } else { lower(&bracket) };
    let mut stalled = false;
    while !done && iterations < max_evaluations {
        let high = 1 - low;
        let (a, b) = (bracket[0].t, bracket[1].t);
        if b.sub(a).abs().mul(longest) < Float(TOLERANCE_CHANGE) {
            break;
        }
        let mut t = cubic_interpolate(&bracket[0], &bracket[1], None);

        // A point near the edge of the bracket, twice or at the very edge, is moved a tenth of the bracket inwards.
        let (least, most) = (a.min(b), a.max(b));
        let tenth = Float(0.1).mul(most.sub(least));
        if most.sub(t).min(t.sub(least)) < tenth {
            if stalled || t >= most || t <= least {
                t = if t.sub(most).abs() < t.sub(least).abs() { most.sub(tenth) } else { least.add(tenth) };
                stalled = false;
            } else {
                stalled = true;
            }
        } else {
            stalled = false;
        }

        let new = at(t)?;
        evaluations += 1;
        iterations += 1;
        if too_high(&new) || new.loss >= bracket[low].loss {
            bracket[high] = new;
            low = lower(&bracket);
        } else {
            if flat_enough(&new) {
                done = true;
            } else if new.slope.mul(bracket[high].t.sub(bracket[low].t)) >= Int(0) {
                bracket[high] = bracket[low].clone();
            }
            bracket[low] = new;
        }
    }
    let [first, second] = bracket;
    Ok((if low == 0 { first } else { second }, evaluations))
}

/// The minimum of the cubic through two points with their slopes, within bounds: those given, or the points.
fn cubic_interpolate<T: Real>(one: &Point<T>, two: &Point<T>, bounds: Option<(Scalar<T>, Scalar<T>)>) -> Scalar<T> {
    let (x1, x2, g1, g2) = (one.t, two.t, one.slope, two.slope);
    let (least, most) = bounds.unwrap_or(if x1 <= x2 { (x1, x2) } else { (x2, x1) });
    let rise = Int(3).mul(Float(one.loss).sub(Float(two.loss))).div(x1.sub(x2));
    let d1 = g1.add(g2).sub(rise);
    let square = d1.mul(d1).sub(g1.mul(g2));
    // A square that is not a number is none.
    if square >= Int(0) {
        let d2 = square.sqrt();
        let minimum = |from: Scalar<T>, to: Scalar<T>, g_from: Scalar<T>, g_to: Scalar<T>| {
            let part = g_to.add(d2).sub(d1).div(g_to.sub(g_from).add(Int(2).mul(d2)));
            to.sub(to.sub(from).mul(part))
        };
        let found = if x1 <= x2 { minimum(x1, x2, g1, g2) } else { minimum(x2, x1, g2, g1) };
        found.max(least).min(most)
    } else {
        least.add(most).div(Float(2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64) -> Point<f64> {
        // (x - 1)^2 (x + 2), least at 1.
        let slope = 3.0 * (x * x - 1.0);
        Point { t: Float(x), loss: (x - 1.0).powi(2) * (x + 2.0), grad: Arc::default(), slope: Scalar::Tensor(slope) }
    }

    #[test]
    fn the_minimum_of_a_cubic_is_found_from_either_side() {
        for (a, b) in [(0.0, 3.0), (3.0, 0.0)] {
            let found = cubic_interpolate(&point(a), &point(b), None);
            assert!((found.double() - 1.0).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(cubic_interpolate(&point(0.0), &point(3.0), Some((Int(2), Int(4)))), Int(2));
    }
}
