//! One step of an optimizer over 50 million parameters in 160 tensors on the CPU, beside PyTorch's single-tensor, foreach and
//! fused steps in the same run, taken in turn. A step uses the gradients up; PyTorch's `zero_grad()` is counted with its step:
//!
//!     REKINDLE_TORCH=/path/to/python cargo bench --bench optimizer
//!
//! Without `REKINDLE_TORCH` (a Python with PyTorch) only our own step is measured. Medians over the rounds; both sides use as
//! many threads as there are cores.

mod rival;

use std::time::Instant;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use rekindle::train::optim::{AdamOptions, AdamWOptions, Hyperparameters, Optimizer, SgdOptions};

use rival::Torch;

const PAIRS: usize = 80;
const SIZE: usize = 790;
const ROUNDS: usize = 11;
const PATHS: [&str; 3] = ["single", "foreach", "fused"];

type Error = Box<dyn std::error::Error>;

/// The command's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Square matrices and vectors in turn, as a transformer has them.
#[derive(Module, Debug)]
struct Parameters {
    matrices: Vec<Param<Tensor<2>>>,
    vectors: Vec<Param<Tensor<1>>>,
}

impl Parameters {
    fn new(device: &Device) -> Self {
        let spread = Distribution::Uniform(-0.5, 0.5);
        Parameters {
            matrices: (0..PAIRS).map(|_| Param::from_tensor(Tensor::random([SIZE, SIZE], spread, device))).collect(),
            vectors: (0..PAIRS).map(|_| Param::from_tensor(Tensor::random([SIZE], spread, device))).collect(),
        }
    }

    /// A loss that gives every parameter a gradient with elements of its own, as a layer does.
    fn loss(&self, slopes: &(Tensor<2>, Tensor<1>)) -> Tensor<1> {
        let matrices = self.matrices.iter().map(|matrix| (matrix.val() * slopes.0.clone()).sum());
        let vectors = self.vectors.iter().map(|vector| (vector.val() * slopes.1.clone()).sum());
        matrices.chain(vectors).reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([1], &Device::flex()))
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() -> Result<(), Error> {
    let threads = std::thread::available_parallelism()?.get();
    let device = Device::flex().autodiff();
    let mut torch = Torch::start("optimizer.py", &[PAIRS, SIZE, threads])?;
    let spread = Distribution::Uniform(-0.5, 0.5);
    let slopes = (Tensor::random([SIZE, SIZE], spread, &device), Tensor::random([SIZE], spread, &device));
    let table: [(&str, Hyperparameters); 3] = [
        ("SGD", SgdOptions::default().lr(1e-3).momentum(0.9).into()),
        ("Adam", AdamOptions::default().into()),
        ("AdamW", AdamWOptions::default().into()),
    ];
    println!(
        "{PAIRS} matrices of {SIZE} x {SIZE} and as many vectors, {threads} threads, median of {ROUNDS} steps in ms"
    );
    println!("{:8}{:>10}{:>10}{:>10}{:>10}", "", "rekindle", PATHS[0], PATHS[1], PATHS[2]);
    for (name, hyperparameters) in table {
        let mut model = Parameters::new(&device);
        let mut optimizer = Optimizer::builder(hyperparameters).build(&model)?;
        let mut ours = Vec::new();
        let mut theirs: [Vec<f64>; 3] = Default::default();
        for round in 0..=ROUNDS {
            let gradients = model.loss(&slopes).backward();
            let begin = Instant::now();
            model = optimizer.step(model, gradients)?;
            let seconds = begin.elapsed().as_secs_f64();
            // The first step makes the state.
            if round == 0 {
                continue;
            }
            ours.push(seconds);
            if let Some(torch) = &mut torch {
                for (path, theirs) in PATHS.iter().zip(&mut theirs) {
                    theirs.push(torch.step(&format!("{name} {path}"))?);
                }
            }
        }
        print!("{name:8}{:>10.1}", median(ours) * 1e3);
        for theirs in theirs.into_iter().filter(|theirs| !theirs.is_empty()) {
            print!("{:>10.1}", median(theirs) * 1e3);
        }
        println!();
    }
    Ok(())
}
