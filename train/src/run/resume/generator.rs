//! The generator that a run draws from.

use rekindle_random::Generator;
use rekindle_recorder::Result;
use rekindle_recorder::run::{Accounted, Question, RunState, Taken};

use crate::attributes::invalid;

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
    /// When the state is none of a generator's.
    pub(super) fn make(
        state: &RunState,
        seed: Option<u64>,
        values: &[Accounted],
        questions: &mut Vec<Question>,
    ) -> Result<Drawn> {
        if let Some(rng) = &state.rng {
            let generator =
                Generator::from_state(&rng.to_vec::<u8>()?).map_err(|error| invalid(format!("rng_state: {error}")))?;
            return Ok(Drawn { generator, from: format!("the state at {}", state.rng_place.as_deref().unwrap_or("")) });
        }
        if let Some(seed) = seed {
            return Ok(Drawn { generator: Generator::new(seed), from: format!("seed {seed}") });
        }
        let open =
            values.iter().filter(|value| matches!(value.taken, Taken::Open("generator") | Taken::Odd("generator")));
        let places: Vec<_> = open.clone().map(|value| value.place.as_str()).collect();
        if !places.is_empty() {
            let mut question = Question::new(format!("{} may be the generator's state", places.join(", ")));
            for value in open.filter(|value| value.taken == Taken::Open("generator")) {
                question = question.or(format!("ResumeOptions::rng(\"{}\")", value.place), "to take it");
            }
            questions.push(question.or("ResumeOptions::seed(N)", "to begin with a seed"));
        }
        Ok(Drawn { generator: Generator::default(), from: "none in the file: PyTorch's default seed".to_owned() })
    }
}
