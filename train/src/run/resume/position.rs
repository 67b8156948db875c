//! Which numbers of a checkpoint count the epochs and the steps, where their keys do not tell.

use rekindle_recorder::run::{Accounted, Question, RunState, Taken};
use rekindle_recorder::{Checkpoint, Result};

use crate::run::options::ResumeOptions;

/// Takes the numbers from where they were said to be.
///
/// # Errors
/// When no whole number is there.
pub(crate) fn take(state: &mut RunState, checkpoint: &Checkpoint, at: (Option<&str>, Option<&str>)) -> Result<()> {
    let (epoch, step) = at;
    epoch.map_or(Ok(()), |place| state.take_epoch(checkpoint, place))?;
    step.map_or(Ok(()), |place| state.take_step(checkpoint, place))
}

/// Takes the numbers as they were said, counts them among what goes on, and asks about those of which nothing was said.
///
/// # Errors
/// As [`take`].
pub(super) fn told(
    state: &mut RunState,
    checkpoint: &Checkpoint,
    options: &ResumeOptions,
    values: &mut [Accounted],
) -> Result<Vec<Question>> {
    take(state, checkpoint, (options.epoch_at.as_deref(), options.step_at.as_deref()))?;
    for (place, role) in [(&state.epoch_place, "epoch"), (&state.step_place, "step")] {
        let Some(place) = place else { continue };
        for value in values.iter_mut() {
            if value.place == *place {
                value.taken = Taken::Part(role);
            } else if value.taken == Taken::Part(role) {
                value.taken = Taken::Second(role);
            }
        }
    }
    let open = values.iter().filter(|value| value.is_open_count() && !options.keep_numbers && !options.weights_only);
    let ask = |Accounted { place, .. }: &Accounted| {
        Question::new(format!("nothing tells what the number at {place} counts"))
            .or(format!("ResumeOptions::epoch_at(\"{place}\")"), "where it is that of the epochs")
            .or(format!("ResumeOptions::step_at(\"{place}\")"), "where it is that of the steps")
            .or("ResumeOptions::keep_numbers(true)", "to leave it as it is")
    };
    Ok(open.map(ask).collect())
}
