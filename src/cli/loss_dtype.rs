//! `--loss-dtype`: what the loss of a network in half precision is computed in. Its outputs may become float32 before it, as in Fabric's
//! `bf16-true`, or stay what they are, as in a plain loop; the weights are the same.

use burn::tensor::FloatDType;
use rekindle::Checkpoint;
use rekindle::models::Network;
use rekindle::recorder::run::Question;
use rekindle::train::run::Plan;

use super::amp::Within;
use super::answer::{Anything, usage};
use super::mean_over::{Trained, is_causal};
use super::precision;
use super::settings::Settings;
use super::task::Loss;

/// What the loss of a network in half precision is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LossDtype {
    /// In float32: outputs become that first
    F32,
    /// In the type of the weights, which is that of the outputs
    Weights,
}

/// What is known of it.
pub(super) struct LossIn {
    /// What it is computed in.
    pub(super) dtype: FloatDType,
    /// What tells it, if anything has to be said.
    why: Option<String>,
    question: Option<Question>,
}

impl LossIn {
    /// As it was said, or as the checkpoint tells. A run that begins has its losses in the type of its weights.
    ///
    /// # Errors
    /// When it was said of a network that is not in half precision; when there is a `config.json` that cannot be read.
    pub(super) fn find(
        settings: &Settings,
        within: &Within,
        checkpoint: &Checkpoint,
        network: &Network,
    ) -> Anything<LossIn> {
        let (said, loss) = (settings.loss_dtype, settings.loss.as_ref());
        let own = precision::dtype_of(network);
        let of = |dtype| LossIn { dtype, why: None, question: None };
        let of_said = |said| of(if said == LossDtype::F32 { FloatDType::F32 } else { own });
        let half = match own {
            FloatDType::F16 => "float16",
            FloatDType::BF16 => "bfloat16",
            _ if said.is_some() => {
                let what = "--loss-dtype is of networks in half precision, and this one's weights are not";
                return Err(usage(format!("{}: {what}", name(checkpoint))));
            }
            _ => {
                let asks = settings.dtype.is_none() && !settings.weights_only;
                let question = if asks { precision::mixed(checkpoint, network) } else { None };
                return Ok(LossIn { question, ..of(own) });
            }
        };
        // Autocast has its own rule, and a program computes its loss by itself.
        if within.dtype.is_some() {
            return Ok(of(FloatDType::F32));
        }
        if loss.is_some_and(Loss::is_in_program) {
            return Ok(of(own));
        }
        if let Some(said) = said {
            let why = match said {
                LossDtype::F32 => "the loss is computed in float32, from outputs that become that first",
                LossDtype::Weights => "the loss is computed in the type of the weights",
            };
            return Ok(LossIn { why: Some(format!("{why} (`Run::loss_dtype`)")), ..of_said(said) });
        }
        if settings.weights_only {
            return Ok(of(own));
        }
        let trained = Trained::of(checkpoint, network)?;
        if let (Some((dtype, by)), None) = (of_trainer(&trained), loss) {
            let what = if dtype == LossDtype::F32 { "float32" } else { half };
            return Ok(LossIn {
                why: Some(format!("the loss is computed in {what}, as {by} has it")),
                ..of_said(dtype)
            });
        }
        let what = format!(
            "the run is in {half}, and no file tells whether its loss was computed in that, or its outputs became float32 first"
        );
        let mut question = Question::new(what)
            .or("Run::loss_dtype(f32)", "for Fabric's `bf16-true` and `16-true`, and where a program says `.float()`")
            .or("Run::loss_dtype(weights)", format!("for a plain loop, where the loss is {half}, too"));
        if !precision::moments_tell(checkpoint) {
            question = question.or("Run::dtype(f32)", "for a run in float32 whose weights were rounded to be saved");
        }
        Ok(LossIn { question: Some(question), ..of(own) })
    }

    /// What has to be told yet.
    pub(super) fn open(&self) -> Option<Question> {
        self.question.clone()
    }

    /// Says it in the plan.
    pub(super) fn explain(&self, said: Option<LossDtype>, plan: &mut Plan) {
        let list = if said.is_some() { &mut plan.changed } else { &mut plan.told_of_run };
        list.extend(self.why.clone());
    }
}

/// How transformers' own classes compute their losses where its Trainer saved them, and what tells it.
fn of_trainer(trained: &Trained) -> Option<(LossDtype, String)> {
    let (class, version) = (trained.class.as_deref()?, trained.version?);
    let dtype = match class {
        // `ForCausalLMLoss` is of 4.46, and GPT-2 has it since 4.49.
        "GPT2LMHeadModel" if version < (4, 49) => LossDtype::Weights,
        _ if is_causal(class) && version >= (4, 46) => LossDtype::F32,
        "BertForMaskedLM" | "BertForSequenceClassification" => LossDtype::Weights,
        _ => return None,
    };
    Some((dtype, format!("{class} of transformers {}.{}", version.0, version.1)))
}

fn name(checkpoint: &Checkpoint) -> String {
    checkpoint.path().map_or_else(|| "the checkpoint".to_owned(), |path| path.display().to_string())
}
