//! How long a checkpoint stops the loop: 124 million parameters (GPT-2's) with AdamW on the CPU, saved every few steps, once waiting for
//! each file and once with the files written in the background.
//!
//! The stall is what turns of the loop take longer than others without a save, from one batch to the next: what comes after the save is
//! counted in, which pays for whatever of the memory is still held.

use std::time::Instant;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use rekindle::Run;
use rekindle::models::zoo::Gpt2;
use rekindle::train::checkpoints::{CheckpointOptions, Checkpoints};
use rekindle::train::optim::{AdamWOptions, Optimizer};

use super::networks::{Loss, gpt, tokens};
use super::{Line, Result, Row, Turn, nothing, unknown};
use crate::setting::Setting;

const WIDTH: usize = 768;
/// A twentieth.
const GOAL: f64 = 0.05;

/// Matrices as a transformer's.
#[derive(Module, Debug)]
struct Parameters {
    matrices: Vec<Param<Tensor<2>>>,
}

impl Parameters {
    fn new(millions: usize, device: &Device) -> Self {
        let count = (millions * 1_000_000).div_ceil(WIDTH * WIDTH * 4);
        let spread = Distribution::Uniform(-0.5, 0.5);
        let matrix = |_| Param::from_tensor(Tensor::random([WIDTH, 4 * WIDTH], spread, device));
        Parameters { matrices: (0..count).map(matrix).collect() }
    }

    fn loss(&self, slope: &Tensor<2>) -> Tensor<1> {
        let each = self.matrices.iter().map(|matrix| (matrix.val() * slope.clone()).sum());
        each.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([1], &Device::flex()))
    }
}

pub(super) const STALL: Row = Row {
    name: "stall",
    what: "how long an asynchronous save stops the loop",
    prepare: nothing,
    lines: |_| {
        let line = |what: &str, variant: &str| {
            Line::new(
                format!("stall by a save in the background, 124 M + AdamW: {what}"),
                format!("background {variant}"),
            )
            .rust("the stall by a save that is waited for", format!("waited {variant}"), GOAL)
            .torch("`torch.save`", "save", GOAL)
            .rounds(7)
            .median()
        };
        vec![
            line("a turn is a step of the optimizer and nothing else", "step"),
            line("a turn is GPT-2 forward and backward on 64 tokens, and a step", "turn"),
            line("four such turns with a save before the first", "turns"),
            line("such a turn on one thread, so that another core is free", "one-thread"),
        ]
    },
    turns: |variant, setting| {
        let (background, turn) = variant.split_once(' ').ok_or("background or waited, and a turn")?;
        let device = Device::flex().autodiff();
        let millions = setting.sized(124, 4);
        let background = background == "background";
        match turn {
            "step" => {
                let slope = Tensor::random([WIDTH, 4 * WIDTH], Distribution::Uniform(-1.0, 1.0), &device);
                let loss: Loss<Parameters> = Box::new(move |parameters: &Parameters| Ok(parameters.loss(&slope)));
                stalls(Parameters::new(millions, &device), loss, background, 1, setting)
            }
            "turn" | "turns" | "one-thread" => {
                if turn == "one-thread" {
                    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
                }
                let (net, places) = (gpt(setting.sized([768, 12, 12], [64, 2, 2]), 50257, 64, &device)?, [1, 64]);
                let (now, next) = (tokens(0, places, 50257, &device), tokens(1, places, 50257, &device));
                let loss: Loss<Gpt2> = Box::new(move |net: &Gpt2| Ok(net.loss(now.clone(), next.clone())?));
                stalls(net, loss, background, if turn == "turns" { 4 } else { 1 }, setting)
            }
            _ => unknown(variant),
        }
    },
};

/// Each time as many turns with a save before the first, and as many without: the difference.
fn stalls<M: Module + 'static>(
    model: M,
    loss: Loss<M>,
    background: bool,
    turns: u32,
    setting: &Setting,
) -> Result<Turn> {
    let optimizer = Optimizer::adamw(&model, AdamWOptions::default())?;
    let folder = tempfile::tempdir_in(&setting.disk)?;
    let options = CheckpointOptions::default();
    let options = options.every_steps(u64::from(2 * turns)).keep_last(1).in_background(background).on_error(false);
    let checkpoints = Checkpoints::new(folder.path(), options)?;
    let mut run = Run::start(model, optimizer).with_checkpoints(checkpoints)?;
    let mut seconds = move || -> Result<f64> {
        let begin = Instant::now();
        for _ in 0..turns {
            run.goes_on()?;
            let loss = loss(run.model())?;
            run.step(loss)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        // Nothing is written while turns without a save are measured.
        run.wait()?;
        Ok(seconds)
    };
    // The first steps make what later ones use again.
    for _ in 0..2 {
        seconds()?;
    }
    Ok(Box::new(move || {
        let _folder = &folder;
        let with = seconds()?;
        Ok(with - seconds()?)
    }))
}
