//! Which numbers of a checkpoint count the epochs and the steps, where their keys do not tell; and how many steps were made, where it
//! has no such number.

use rekindle_recorder::run::{Accounted, Question, RunState, Taken};
use rekindle_recorder::{Checkpoint, Result};

use crate::attributes::invalid;
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
    if let Some(made) = options.steps_made {
        agrees(made, state.step)?;
        state.step = Some(made);
    }
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

/// Whether as many steps were made as was said, as far as the checkpoint tells.
///
/// # Errors
/// When it tells another number, and when it is below 0.
pub(super) fn agrees(said: i64, told: Option<i64>) -> Result<()> {
    if let Some(told) = told.filter(|&told| told != said) {
        let what =
            format!("the checkpoint tells that {told} steps were made, and not {said} (`ResumeOptions::steps_made`)");
        return Err(invalid(what));
    }
    if said < 0 {
        return Err(invalid(format!("{said} steps cannot have been made (`ResumeOptions::steps_made`)")));
    }
    Ok(())
}
