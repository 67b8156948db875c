//! What a classifier says: the names of its classes, the most probable ones, and what its scores are the logits of.

use std::path::Path;

use serde_json::Value as Json;

use crate::{ModelError, Problem, Result};

/// The names of a classifier's classes, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    problem: Option<Problem>,
}

impl Labels {
    /// Reads a file of labels: one a line, or JSON, which is a list, a dict of the classes' numbers, or one that holds such a dict
    /// as `id2label` (the `config.json` of transformers). A label that is a list itself is its last entry (`["n01440764",
    /// "tench"]`).
    ///
    /// # Errors
    /// [`ModelError::Labels`] when the file cannot be read, is none of these, or leaves out a class.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |reason: String| ModelError::Labels { file: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        Labels::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let (names, problem) = if text.trim_start().starts_with(['[', '{']) {
            let json: Json = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
            (of_json(&json)?, problem(&json)?)
        } else {
            (text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>(), None)
        };
        if names.is_empty() {
            return Err("there are no labels in it".to_owned());
        }
        Ok(Labels { names, problem })
    }

    /// How many classes they are for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of a class.
    #[must_use]
    pub fn get(&self, class: usize) -> Option<&str> {
        self.names.get(class).map(String::as_str)
    }

    /// What transformers' `config.json` says that the scores are compared with: its `problem_type`.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        self.problem
    }
}

/// The `problem_type` of a `config.json`.
fn problem(json: &Json) -> Result<Option<Problem>, String> {
    match json.get("problem_type").filter(|_| json.get("id2label").is_some()) {
        None | Some(Json::Null) => Ok(None),
        Some(problem) => {
            let known = Problem::ALL.into_iter().find(|known| problem.as_str() == Some(known.name()));
            known.map(Some).ok_or_else(|| format!("its problem_type is {problem}, which is none of transformers'"))
        }
    }
}

fn of_json(json: &Json) -> Result<Vec<String>, String> {
    let one = |label: &Json| match label {
        Json::String(text) => Ok(text.clone()),
        Json::Array(parts) => match parts.last() {
            Some(Json::String(text)) => Ok(text.clone()),
            _ => Err(format!("{label} is no label")),
        },
        other => Err(format!("{other} is no label")),
    };
    match json {
        Json::Array(labels) => labels.iter().map(one).collect(),
        Json::Object(object) => {
            let object = match object.get("id2label") {
                Some(Json::Object(inner)) => inner,
                Some(_) => return Err("its id2label is no dict".to_owned()),
                None => object,
            };
            let mut labels = vec![None; object.len()];
            for (key, label) in object {
                let class = key.parse::<usize>().ok().and_then(|class| labels.get_mut(class));
                let class = class.ok_or_else(|| {
                    let last = object.len().saturating_sub(1);
                    format!("'{key}' is no class: there are {} labels, for 0 to {last}", object.len())
                })?;
                *class = Some(one(label)?);
            }
            let missing =
                |(class, label): (usize, Option<String>)| label.ok_or_else(|| format!("it leaves out {class}"));
            labels.into_iter().enumerate().map(missing).collect()
        }
        _ => Err("it is neither a list nor a dict".to_owned()),
    }
}

/// The `k` greatest of a sample's scores as labels that are each true or not, with their probabilities, `sigmoid(score)`, the most
/// probable first; of equal ones the first.
///
/// ```
/// let top = rekindle_models::top_k_labels(&[0.0, 2.0, 1.0], 2);
/// assert_eq!(top.iter().map(|(label, _)| *label).collect::<Vec<_>>(), [1, 2]);
/// assert!((top[0].1 - 0.880797).abs() < 1e-6);
/// ```
#[must_use]
pub fn top_k_labels(scores: &[f64], k: usize) -> Vec<(usize, f64)> {
    let sigmoid = |label: usize| (label, 1.0 / (1.0 + (-scores[label]).exp()));
    in_order(scores).into_iter().take(k).map(sigmoid).collect()
}

/// The numbers of scores, the greatest first.
fn in_order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The `k` greatest of a sample's scores as classes with their probabilities, `softmax(scores)`, the most probable first; of
/// equal ones the first. A score that is NaN makes every probability NaN.
///
/// ```
/// let top = rekindle_models::top_k(&[0.0, 2.0, 1.0], 2);
/// assert_eq!(top.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [1, 2]);
/// assert!((top[0].1 - 0.665241).abs() < 1e-6);
/// ```
#[must_use]
pub fn top_k(scores: &[f64], k: usize) -> Vec<(usize, f64)> {
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
    in_order(scores).into_iter().take(k).map(|class| (class, (scores[class] - greatest).exp() / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_in_their_common_spellings() {
        let names = ["tench", "goldfish"].map(str::to_owned).to_vec();
        for text in [
            "tench\ngoldfish\n",
            "tench\r\ngoldfish",
            r#"["tench", "goldfish"]"#,
            r#"{"1": "goldfish", "0": "tench"}"#,
            r#"{"model_type": "vit", "id2label": {"0": "tench", "1": "goldfish"}}"#,
            r#"{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}"#,
        ] {
            assert_eq!(Labels::parse(text), Ok(Labels { names: names.clone(), problem: None }), "{text}");
        }
        let text = r#"{"problem_type": "multi_label_classification", "id2label": {"0": "tench", "1": "goldfish"}}"#;
        assert_eq!(Labels::parse(text), Ok(Labels { names, problem: Some(Problem::MultiLabel) }));
    }

    #[test]
    fn a_file_that_is_no_labels_says_why() {
        for (text, said) in [
            ("", "no labels"),
            ("[]", "no labels"),
            ("[1, 2]", "1 is no label"),
            ("[[]]", "[] is no label"),
            (r#"{"0": "tench", "2": "shark"}"#, "'2' is no class: there are 2 labels, for 0 to 1"),
            (r#"{"00": "tench", "0": "shark"}"#, "it leaves out 1"),
            (r#"{"tench": 0}"#, "'tench' is no class"),
            (r#"{"id2label": 3}"#, "id2label is no dict"),
            (r#"{"id2label": {"0": "a"}, "problem_type": "guess"}"#, "problem_type is \"guess\""),
            (r#"["tench""#, "no JSON"),
        ] {
            let found = Labels::parse(text).unwrap_err();
            assert!(found.contains(said), "{text}: {found}");
        }
    }

    #[test]
    fn scores_that_are_no_numbers_have_no_probabilities() {
        assert!(top_k(&[0.0, f64::NAN, 1.0], 3).iter().all(|(_, probability)| probability.is_nan()));
        assert_eq!(top_k(&[f64::NEG_INFINITY, 0.0], 5), [(1, 1.0), (0, 0.0)]);
        assert!(top_k(&[], 5).is_empty());
    }
}
