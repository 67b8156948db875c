//! A new run with a checkpoint's weights: what else the checkpoint has is left out.

use rekindle_recorder::run::{Accounted, Layout, Question, RunState, Taken};
use rekindle_recorder::{Error, ErrorKind, Result};

use super::told;
use crate::run::options::ResumeOptions;

/// What a new run leaves out.
#[derive(Default)]
pub(super) struct Anew {
    /// A sentence, where one begins.
    pub(super) said: Vec<String>,
}

impl Anew {
    /// Leaves everything but the weights out of a run's state, where a new run is to begin.
    ///
    /// # Errors
    /// When it lacks an optimizer; or when none begins, and the checkpoint has no place for what it would need.
    pub(super) fn begin(state: &mut RunState, values: &mut Vec<Accounted>, options: &ResumeOptions) -> Result<Anew> {
        let alone = matches!(state.layout, Layout::Bare | Layout::WholeModule);
        let optimizer = options.new_optimizer.is_some();
        if !options.weights_only {
            let open = |what: &str, option: &str, says: &str| {
                Err(Error::new(ErrorKind::Open(vec![Question::new(what).or(option, says)])))
            };
            let what = "the checkpoint holds a model alone";
            return match (alone, optimizer) {
                (true, true) => {
                    open(what, "ResumeOptions::weights_only(true)", "beside the new optimizer to begin a new run")
                }
                (true, false) => open(
                    what,
                    "ResumeOptions::weights_only(true)",
                    "to begin a new run, beside `ResumeOptions::new_optimizer(NAME(..))`",
                ),
                (false, false) if state.told.optimizer.is_some() && state.optimizers.is_empty() => {
                    Err(told::no_optimizer(&state.told))
                }
                (false, _) if state.optimizers.is_empty() && !optimizer => {
                    let whole = values.iter().find(|value| value.taken == Taken::Open("optimizer"));
                    let whole = whole.map_or_else(String::new, |Accounted { place, value, .. }| {
                        format!(" ({place} is {value}, and not its `state_dict()`)")
                    });
                    let what = format!("the checkpoint holds no optimizer's state{whole}");
                    let question = Question::new(what)
                        .or("ResumeOptions::new_optimizer(NAME(..))", "to go on with a new optimizer")
                        .or("ResumeOptions::weights_only(true)", "beside it to begin a new run with the weights");
                    Err(Error::new(ErrorKind::Open(vec![question])))
                }
                (false, _) => Ok(Anew::default()),
            };
        }
        if !optimizer {
            let question = Question::new("a new run needs an optimizer")
                .or("ResumeOptions::new_optimizer(NAME(..))", "which it is, such as `AdamW(lr=1e-3)`");
            return Err(Error::new(ErrorKind::Open(vec![question])));
        }
        let others: Vec<_> = values.iter().filter(|value| value.taken != Taken::Part("model")).collect();
        let left = if others.is_empty() {
            String::new()
        } else {
            let places: Vec<_> = others.iter().map(|value| value.place.as_str()).collect();
            format!(", without {}", places.join(", "))
        };
        let said = format!(
            "a new run begins with the weights{left}; it is written in PyTorch's tutorial layout (`ResumeOptions::weights_only`)"
        );
        values.retain(|value| value.taken == Taken::Part("model"));
        let before = std::mem::take(state);
        (state.layout, state.model, state.model_key) = (before.layout, before.model, before.model_key);
        (state.epoch, state.step) = (Some(0), Some(0));
        Ok(Anew { said: vec![said] })
    }
}
