//! `--label-smoothing`: how much of each target goes to all classes alike, which a setting of the checkpoint may speak of.

use rekindle::Checkpoint;
use rekindle::recorder::run::{Question, RunState, ToldBy};

use super::task::Loss;

/// A part of 1, of `--label-smoothing`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Smoothing(pub(super) f64);

impl std::str::FromStr for Smoothing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|_| format!("it is a number from 0 to 1, and not '{text}'"))?.try_into()
    }
}

impl TryFrom<f64> for Smoothing {
    type Error = String;

    fn try_from(part: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&part) {
            return Ok(Smoothing(part));
        }
        Err(format!("it is a number from 0 to 1, and not {part}"))
    }
}

/// Asks where nothing was said, and a setting of the checkpoint speaks of smoothed labels.
pub(super) fn open(said: Option<Smoothing>, loss: Option<&Loss>, checkpoint: &Checkpoint) -> Option<Question> {
    let classes = matches!(loss, None | Some(Loss::CrossEntropy));
    let told = RunState::read(checkpoint).ok()?.told.smoothed;
    let ToldBy { place, number } = told.filter(|_| classes && said.is_none())?;
    let what = format!(
        "a setting speaks of smoothed labels ({place} is {number}), and nothing tells whether your loss has them"
    );
    let question = Question::new(what).or(format!("Run::label_smoothing({number:?})"), "to smooth them so");
    Some(question.or("Run::label_smoothing(0)", "where they were not smoothed"))
}
