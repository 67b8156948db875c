//! `Progress`: how far a run is, on a terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error: the step, the loss, the learning rate, samples a second, and the time that is left. Where standard error is no
/// terminal, or the environment has `NO_COLOR`, nothing is shown.
///
/// ```
/// use rekindle::Progress;
///
/// let mut progress = Progress::new(100); // steps, of which the first is number 301 here
/// for step in 301..=400 {
///     progress.saw(64); // a batch of 64
///     progress.step(step, 0.25, &[1e-3]);
/// }
/// progress.finish();
/// ```
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// When the samples of the present rate began to be counted, and how many there are.
    since: Instant,
    samples: u64,
    /// Samples a second, once it is known.
    rate: Option<f64>,
}

/// How long samples are counted for a rate: long enough for it to be steady, short enough to follow.
const WINDOW: Duration = Duration::from_secs(2);

impl Progress {
    /// Of so many steps.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        if !Progress::is_shown() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        // A template that does not parse leaves indicatif's own.
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}  {eta} left") {
            bar.set_style(style);
        }
        Progress { bar, since: Instant::now(), samples: 0, rate: None }
    }

    /// Whether bars are shown: standard error is a terminal, and the environment has no `NO_COLOR`.
    #[must_use]
    pub fn is_shown() -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    /// So many steps were made before.
    pub fn go_on_after(&mut self, steps: u64) {
        self.bar.set_position(steps);
    }

    /// So many samples were seen: a batch of a step.
    pub fn saw(&mut self, samples: usize) {
        self.samples += samples as u64;
    }

    /// A step was made: its number, its loss, and the learning rate of each group.
    pub fn step(&mut self, step: u64, loss: f64, lr: &[f64]) {
        self.bar.inc(1);
        if self.bar.is_hidden() {
            return;
        }
        let passed = self.since.elapsed();
        if passed >= WINDOW {
            #[allow(clippy::cast_precision_loss)] // a count of samples
            (self.rate = Some(self.samples as f64 / passed.as_secs_f64()));
            (self.since, self.samples) = (Instant::now(), 0);
        }
        self.bar.set_message(message(step, loss, lr, self.rate));
    }

    /// Does something with the bar out of the way, such as printing.
    pub fn suspend<R>(&self, act: impl FnOnce() -> R) -> R {
        self.bar.suspend(act)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(step: u64, loss: f64, lr: &[f64], rate: Option<f64>) -> String {
    let rates: Vec<String> = lr.iter().take(3).map(|lr| format!("{lr:.2e}")).collect();
    let more = if lr.len() > 3 { ", .." } else { "" };
    let rate = match rate {
        Some(rate) if rate >= 10.0 => format!("  {rate:.0} samples/s"),
        Some(rate) => format!("  {rate:.2} samples/s"),
        None => String::new(),
    };
    format!("step {step}  loss {loss:.4}  lr {}{more}{rate}", rates.join(", "))
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_message_has_the_loss_the_rates_and_samples_a_second() {
        assert_eq!(message(6, 0.123_45, &[1e-3], None), "step 6  loss 0.1235  lr 1.00e-3");
        assert_eq!(
            message(7, f64::NAN, &[0.1, 0.2], Some(5321.7)),
            "step 7  loss NaN  lr 1.00e-1, 2.00e-1  5322 samples/s"
        );
        assert_eq!(
            message(8, 1.0, &[1.0; 4], Some(0.5)),
            "step 8  loss 1.0000  lr 1.00e0, 1.00e0, 1.00e0, ..  0.50 samples/s"
        );
    }
}
