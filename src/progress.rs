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
/// let mut progress = Progress::new(1, 100); // steps 1 to 100
/// for step in 1..=100 {
///     // ... a step on a batch of 64
///     progress.step(step, 0.25, &[1e-3], 64);
/// }
/// progress.finish();
/// ```
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    first: u64,
    /// When the samples of the present rate began to be counted, and how many there are.
    since: Instant,
    samples: u64,
    /// Samples a second, once it is known.
    rate: Option<f64>,
}

/// How long samples are counted for a rate: long enough for it to be steady, short enough to follow.
const WINDOW: Duration = Duration::from_secs(2);

impl Progress {
    /// Of the steps from `first` to `last`, as they are numbered.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Self {
        let bar = ProgressBar::new((last + 1).saturating_sub(first));
        if !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        // A template that does not parse leaves indicatif's own.
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {prefix}  {msg}  {eta} left") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("step {first} of {last}"));
        Progress { bar, first, since: Instant::now(), samples: 0, rate: None }
    }

    /// A step was made: its number, its loss, the learning rate of each group, and how many samples it saw.
    pub fn step(&mut self, step: u64, loss: f64, lr: &[f64], samples: usize) {
        self.bar.set_position((step + 1).saturating_sub(self.first));
        if self.bar.is_hidden() {
            return;
        }
        self.samples += samples as u64;
        let passed = self.since.elapsed();
        if passed >= WINDOW {
            #[allow(clippy::cast_precision_loss)] // a count of samples
            (self.rate = Some(self.samples as f64 / passed.as_secs_f64()));
            (self.since, self.samples) = (Instant::now(), 0);
        }
        let last = self.first + self.bar.length().unwrap_or(0) - 1;
        self.bar.set_prefix(format!("step {step} of {last}"));
        self.bar.set_message(message(loss, lr, self.rate));
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

fn message(loss: f64, lr: &[f64], rate: Option<f64>) -> String {
    let rates: Vec<String> = lr.iter().take(3).map(|lr| format!("{lr:.2e}")).collect();
    let more = if lr.len() > 3 { ", .." } else { "" };
    let rate = match rate {
        Some(rate) if rate >= 10.0 => format!("  {rate:.0} samples/s"),
        Some(rate) => format!("  {rate:.2} samples/s"),
        None => String::new(),
    };
    format!("loss {loss:.4}  lr {}{more}{rate}", rates.join(", "))
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_message_has_the_loss_the_rates_and_samples_a_second() {
        assert_eq!(message(0.123_45, &[1e-3], None), "loss 0.1235  lr 1.00e-3");
        assert_eq!(message(f64::NAN, &[0.1, 0.2], Some(5321.7)), "loss NaN  lr 1.00e-1, 2.00e-1  5322 samples/s");
        assert_eq!(message(1.0, &[1.0; 4], Some(0.5)), "loss 1.0000  lr 1.00e0, 1.00e0, 1.00e0, ..  0.50 samples/s");
    }
}
