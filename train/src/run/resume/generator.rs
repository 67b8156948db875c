//! The generator that a run draws from.

use rekindle_random::Generator;
use rekindle_recorder::run::{Accounted, Question, RunState, Taken};
use rekindle_recorder::{Result, Tensor};

/// A generator, and where it is from.
pub(super) struct Drawn {
    pub(super) generator: Generator,
    pub(super) from: String,
}

impl Drawn {
    /// The generator of a run: in the state that the checkpoint has, or begun with a seed. What may be a state, and is not
    /// known to be the one, is asked about.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn make(
        state: &RunState,
        seed: Option<u64>,
        values: &[Accounted],
        questions: &mut Vec<Question>,
    ) -> Result<Drawn> {
        let place = state.rng_place.as_deref().unwrap_or_default();
        let bytes = state.rng.as_ref().map(Tensor::to_vec::<u8>).transpose()?;
        let found = bytes.map(|bytes| Generator::from_state(&bytes));
        match found {
            Some(Ok(generator)) => {
                let unused = seed.map_or_else(String::new, |seed| format!("; seed {seed} is not used"));
                return Ok(Drawn { generator, from: format!("the state at {place}{unused}") });
            }
            Some(Err(error)) if seed.is_none() => {
                let question = Question::new(format!("{place} looks like the generator's state, and is none: {error}"));
                let question = others(values, place).fold(question, to_take);
                questions.push(question.or("ResumeOptions::seed(N)", "to begin with a seed"));
                return Ok(Drawn { generator: Generator::default(), from: "not told".to_owned() });
            }
            _ => {}
        }
        if let Some(seed) = seed {
            return Ok(Drawn { generator: Generator::new(seed), from: format!("seed {seed}") });
        }
        let open =
            values.iter().filter(|value| matches!(value.taken, Taken::Open("generator") | Taken::Odd("generator")));
        let places: Vec<_> = open.clone().map(|value| value.place.as_str()).collect();
        if !places.is_empty() {
            let question = Question::new(format!("{} may be the generator's state", places.join(", ")));
            let question = others(values, "").fold(question, to_take);
            questions.push(question.or("ResumeOptions::seed(N)", "to begin with a seed"));
        }
        Ok(Drawn { generator: Generator::default(), from: "none in the file: PyTorch's default seed".to_owned() })
    }
}

/// What looks like a state, but for what is here.
fn others<'a>(values: &'a [Accounted], here: &'a str) -> impl Iterator<Item = &'a Accounted> {
    values.iter().filter(move |value| value.taken == Taken::Open("generator") && value.place != here)
}

fn to_take(question: Question, value: &Accounted) -> Question {
    question.or(format!("ResumeOptions::rng(\"{}\")", value.place), "to take it")
}
