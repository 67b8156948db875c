//! A hundred million draws of four distributions, on one thread.

use rekindle::random::{Generator, bernoulli_, exponential_, normal_, uniform_};

use super::{Line, Row, nothing, timed, unknown};

const KINDS: [&str; 4] = ["uniform", "normal", "exponential", "bernoulli"];

pub(super) const GENERATOR: Row = Row {
    name: "generator",
    what: "100 million draws of four distributions",
    prepare: nothing,
    lines: |_| {
        let line = |kind: &&str| {
            Line::new(format!("generator: 100 million draws, {kind}_"), *kind)
                .torch("PyTorch, one thread", *kind, 1.0)
                .rounds(7)
        };
        KINDS.iter().map(line).collect()
    },
    turns: |variant, setting| {
        let (mut generator, kind) = (Generator::new(0), variant.to_owned());
        let mut values = vec![1.0_f32; setting.sized(100_000_000, 1_000_000)];
        Ok(Box::new(move || {
            timed(|| {
                match &*kind {
                    "uniform" => uniform_(&mut generator, &mut values, 0.0, 1.0)?,
                    "normal" => normal_(&mut generator, &mut values, 0.0, 1.0)?,
                    "exponential" => exponential_(&mut generator, &mut values, 1.0)?,
                    "bernoulli" => bernoulli_(&mut generator, &mut values, 0.5)?,
                    _ => return unknown(&kind),
                }
                Ok(())
            })
        }))
    },
};
