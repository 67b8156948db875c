//! Whoever writes in the background gives way to whoever makes a step: both wait for memory, and the loop waits for the step.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who is at work in the loop.
struct Loops {
    /// How many steps are being made.
    steps: usize,
    /// How many loops wait for what is written, in the midst of a step or not.
    waiting: usize,
}

impl Loops {
    fn would_wait(&self) -> bool {
        self.steps > 0 && self.waiting == 0
    }
}

static LOOPS: Mutex<Loops> = Mutex::new(Loops { steps: 0, waiting: 0 });
/// A core of so many is a large part of them.
const FEW: usize = 4;
static CHANGED: Condvar = Condvar::new();

/// A step that is being made, as long as this lives.
#[derive(Debug)]
pub(crate) struct Step(());

impl Step {
    pub(crate) fn begin() -> Self {
        loops().steps += 1;
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
        let mut loops = loops();
        loops.steps = loops.steps.saturating_sub(1);
        if loops.steps == 0 {
            CHANGED.notify_all();
        }
    }
}

/// A loop that waits for what is written: nobody gives way to it as long as this lives.
#[derive(Debug)]
pub(crate) struct Waiting(());

impl Waiting {
    pub(crate) fn begin() -> Self {
        loops().waiting += 1;
        CHANGED.notify_all();
        Waiting(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut loops = loops();
        loops.waiting = loops.waiting.saturating_sub(1);
    }
}

fn loops() -> MutexGuard<'static, Loops> {
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Waits while a step is being made, unless a loop waits in turn.
    pub(crate) fn give_way(&mut self) {
        if self.left.is_zero() {
            return;
        }
        let loops = loops();
        if !loops.would_wait() {
            return;
        }
        let begun = Instant::now();
        drop(CHANGED.wait_timeout_while(loops, self.left, |loops| loops.would_wait()));
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

        // Nor while a loop waits for it in the midst of a step, as one does that saves because of an error.
        let mut waited_for = Beside::new(Duration::from_hours(1));
        let waiting = Waiting::begin();
        waited_for.give_way();
        drop(waiting);

        // Whether it has to wait or not, it comes to its end once the step has.
        let patient = std::thread::spawn(|| Beside::new(Duration::from_hours(1)).give_way());
        drop(step);
        patient.join().unwrap();
    }
}
