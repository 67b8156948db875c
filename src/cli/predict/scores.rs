//! The most probable classes of each sample, by their names.

use std::path::PathBuf;

use rekindle::Value;
use rekindle::models::functional::{Array, Kind};
use rekindle::models::{Labels, Problem, top_k, top_k_labels};
use rekindle::recorder::Error;
use serde_json::{Value as Json, json};

use crate::cli::answer::{Anything, Lines, usage};
use crate::cli::json::leaf;

/// What is printed of a classifier's scores.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// The names of the classes: one a line, or JSON (a list, a dict by numbers, or transformers' config.json)
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print the K most probable classes of each sample (default: 5, where they are printed)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    top_k: Option<u64>,
}

impl Top {
    /// How classes are printed, where they are: where they are asked for, or nothing else is. What the network's scores are compared
    /// with is known of some; of the others the file of labels may say it.
    ///
    /// # Errors
    /// When the labels cannot be read, and when the scores are no classes'.
    pub(super) fn wanted(&self, nothing_else: bool, problem: Option<Problem>) -> Anything<Option<Scores>> {
        if self.labels.is_none() && self.top_k.is_none() && !nothing_else {
            return Ok(None);
        }
        let labels = match &self.labels {
            Some(path) => Some((path.display().to_string(), Labels::open(path)?)),
            None => None,
        };
        let problem = problem.or_else(|| labels.as_ref()?.1.problem());
        if problem == Some(Problem::Regression) {
            return Err(usage(
                "the network's outputs are numbers, and no scores of classes (its problem_type is regression): --out FILE keeps them, without \
                 --labels and --top-k",
            ));
        }
        let each = problem == Some(Problem::MultiLabel);
        Ok(Some(Scores { labels, each, k: self.top_k.map_or(5, |k| usize::try_from(k).unwrap_or(usize::MAX)) }))
    }
}

/// How classes are printed.
pub(super) struct Scores {
    /// The names, and the file that they are from.
    labels: Option<(String, Labels)>,
    /// Whether each label is true or not, and not one of them.
    each: bool,
    k: usize,
}

/// The most probable classes of a sample.
pub(super) struct Classes(Vec<Class>);

struct Class {
    number: usize,
    label: Option<String>,
    probability: f64,
}

impl Scores {
    /// The classes of each sample, out of the network's outputs: of `logits`, or else of the first output.
    pub(super) fn of(&self, outputs: &[(String, Array)], samples: usize) -> Result<Vec<Classes>, Error> {
        let logits = outputs.iter().find(|(name, _)| name == "logits").or(outputs.first());
        let Some((name, array)) = logits else { return Err(Error::invalid("the network has no output")) };
        let (&[rows, classes], Kind::Float) = (array.shape(), array.kind()) else {
            return Err(Error::invalid(format!(
                "classes are printed of an output [samples, classes], and '{name}' is {} {:?}; --out FILE keeps the outputs as they are",
                array.dtype_name(),
                array.shape()
            )));
        };
        if rows != samples {
            let reason =
                format!("the output '{name}' has {rows} rows for {samples} samples: there are no classes of each");
            return Err(Error::invalid(reason));
        }
        if let Some((file, labels)) = &self.labels
            && labels.len() != classes
        {
            return Err(Error::invalid(format!(
                "{file}: it has {} labels, and the network {classes} classes",
                labels.len()
            )));
        }
        let scores = array.floats().map_err(|error| Error::invalid(error.to_string()))?;
        let label = |number| self.labels.as_ref().and_then(|(_, labels)| labels.get(number)).map(str::to_owned);
        let of = |(number, probability)| Class { number, label: label(number), probability };
        let greatest = if self.each { top_k_labels } else { top_k };
        let row = |row: &[f64]| Classes(greatest(row, self.k).into_iter().map(of).collect());
        Ok(scores.chunks_exact(classes.max(1)).map(row).collect())
    }
}

impl Classes {
    /// The sample's name, and a line for each class.
    pub(super) fn text(&self, name: &str) -> String {
        let mut lines = Lines::default();
        lines.add(name);
        for Class { number, label, probability } in &self.0 {
            match label {
                Some(label) => lines.add(format_args!("  {probability:.4}  {label}")),
                None => lines.add(format_args!("  {probability:.4}  class {number}")),
            }
        }
        lines.text()
    }

    pub(super) fn json(&self, name: &str) -> Json {
        let class = |class: &Class| {
            let probability = leaf(&Value::Float(class.probability));
            let mut object = json!({"class": class.number, "probability": probability});
            if let (Some(label), Some(object)) = (&class.label, object.as_object_mut()) {
                object.insert("label".to_owned(), json!(label));
            }
            object
        };
        json!({"name": name, "top": self.0.iter().map(class).collect::<Vec<_>>()})
    }
}
