//! Samples so many at once, and the outputs of all parts as one.

use std::ops::Range;

use burn::tensor::Device;
use rekindle::models::ModelError;
use rekindle::models::functional::Array;
use rekindle::models::graph::Length;
use rekindle::recorder::Error;

use super::network::Takes;

/// How the samples of a file are shared out.
pub(super) struct Parts {
    /// Whether each input has a sample a row, and is cut.
    cut: Vec<bool>,
    samples: usize,
    at_once: usize,
    /// What the program was exported for, if it was for one number of samples.
    fixed: Option<usize>,
}

impl Parts {
    /// Parts of `at_once` samples, or all at once. Inputs whose first dimension is called as that of the first input have a
    /// sample a row; others go into each part as they are.
    pub(super) fn new(takes: &[Takes], inputs: &[Array], at_once: Option<usize>) -> Result<Self, Error> {
        let leading = takes.first().and_then(|input| input.lengths.first());
        let samples = inputs.first().and_then(|input| input.shape().first()).copied();
        let fixed = fixed(leading);
        let Some(at_once) = at_once else {
            let samples = samples.unwrap_or(1);
            return Ok(Parts { cut: Vec::new(), samples, at_once: samples.max(1), fixed });
        };
        let (Some(leading), Some(samples)) = (leading, samples) else {
            return Err(Error::invalid(
                "the network's first input has no samples to compute so many at once; leave --batch-size out",
            ));
        };
        fits(fixed, samples, at_once).map_err(Error::invalid)?;
        let cut: Vec<bool> = takes.iter().map(|input| input.lengths.first() == Some(leading)).collect();
        for ((input, array), _) in takes.iter().zip(inputs).zip(&cut).filter(|(_, cut)| **cut) {
            let found = array.shape().first().copied().unwrap_or(0);
            if found != samples {
                let (name, first) = (&input.name, &takes[0].name);
                return Err(Error::invalid(format!(
                    "the input '{name}' has {found} samples, and '{first}' has {samples}"
                )));
            }
        }
        Ok(Parts { cut, samples, at_once, fixed })
    }

    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Whether there are several.
    pub(super) fn several(&self) -> bool {
        self.samples > self.at_once
    }

    /// The samples of each part. Where there are none at all, there is one part without any.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let (samples, at_once) = (self.samples, self.at_once);
        (0..samples.max(1)).step_by(at_once).map(move |start| start..samples.min(start + at_once))
    }

    /// The inputs of one part.
    pub(super) fn of(&self, inputs: &[Array], range: &Range<usize>) -> Result<Vec<Array>, Error> {
        let bound = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        let of = |(index, input): (usize, &Array)| {
            if !self.several() || !self.cut.get(index).copied().unwrap_or(false) {
                return Ok(input.clone());
            }
            input.slice(0, Some(bound(range.start)), Some(bound(range.end)), 1)
        };
        inputs.iter().enumerate().map(of).collect::<Result<_, _>>().map_err(|error| Error::invalid(error.to_string()))
    }

    /// The error, with what would help where the program is for another number of samples.
    pub(super) fn explained(&self, error: &ModelError) -> Error {
        let helps = self.fixed.filter(|&fixed| fixed > 0 && fixed < self.samples && self.samples.is_multiple_of(fixed));
        let help = match helps {
            Some(fixed) if self.cut.is_empty() => format!(", or pass --batch-size {fixed}"),
            _ => String::new(),
        };
        Error::invalid(format!("{error}{help}"))
    }
}

/// How many samples a program was exported for, if it was for one number of them.
pub(super) fn fixed(leading: Option<&Length>) -> Option<usize> {
    match leading {
        Some(Length::Exactly(length)) => Some(*length),
        _ => None,
    }
}

/// Whether a program of one number of samples can compute so many, so many at once.
pub(super) fn fits(fixed: Option<usize>, samples: usize, at_once: usize) -> Result<(), String> {
    let Some(fixed) = fixed else { return Ok(()) };
    let dynamic = "export it with `dynamic_shapes` for others";
    if at_once != fixed {
        return Err(format!(
            "the program was exported for {fixed} samples at once, not {at_once}: {dynamic}, or pass --batch-size {fixed}"
        ));
    }
    match samples.checked_rem(fixed).unwrap_or(0) {
        0 => Ok(()),
        left => Err(format!(
            "the program was exported for {fixed} samples at once, and of {samples} there are {left} left over: {dynamic}, or give it a \
             multiple of {fixed}"
        )),
    }
}

/// The outputs of all parts.
#[derive(Default)]
pub(super) struct Gathered(Vec<(String, Vec<Array>)>);

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the outputs of one part, of so many samples where there are several parts.
    pub(super) fn push(&mut self, outputs: Vec<(String, Array)>, samples: Option<usize>) -> Result<(), Error> {
        for (index, (name, array)) in outputs.into_iter().enumerate() {
            if samples.is_some_and(|samples| array.shape().first() != Some(&samples)) {
                return Err(Error::invalid(format!(
                    "the output '{name}' of {:?} has not a row for each sample, and cannot be joined; compute all samples at once, \
                     with a greater --batch-size or without",
                    array.shape()
                )));
            }
            let array = array.to_device(&Device::flex());
            match self.0.get_mut(index) {
                Some((_, parts)) => parts.push(array),
                None => self.0.push((name, vec![array])),
            }
        }
        Ok(())
    }

    /// Each output, of all samples.
    pub(super) fn joined(self) -> Result<Vec<(String, Array)>, Error> {
        let join = |(name, mut parts): (String, Vec<Array>)| {
            let whole = match parts.len() {
                1 => parts.swap_remove(0),
                _ => Array::cat(&parts, 0).map_err(|error| Error::invalid(error.to_string()))?,
            };
            Ok((name, whole))
        };
        self.0.into_iter().map(join).collect()
    }
}
