//! What is done around each step of the optimizer: gradients are clipped, and gathered over several batches.

use rekindle_recorder::Result;

use crate::attributes::invalid;
use crate::clip::ClipGradNorm;
use crate::run::options::ResumeOptions;
use crate::run::parts::Clip;

/// What the user said of the steps.
pub(super) struct Around {
    clip: Option<Clip>,
    /// Whether gradients are not clipped, whatever the checkpoint says.
    no_clip: bool,
    /// Of how many batches a step takes the mean.
    pub(super) accumulate: u64,
}

impl Around {
    /// Reads the options.
    ///
    /// # Errors
    /// When a number is out of range, or both ways of clipping are asked for.
    pub(super) fn read(options: &ResumeOptions) -> Result<Around> {
        let positive = |name: &str, value: f64| {
            if value > 0.0 {
                return Ok(value);
            }
            Err(invalid(format!("`ResumeOptions::{name}` must be above 0, and is {value}")))
        };
        let clip = match (options.clip_norm, options.clip_value) {
            (None, None) => None,
            (Some(norm), None) => Some(Clip::Norm(ClipGradNorm::new(positive("clip_norm", norm)?))),
            (None, Some(value)) => Some(Clip::Value(positive("clip_value", value)?)),
            (Some(_), Some(_)) => {
                let both = "`ResumeOptions::clip_norm` and `ResumeOptions::clip_value`";
                return Err(invalid(format!("{both} are two ways to clip gradients; say one of them")));
            }
        };
        if options.no_clip && clip.is_some() {
            return Err(invalid(
                "`ResumeOptions::no_clip` was said, and how gradients are clipped, too; say one of them",
            ));
        }
        let accumulate = options.accumulate.unwrap_or(1);
        if accumulate == 0 {
            return Err(invalid("a step is of at least 1 batch (`ResumeOptions::accumulate`)"));
        }
        Ok(Around { clip, no_clip: options.no_clip, accumulate })
    }

    /// How gradients are clipped, of a checkpoint that says this norm.
    pub(super) fn clip_after(&self, told: Option<f64>) -> Option<Clip> {
        let told = told.filter(|_| !self.no_clip).map(|norm| Clip::Norm(ClipGradNorm::new(norm)));
        self.clip.or(told)
    }

    /// What the user changed, a sentence each.
    pub(super) fn said(&self) -> Vec<String> {
        let clip = self.clip.map(|clip| match clip {
            Clip::Norm(clip) => {
                format!("gradients are clipped to a norm of {} (`ResumeOptions::clip_norm`)", clip.max_norm)
            }
            Clip::Value(value) => format!("gradients are clipped to {value} each (`ResumeOptions::clip_value`)"),
        });
        let none = self.no_clip.then(|| "gradients are not clipped (`ResumeOptions::no_clip`)".to_owned());
        let several = (self.accumulate > 1)
            .then(|| format!("a step takes the mean of {} batches (`ResumeOptions::accumulate`)", self.accumulate));
        clip.into_iter().chain(none).chain(several).collect()
    }
}
