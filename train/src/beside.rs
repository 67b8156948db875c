//! Whoever writes in the background gives way to whoever makes a step: both wait for memory, and the loop waits for the step.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many steps are being made.
static STEPS: Mutex<usize> = Mutex::new(0);
/// A core of so many is a large part of them.
const FEW: usize = 4;
static NONE: Condvar = Condvar::new();

/// A step that is being made, as long as this lives.
#[derive(Debug)]
pub(crate) struct Step(());

impl Step {
    pub(crate) fn begin() -> Self {
        *STEPS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Step(())
    }

    /// The same where whoever writes in the background would take one of a few cores away: where the loop has threads for all of them.
    pub(crate) fn begin_on_few_cores() -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores <= FEW && rayon::current_num_threads() >= cores).then(Step::begin)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
        *steps = steps.saturating_sub(1);
        if *steps == 0 {
            NONE.notify_all();
        }
    }
}

/// Lets other threads go before this one, from now on, and before those that it begins: what is written in the background takes the time that
/// nobody else has use for, and a tenth of a core where there is none. Linux alone has priorities of threads.
pub(crate) fn stand_back() {
    /// As niceness has it: 0 is usual, 19 the last.
    #[cfg(target_os = "linux")]
    const BEHIND: i32 = 10;
    // Where it may not be changed, all are equal, as elsewhere.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, BEHIND);
}

/// One piece of work in the background, and how long it still gives way: not for ever, for steps may follow one another without a pause.
#[derive(Debug)]
pub(crate) struct Beside {
    left: Duration,
}

impl Beside {
    pub(crate) fn new(longest: Duration) -> Self {
        Beside { left: longest }
    }

    /// Waits while a step is being made.
    pub(crate) fn give_way(&mut self) {
        if self.left.is_zero() {
            return;
        }
        let steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
        if *steps == 0 {
            return;
        }
        let begun = Instant::now();
        drop(NONE.wait_timeout_while(steps, self.left, |steps| *steps > 0));
        self.left = self.left.saturating_sub(begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_the_background_waits_for_a_step_and_not_for_ever() {
        let step = Step::begin();
        let mut impatient = Beside::new(Duration::from_millis(1));
        impatient.give_way();
        assert!(impatient.left.is_zero(), "it waited as long as it may");
        impatient.give_way();

        // Whether it has to wait or not, it comes to its end once the step has.
        let patient = std::thread::spawn(|| Beside::new(Duration::from_hours(1)).give_way());
        drop(step);
        patient.join().unwrap();
    }
}
