//! `--amp`: weights of single precision, and products in half, as within `torch.autocast`. A setting of the checkpoint may speak of it.

use burn::tensor::FloatDType;
use rekindle::models::Network;
use rekindle::recorder::run::{Question, RunState};
use rekindle::train::run::Plan;
use rekindle::{Checkpoint, Value};

use super::precision::dtype_of;
use super::settings::Settings;

/// What is said of autocast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Amp {
    /// What it computes in.
    In(FloatDType),
    /// There is none.
    Off,
}

impl std::str::FromStr for Amp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f16" | "float16" | "fp16" => Ok(Amp::In(FloatDType::F16)),
            "bf16" | "bfloat16" => Ok(Amp::In(FloatDType::BF16)),
            "none" => Ok(Amp::Off),
            _ => Err(format!("it is f16 or bf16, and not '{text}'; none is without autocast")),
        }
    }
}

impl TryFrom<String> for Amp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What a run is computed in around its network and loss.
#[derive(Default)]
pub(super) struct Within {
    /// The type of autocast, if there is any.
    pub(super) dtype: Option<FloatDType>,
    said: bool,
    /// What tells it, where nobody said it.
    why: Option<String>,
    question: Option<Question>,
}

impl Within {
    /// As it was said, or as a setting of the checkpoint and its scaler tell together. A run that begins has none.
    pub(super) fn find(settings: &Settings, checkpoint: &Checkpoint, network: &Network) -> Within {
        if let Some(amp) = settings.amp {
            let dtype = if let Amp::In(dtype) = amp { Some(dtype) } else { None };
            return Within { dtype, said: true, ..Within::default() };
        }
        // With weights in half precision it changes little, and what the loss is computed in is asked.
        let narrow = matches!(dtype_of(network), FloatDType::F16 | FloatDType::BF16);
        let state = RunState::read(checkpoint).ok().filter(|_| !settings.weights_only && !narrow);
        let Some((told, scaler)) = state.and_then(|state| Some((state.told.autocast?, state.scaler))) else {
            return Within::default();
        };
        let (place, value) = told;
        let dtype = type_of(&place, &value);
        let scaled = scaler.as_ref().and_then(Value::as_dict).is_some_and(|scaler| !scaler.is_empty());
        if scaled && dtype != Some(FloatDType::BF16) {
            let why = format!("{place}, which is {value}, and its GradScaler tell");
            return Within { dtype: Some(FloatDType::F16), why: Some(why), ..Within::default() };
        }
        let what = format!(
            "a setting speaks of autocast ({place} is {value}), and nothing tells whether the steps were computed within it"
        );
        let mut question = Question::new(what);
        for (name, dtype, says) in [("bf16", FloatDType::BF16, "bfloat16"), ("f16", FloatDType::F16, "float16")] {
            if type_of(&place, &value).is_none_or(|told| told == dtype) {
                question =
                    question.or(format!("Run::amp({name})"), format!("to compute as within torch.autocast in {says}"));
            }
        }
        let question = question.or("Run::amp(none)", "to compute without it, in the type of the weights");
        Within { question: Some(question), ..Within::default() }
    }

    /// What has to be told yet.
    pub(super) fn open(&self) -> Option<Question> {
        self.question.clone()
    }

    /// What the plan says of it.
    pub(super) fn explain(&self, plan: &mut Plan) {
        if self.said || self.dtype.is_some() {
            plan.told_of_run.retain(|clause| !clause.starts_with("not continued by itself: autocast"));
        }
        let name = |dtype| if dtype == FloatDType::F16 { "float16" } else { "bfloat16" };
        match (self.dtype, &self.why) {
            (Some(dtype), Some(why)) => plan.told_of_run.push(format!(
                "computed as within torch.autocast in {}, as {why}; --amp none computes without it",
                name(dtype)
            )),
            (Some(dtype), None) => {
                let scaled = match (dtype, plan.scaler) {
                    (FloatDType::F16, false) => ", and gradients are not scaled, as there is no GradScaler in the file",
                    _ => "",
                };
                plan.changed.push(format!("computed as within torch.autocast in {}, by --amp{scaled}", name(dtype)));
            }
            (None, _) if self.said => plan.changed.push("computed without autocast, by --amp none".to_owned()),
            (None, _) if plan.scaler => plan.told_of_run.push(
                "its steps were computed within torch.autocast, as its GradScaler tells, and go on without, in the type of its weights; \
                 --amp f16 goes on with it"
                    .to_owned(),
            ),
            (None, _) => {}
        }
    }
}

/// The type that a setting says, by its value or its name.
fn type_of(place: &str, value: &str) -> Option<FloatDType> {
    // One of a text is `bf16 in meta.cfg`.
    let name = place.split(" in ").next().unwrap_or(place);
    let name = name.rsplit('.').next().unwrap_or(name).to_lowercase();
    let value = value.to_lowercase();
    let own = [&value, &name].into_iter().find(|said| said.contains("16"))?;
    Some(if own.contains("bf") || own.contains("bfloat") { FloatDType::BF16 } else { FloatDType::F16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_autocast_is_told_by_the_value_or_the_name() {
        for (place, value, expected) in [
            ("args.bf16", "True", Some(FloatDType::BF16)),
            ("fp16 in training_args.bin", "True", Some(FloatDType::F16)),
            ("hyper_parameters.precision", "'bf16-mixed'", Some(FloatDType::BF16)),
            ("hyper_parameters.precision", "'16-mixed'", Some(FloatDType::F16)),
            ("args.amp_dtype", "'bfloat16'", Some(FloatDType::BF16)),
            ("args.amp", "True", None),
        ] {
            assert_eq!(type_of(place, value), expected, "{place} {value}");
        }
    }
}
