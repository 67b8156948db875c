//! The place in the data that a checkpoint has: the state dict of the loader that goes on.

use rekindle_recorder::run::{Accounted, Question, RunState, Taken};
use rekindle_recorder::{Checkpoint, Result};

use crate::attributes::invalid;
use crate::run::options::ResumeOptions;

/// Takes the one that is said, or the only one; asks where there are several. Gives what is to be said of it, a sentence each.
///
/// # Errors
/// When there is none where it was said to be, or one is to be added beside one that is there.
pub(super) fn take(
    checkpoint: &Checkpoint,
    state: &mut RunState,
    options: &ResumeOptions,
    values: &mut [Accounted],
    questions: &mut Vec<Question>,
) -> Result<Vec<String>> {
    if options.weights_only || options.no_loader_state {
        let there = state.loader.take().is_some() && options.no_loader_state;
        state.loader_place = None;
        let said = "the place in the data stays as it is in the file, and the loader begins an epoch (`ResumeOptions::no_loader_state`)";
        return Ok(if there { vec![said.to_owned()] } else { Vec::new() });
    }
    if options.add_loader && !state.loader_places.is_empty() {
        let place = &state.loader_places[0];
        return Err(invalid(format!("the checkpoint has {place} already (`ResumeOptions::add_loader`)")));
    }
    if let Some(place) = &options.loader_state {
        state.take_loader(checkpoint, place)?;
        for value in values.iter_mut().filter(|value| matches!(value.taken, Taken::Open("place in the data"))) {
            value.taken = if value.place == *place {
                Taken::Part("place in the data")
            } else {
                Taken::Other("place in the data")
            };
        }
        return Ok(vec![format!("the loader goes on from {place} (`ResumeOptions::loader_state`)")]);
    }
    if state.loader_places.len() > 1 {
        let question = Question::new(format!("{} are each a loader's state", state.loader_places.join(", ")));
        let take = |question: Question, place: &String| {
            question.or(format!("ResumeOptions::loader_state(\"{place}\")"), "to go on from it")
        };
        let question = state.loader_places.iter().fold(question, take);
        questions.push(question.or("ResumeOptions::no_loader_state(true)", "to begin an epoch"));
    }
    let added =
        options.add_loader.then(|| "the place in the data is written, too (`ResumeOptions::add_loader`)".to_owned());
    let there = state.loader_place.as_ref().map(|place| format!("the loader goes on from {place}"));
    Ok(there.into_iter().chain(added).collect())
}
