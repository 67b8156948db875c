//! `--mean-over`: what the losses of a step are the mean over. transformers' Trainer counts otherwise than a loop of one's own, as its
//! versions and the networks' classes have it.

use rekindle::Checkpoint;
use rekindle::models::{Config, Network};
use rekindle::recorder::run::{Layout, Question};
use rekindle::train::run::Plan;

use super::answer::Anything;

/// What the losses of the batches of a step are the mean over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MeanOver {
    /// Over each batch, and over the batches
    #[default]
    Batches,
    /// The same, but over as many batches as there are where an epoch leaves fewer for its last step
    BatchesLeft,
    /// Over all targets of the step's batches together
    Targets,
    /// Over all labels of the step's batches together: of a language model the first of each row counts, which is never predicted
    Labels,
    /// Over each batch; the batches of a step are added up
    Sum,
}

/// What is known of how the run's program did it.
pub(super) struct Meant {
    pub(super) over: MeanOver,
    /// What tells it, if anything has to be said.
    why: Option<String>,
    questions: Vec<Question>,
}

/// The last version of transformers whose Trainer is known here.
const KNOWN: (u32, u32) = (5, 24);

/// What transformers' Trainer takes the mean over with a network of this class, by the version that saved it.
fn trainers(class: &str, version: (u32, u32)) -> Option<MeanOver> {
    // `num_items_in_batch` is of 4.46. It left out what is never predicted from 5.10 on, where the class is called ForCausalLM.
    match class {
        "GPT2LMHeadModel" if version < (4, 46) => Some(MeanOver::Batches),
        "GPT2LMHeadModel" if version < (4, 49) => Some(MeanOver::BatchesLeft),
        "GPT2LMHeadModel" => Some(MeanOver::Labels),
        _ if class.ends_with("ForCausalLM") && version < (4, 46) => Some(MeanOver::Batches),
        "LlamaForCausalLM" if version < (5, 10) => Some(MeanOver::Labels),
        _ if class.ends_with("ForCausalLM") && version >= (5, 10) => Some(MeanOver::Targets),
        // They take its count since 5.0, so that the Trainer no more divides, and leave it alone.
        "BertForMaskedLM" | "BertForSequenceClassification" if version < (4, 46) => Some(MeanOver::Batches),
        "BertForMaskedLM" | "BertForSequenceClassification" if version < (5, 0) => Some(MeanOver::BatchesLeft),
        "BertForMaskedLM" | "BertForSequenceClassification" => Some(MeanOver::Sum),
        _ => None,
    }
}

/// The class that a network by hand has in transformers.
fn class_of(network: &Network) -> Option<&'static str> {
    Some(match network.name() {
        "gpt2" => "GPT2LMHeadModel",
        "llama" => "LlamaForCausalLM",
        "bert_for_masked_lm" => "BertForMaskedLM",
        "bert_for_sequence_classification" => "BertForSequenceClassification",
        _ => return None,
    })
}

/// Whether a class is a network that says which token comes next.
pub(super) fn is_causal(class: &str) -> bool {
    class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel")
}

/// What a checkpoint's `config.json` says of the network and of transformers.
pub(super) struct Trained {
    /// The network's class, or what that of the network is called there.
    pub(super) class: Option<String>,
    /// The version of transformers.
    pub(super) version: Option<(u32, u32)>,
}

impl Trained {
    /// # Errors
    /// When there is a `config.json` that cannot be read.
    pub(super) fn of(checkpoint: &Checkpoint, network: &Network) -> Anything<Trained> {
        let config = Config::beside(checkpoint)?;
        let told = |key: &str| config.as_ref().and_then(|config| config.get(key)).map(ToOwned::to_owned);
        let class = told("architectures").or(class_of(network).map(ToOwned::to_owned));
        let version = told("transformers_version").and_then(|version| {
            let mut numbers = version.split('.').map(str::parse::<u32>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
        Ok(Trained { class, version })
    }
}

impl Meant {
    /// What was said, or what the checkpoint tells.
    ///
    /// # Errors
    /// When there is a `config.json` that cannot be read.
    pub(super) fn find(
        said: Option<MeanOver>,
        accumulate: Option<u64>,
        checkpoint: &Checkpoint,
        network: &Network,
        plan: Option<&Plan>,
    ) -> Anything<Meant> {
        let nothing = |over| Meant { over, why: None, questions: Vec::new() };
        if let Some(over) = said {
            return Ok(nothing(over));
        }
        let of = |layout: Layout| plan.is_some_and(|plan| plan.layout == layout.to_string());
        let several = accumulate.unwrap_or(1) > 1;
        if let Some(plan) = plan.filter(|_| several && (of(Layout::Ultralytics) || of(Layout::YoloV5))) {
            let why =
                format!("{}, and it begins with a step on one batch, as {} does", MeanOver::Sum.says(), plan.layout);
            return Ok(Meant { why: Some(why), ..nothing(MeanOver::Sum) });
        }
        if several && of(Layout::Timm) {
            let why = format!("{}, as timm's train.py does", MeanOver::BatchesLeft.says());
            return Ok(Meant { why: Some(why), ..nothing(MeanOver::BatchesLeft) });
        }
        if !of(Layout::HfTrainer) {
            return Ok(nothing(MeanOver::Batches));
        }
        let Trained { class, version } = Trained::of(checkpoint, network)?;
        let causal = class.as_deref().is_some_and(is_causal);
        let known = class.as_deref().zip(version).and_then(|(class, version)| trainers(class, version));
        match known {
            // All of them are one where a step is of one batch.
            Some(MeanOver::Batches | MeanOver::BatchesLeft | MeanOver::Sum) if !several => {
                Ok(nothing(MeanOver::Batches))
            }
            Some(over) => {
                let (class, (major, minor)) = (class.unwrap_or_default(), version.unwrap_or(KNOWN));
                let as_of =
                    if (major, minor) > KNOWN { format!(", as of {}.{}", KNOWN.0, KNOWN.1) } else { String::new() };
                let why = format!(
                    "{}, as the Trainer of transformers {major}.{minor} has it with {class} (config.json{as_of})",
                    over.says()
                );
                Ok(Meant { over, why: Some(why), questions: Vec::new() })
            }
            None if causal || several => {
                let which = match (&class, version) {
                    (None, _) => "with a network of your own".to_owned(),
                    (Some(class), None) => format!("with {class}, whose version no config.json tells,"),
                    (Some(class), Some((major, minor))) => format!("with {class} of transformers {major}.{minor}"),
                };
                let what =
                    format!("what transformers' Trainer takes the mean of a step's losses over {which} is not known");
                let mut question = Question::new(what);
                if causal {
                    let labels =
                        "over all labels, the first of each row too (GPT-2 since 4.49, Llama from 4.46 to 5.9)";
                    let targets = "over what is predicted (Llama since 5.10)";
                    question = question.or("Run::mean_over(labels)", labels).or("Run::mean_over(targets)", targets);
                } else {
                    let targets = "over all targets of a step, where its loss takes `num_items_in_batch`";
                    question = question.or("Run::mean_over(targets)", targets);
                }
                let batches = if causal {
                    "over each batch, and over the batches (older ones)"
                } else {
                    "over each batch, and over the batches that a step has: where its `forward` takes no `**kwargs`"
                };
                let over = if causal { "batches" } else { "batches-left" };
                question = question.or(format!("Run::mean_over({over})"), batches);
                if several {
                    let sum = "over each batch, and the batches are added up: where its `forward` takes `**kwargs` and its loss leaves them";
                    question = question.or("Run::mean_over(sum)", sum);
                }
                Ok(Meant { questions: vec![question], ..nothing(MeanOver::Batches) })
            }
            None => Ok(nothing(MeanOver::Batches)),
        }
    }

    /// What has to be told yet.
    pub(super) fn open(&self) -> Vec<Question> {
        self.questions.clone()
    }

    /// Says it in the plan.
    pub(super) fn explain(&self, said: Option<MeanOver>, plan: &mut Plan) {
        plan.told_of_run.extend(self.why.clone());
        if let Some(over) = said {
            plan.changed.push(format!("{} (`Run::mean_over`)", over.says()));
        }
    }
}

impl MeanOver {
    fn says(self) -> &'static str {
        match self {
            MeanOver::Batches => "a step takes the mean over each batch, and over its batches",
            MeanOver::BatchesLeft => {
                "a step takes the mean over each batch, and over as many batches as there are, where an epoch leaves fewer for its last step"
            }
            MeanOver::Targets => "the losses of a step are added up and divided by its targets",
            MeanOver::Labels => {
                "the losses of a step are added up and divided by all its `labels`, the first of each row too, which is never predicted \
                 (`targets` are divided by their own number)"
            }
            MeanOver::Sum => "a step takes the mean over each batch, and adds its batches up",
        }
    }
}
