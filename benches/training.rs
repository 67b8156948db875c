//! A training step on the CPU (forward, loss, backward, a step of AdamW) beside PyTorch's eager one on as many threads and the
//! same batches, taken in turn:
//!
//!     REKINDLE_TORCH=/path/to/python cargo bench --bench training [-- lenet resnet18 lstm gpt mlp]
//!
//! Without `REKINDLE_TORCH` (a Python with PyTorch and torchvision) only our own steps are measured. Times are the best of the
//! rounds, in milliseconds: what else the machine does only ever adds. `plain` is the step with Burn's operators alone.

mod rival;

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use rekindle::models::functional::with_plain_operators;
use rekindle::models::init::Init;
use rekindle::models::nn::functional::cross_entropy;
use rekindle::models::nn::{LSTM, LSTMConfig, Linear, LinearConfig, Sequential};
use rekindle::models::zoo::gpt2::Flavour;
use rekindle::models::zoo::{Gpt2, Gpt2Config, LeNet, ResNet, ResNetConfig, mlp};
use rekindle::train::optim::{AdamWOptions, Optimizer};

use rival::Torch;

const ROUNDS: usize = 40;
const NAMES: [&str; 5] = ["lenet", "resnet18", "lstm", "gpt", "mlp"];

type Error = Box<dyn std::error::Error>;

/// The command's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An LSTM over `[batch, time, 64]`, and classes from its last output.
#[derive(Module, Debug)]
struct Classifier {
    rnn: LSTM,
    fc: Linear,
}

/// Steps of a network: each gives the seconds it took.
fn steps<M: Module + 'static>(
    model: M,
    loss: impl Fn(&M) -> Result<Tensor<1>, Error> + 'static,
) -> Result<Box<dyn FnMut() -> Result<f64, Error>>, Error> {
    let mut optimizer = Optimizer::builder(AdamWOptions::default().lr(1e-4)).build(&model)?;
    let mut model = Some(model);
    Ok(Box::new(move || {
        let begin = Instant::now();
        let now = model.take().ok_or("a step failed before")?;
        let gradients = loss(&now)?.backward();
        model = Some(optimizer.step(now, gradients)?);
        Ok(begin.elapsed().as_secs_f64())
    }))
}

/// Classes that come again and again, `factor` apart.
fn classes(from: i32, count: i32, factor: i32, classes: i32, device: &Device) -> Tensor<1, Int> {
    let targets: Vec<i32> = (from..from + count).map(|at| at * factor % classes).collect();
    Tensor::from_data(targets.as_slice(), device)
}

fn network(name: &str, device: &Device) -> Result<Box<dyn FnMut() -> Result<f64, Error>>, Error> {
    let mut init = Init::seeded(device, 0);
    let unit = Distribution::Uniform(0.0, 1.0);
    let (images, labels) = (Tensor::<4>::random([64, 3, 32, 32], unit, device), classes(0, 64, 1, 10, device));
    match name {
        "lenet" => steps(LeNet::new(&mut init)?, move |net: &LeNet| {
            Ok(cross_entropy(net.forward(images.clone())?, labels.clone())?)
        }),
        "resnet18" => steps(ResNet::new(&ResNetConfig::new(18, 10)?, &mut init)?, move |net: &ResNet| {
            Ok(cross_entropy(net.forward(images.clone())?, labels.clone())?)
        }),
        "lstm" => {
            let rnn = LSTMConfig::new(64, 128).with_batch_first(true).init_lstm(&mut init)?;
            let net = Classifier { rnn, fc: LinearConfig::new(128, 10).init(&mut init)? };
            let (x, labels) = (Tensor::<3>::random([32, 32, 64], unit, device), classes(0, 32, 1, 10, device));
            steps(net, move |net: &Classifier| {
                let last = net.rnn.forward(x.clone(), None)?.0.narrow(1, 31, 1).reshape([32, 128]);
                Ok(cross_entropy(net.fc.forward::<2>(last)?, labels.clone())?)
            })
        }
        "gpt" => {
            let (flavour, vocab_size, n_positions, n_embd) = (Flavour::NanoGpt, 65, 128, 384);
            let (n_layer, n_head, dropout, bias, layer_norm_epsilon) = (6, 6, 0.0, true, 1e-5);
            let config = Gpt2Config {
                flavour,
                vocab_size,
                n_positions,
                n_embd,
                n_layer,
                n_head,
                resid_pdrop: dropout,
                embd_pdrop: dropout,
                attn_pdrop: dropout,
                bias,
                layer_norm_epsilon,
                ..Gpt2Config::small(flavour)
            };
            let tokens = |from| classes(from, 1024, 7, 65, device).reshape([8, 128]);
            let (tokens, next) = (tokens(0), tokens(1));
            steps(Gpt2::new(&config, &mut init)?, move |net: &Gpt2| Ok(net.loss(tokens.clone(), next.clone())?))
        }
        _ => {
            let (x, labels) = (Tensor::<2>::random([128, 784], unit, device), classes(0, 128, 1, 10, device));
            steps(mlp(&[784, 1024, 1024, 1024, 1024, 10], &mut init)?, move |net: &Sequential| {
                Ok(cross_entropy(net.forward::<2, 2>(x.clone())?, labels.clone())?)
            })
        }
    }
}

fn main() -> Result<(), Error> {
    let threads = std::thread::available_parallelism()?.get();
    let device = Device::flex().autodiff();
    let mut torch = Torch::start("training.py", &[threads])?;
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| NAMES.contains(&arg.as_str())).collect();
    println!("{threads} threads, best of {ROUNDS} steps in ms");
    println!("{:10}{:>10}{:>10}{:>10}{:>10}", "", "rekindle", "PyTorch", "ratio", "plain");
    for name in NAMES.iter().filter(|name| asked.is_empty() || asked.iter().any(|asked| asked == *name)) {
        let (mut own, mut plain) = (network(name, &device)?, network(name, &device)?);
        let [mut ours, mut theirs, mut burns] = [f64::INFINITY; 3];
        for round in 0..ROUNDS + 3 {
            let mut seconds = [own()?, f64::INFINITY, f64::INFINITY];
            if let Some(torch) = &mut torch {
                seconds[1] = torch.step(name)?;
            }
            // A few are enough to see how far it is.
            if round < 8 {
                seconds[2] = with_plain_operators(&mut plain)?;
            }
            // The first steps make what later ones use again.
            if round >= 3 {
                (ours, theirs, burns) = (ours.min(seconds[0]), theirs.min(seconds[1]), burns.min(seconds[2]));
            }
        }
        let ms = |seconds: f64| if seconds.is_finite() { format!("{:.1}", seconds * 1e3) } else { "-".to_owned() };
        let ratio = if theirs.is_finite() { format!("{:.2}", ours / theirs) } else { "-".to_owned() };
        println!("{name:10}{:>10}{:>10}{ratio:>10}{:>10}", ms(ours), ms(theirs), ms(burns));
    }
    Ok(())
}
