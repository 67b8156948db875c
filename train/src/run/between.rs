//! What a run has between two turns of the loop: where it was before the one that is under way, and the rate of the next step.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use rekindle_random::Generator;
use rekindle_recorder::Value;

/// A run between two turns of the loop, as far as a turn changes it before its step.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) generator: Generator,
    pub(super) loader: Option<Value>,
    pub(super) loss: Option<Tensor<1>>,
    /// Whether gradients wait for a step.
    pub(super) waits: bool,
    /// Whether there is no checkpoint of it.
    pub(super) unsaved: bool,
}

/// A rate for each step.
pub(super) struct Rates(pub(super) Arc<dyn Fn(i64) -> f64 + Send + Sync>);

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function of the step")
    }
}
