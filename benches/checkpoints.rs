//! How long a checkpoint stops the loop: a run of AdamW over 124 million parameters (GPT-2's) on the CPU, saved each second step, once
//! waiting for each file and once with the files written in the background.
//!
//!     cargo bench --bench checkpoints            # 124 million parameters, about 6 GB of memory, 1.5 GB a file
//!     cargo bench --bench checkpoints -- 10      # 10 million
//!
//! The stall is what a turn of the loop takes longer than one without a save, from one batch to the next: the step after it is
//! counted in, which pays for whatever of the memory is still held. Medians over the rounds.

use std::time::{Duration, Instant};

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use rekindle::Run;
use rekindle::train::checkpoints::{CheckpointOptions, Checkpoints};
use rekindle::train::optim::{AdamWOptions, Optimizer};

const WIDTH: usize = 768;
const ROUNDS: usize = 5;

type Error = Box<dyn std::error::Error>;

/// The command's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

/// The time of a turn with a save and of one without, medians; and how long a save takes until its file is on the disk.
fn measured(millions: usize, background: bool) -> Result<[Duration; 3], Error> {
    let device = Device::flex().autodiff();
    let parameters = Parameters::new(millions, &device);
    let slope = Tensor::random([WIDTH, 4 * WIDTH], Distribution::Uniform(-1.0, 1.0), &device);
    let optimizer = Optimizer::adamw(&parameters, AdamWOptions::default())?;
    let folder = tempfile::tempdir_in(".")?;
    let options = CheckpointOptions::default().every_steps(2).keep_last(1).in_background(background).on_error(false);
    let checkpoints = Checkpoints::new(folder.path(), options)?;
    let mut run = Run::start(parameters, optimizer).with_checkpoints(checkpoints)?;
    let (mut with, mut without, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..2 * (ROUNDS + 1) {
        let saves = run.is_save_due();
        let begin = Instant::now();
        run.goes_on()?;
        let loss = run.model().loss(&slope);
        run.step(loss)?;
        let took = begin.elapsed();
        // Nothing is written while a turn without a save is measured.
        run.wait()?;
        match (turn, saves) {
            (0..2, _) => {}
            (_, true) => {
                with.push(took);
                whole.push(begin.elapsed());
            }
            (_, false) => without.push(took),
        }
    }
    Ok([with, without, whole].map(|mut times| {
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }))
}

fn main() -> Result<(), Error> {
    let millions = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(124);
    let [with, without, _] = measured(millions, false)?;
    let save = with.saturating_sub(without);
    println!("{millions} million parameters, AdamW: a turn takes {without:.2?}, a save that is waited for {save:.2?}");
    let [with, without, whole] = measured(millions, true)?;
    let stall = with.saturating_sub(without);
    println!(
        "in the background: a turn takes {without:.2?}, with a save {with:.2?} (its file is there after {whole:.2?}): the loop stalls for \
         {stall:.2?}, {:.1} % of a save that is waited for",
        100.0 * stall.as_secs_f64() / save.as_secs_f64()
    );
    Ok(())
}
