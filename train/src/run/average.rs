//! The average of the weights that a run has: one that is updated, or one of its checkpoint that stays as it is.

use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::LayerRows;
use rekindle_recorder::run::RunState;
use rekindle_recorder::{Result, StateDict, Value};

use crate::ema::{AveragedLayout, AveragedModel, Averaging};

/// The average of the weights.
#[derive(Debug, Default)]
pub(super) enum Average {
    /// There is none.
    #[default]
    None,
    /// It takes the weights in after each step.
    Updated(AveragedModel),
    /// The checkpoint's stays as it is, and the user is told so. It is read only where it has changed places with the
    /// weights.
    Kept(Option<AveragedModel>),
}

/// What is said of an average that stays as it is.
const KEPT: &str = "the checkpoint's average of the weights stays as it is, since no file says how it goes on; say it with \
                    `ResumeOptions::average`";

/// The average of a checkpoint as it was saved, and the weights that are trained.
pub(super) struct Saved {
    found: Option<AveragedModel>,
    rule: Option<Averaging>,
    kept: bool,
    /// What goes into the model.
    pub(super) weights: StateDict,
}

impl Saved {
    /// Reads the average of a run, which goes on by this rule, if by any. In mmengine's checkpoints it has changed places with
    /// the weights.
    ///
    /// # Errors
    /// When there is a rule, and what is there is no average.
    pub(super) fn read(state: &RunState, rule: Option<Averaging>) -> Result<Self> {
        let mut saved = Saved { found: None, rule, kept: false, weights: state.model.clone() };
        let Some(value) = &state.ema else { return Ok(saved) };
        saved.kept = saved.rule.is_none();
        // The rule that is taken for one that is not known is never followed.
        let found = AveragedModel::from_state_dict(value, saved.rule.clone().unwrap_or_default());
        saved.found = match found {
            Ok(average) if average.layout() == AveragedLayout::MmEngine => {
                let rule = saved.rule.clone().unwrap_or_default();
                let (average, weights) = AveragedModel::from_mmengine(&state.model, value, rule)?;
                saved.weights = weights;
                Some(average)
            }
            Ok(average) => Some(average).filter(|_| !saved.kept),
            Err(_) if saved.kept => None,
            Err(error) => return Err(error),
        };
        Ok(saved)
    }

    /// The average of a run of this model, which has the weights.
    ///
    /// # Errors
    /// When the model has other names or shapes than the average that is to go on.
    pub(super) fn go_on<M: Module>(self, model: &M, rows: &Arc<LayerRows>) -> Result<Average> {
        let found = self.found.map(|average| average.rows(Arc::clone(rows)));
        Ok(match (found, self.rule) {
            (found, _) if self.kept => Average::Kept(found),
            (Some(average), _) => {
                average.clone().update_parameters(model)?;
                Average::Updated(average)
            }
            (None, Some(rule)) => Average::Updated(AveragedModel::new_with_rows(model, rule, Arc::clone(rows))?),
            (None, None) => Average::None,
        })
    }
}

impl Average {
    /// Takes the model's weights in, if it is to.
    pub(super) fn update<M: Module>(&mut self, model: &M) -> Result<()> {
        match self {
            Average::Updated(average) => average.update_parameters(model),
            Average::None | Average::Kept(..) => Ok(()),
        }
    }

    /// What a checkpoint holds of the weights and the average; `None` leaves what is there.
    pub(super) fn saved(&self, weights: StateDict) -> Result<(StateDict, Option<Value>)> {
        match self {
            Average::Updated(average) | Average::Kept(Some(average)) => {
                if average.layout() == AveragedLayout::MmEngine {
                    return average.to_mmengine(&weights).map(|(weights, ema)| (weights, Some(ema)));
                }
                Ok((weights, Some(average.state_dict())))
            }
            Average::None | Average::Kept(None) => Ok((weights, None)),
        }
    }

    /// What is to be said of it.
    pub(super) fn note(&self) -> Option<&'static str> {
        matches!(self, Average::Kept(_)).then_some(KEPT)
    }
}
