//! `torch.optim.LBFGS`: a quasi-Newton method that evaluates the model several times in a step, with and without a line search.

mod memory;
mod minimize;
mod rule;
mod scalar;
mod strong_wolfe;

pub(super) use memory::{Memory, Numbers};
pub(super) use minimize::{Objective, minimize};
pub use rule::{LbfgsOptions, LineSearch};
pub(super) use rule::{RULE, Settings};
