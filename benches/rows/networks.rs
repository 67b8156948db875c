//! Networks, batches and losses that rows train or run; `benches/torch/networks.py` has the same.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use rekindle::models::init::Init;
use rekindle::models::nn::functional::cross_entropy;
use rekindle::models::nn::{LSTM, LSTMConfig, Linear, LinearConfig, Sequential};
use rekindle::models::zoo::gpt2::Flavour;
use rekindle::models::zoo::{Gpt2, Gpt2Config, LeNet, ResNet, ResNetConfig, mlp};

use super::Result;

/// The loss of a model on a batch.
pub(super) type Loss<M> = Box<dyn Fn(&M) -> Result<Tensor<1>>>;

/// An LSTM over `[batch, time, 64]`, and classes from its last output.
#[derive(Module, Debug)]
pub(super) struct Classifier {
    rnn: LSTM,
    fc: Linear,
}

/// Classes that come again and again, `factor` apart.
fn classes(from: i32, count: usize, factor: i32, classes: i32, device: &Device) -> Tensor<1, Int> {
    let targets: Vec<i32> = (from..).take(count).map(|at| at * factor % classes).collect();
    Tensor::from_data(targets.as_slice(), device)
}

/// Tokens `[batch, length]`.
pub(super) fn tokens(from: i32, places: [usize; 2], vocabulary: i32, device: &Device) -> Tensor<2, Int> {
    classes(from, places[0] * places[1], 7, vocabulary, device).reshape(places)
}

/// nanoGPT's network without dropout: a width, layers and heads.
pub(super) fn gpt(size: [usize; 3], vocab_size: usize, n_positions: usize, device: &Device) -> Result<Gpt2> {
    let ([n_embd, n_layer, n_head], flavour) = (size, Flavour::NanoGpt);
    let config = Gpt2Config { vocab_size, n_positions, n_embd, n_layer, n_head, ..Gpt2Config::small(flavour) };
    Ok(Gpt2::new(&config, &mut Init::seeded(device, 0))?)
}

/// Images `[count, 3, size, size]`.
pub(super) fn images(count: usize, size: usize, device: &Device) -> Tensor<4> {
    Tensor::random([count, 3, size, size], Distribution::Uniform(0.0, 1.0), device)
}

pub(super) fn resnet18(classes: usize, device: &Device) -> Result<ResNet> {
    Ok(ResNet::new(&ResNetConfig::new(18, classes)?, &mut Init::seeded(device, 0))?)
}

/// Something that is done with a network and its loss, whatever its type.
pub(super) trait With {
    type Output;

    fn with<M: Module + 'static>(self, net: M, loss: Loss<M>) -> Result<Self::Output>;
}

/// A network by its name, and its loss on a batch.
pub(super) fn trained<W: With>(name: &str, device: &Device, with: W) -> Result<W::Output> {
    let (mut init, unit) = (Init::seeded(device, 0), Distribution::Uniform(0.0, 1.0));
    match name {
        "lenet" => {
            let (x, labels) = (images(64, 32, device), classes(0, 64, 1, 10, device));
            let loss = move |net: &LeNet| Ok(cross_entropy(net.forward(x.clone())?, labels.clone())?);
            with.with(LeNet::new(&mut init)?, Box::new(loss))
        }
        "resnet18" => {
            let (x, labels) = (images(64, 32, device), classes(0, 64, 1, 10, device));
            let loss = move |net: &ResNet| Ok(cross_entropy(net.forward(x.clone())?, labels.clone())?);
            with.with(resnet18(10, device)?, Box::new(loss))
        }
        "lstm" => {
            let rnn = LSTMConfig::new(64, 128).with_batch_first(true).init_lstm(&mut init)?;
            let net = Classifier { rnn, fc: LinearConfig::new(128, 10).init(&mut init)? };
            let (x, labels) = (Tensor::<3>::random([32, 32, 64], unit, device), classes(0, 32, 1, 10, device));
            let loss = move |net: &Classifier| {
                let last = net.rnn.forward(x.clone(), None)?.0.narrow(1, 31, 1).reshape([32, 128]);
                Ok(cross_entropy(net.fc.forward::<2>(last)?, labels.clone())?)
            };
            with.with(net, Box::new(loss))
        }
        "gpt" => {
            let (now, next) = (tokens(0, [8, 128], 65, device), tokens(1, [8, 128], 65, device));
            let loss = move |net: &Gpt2| Ok(net.loss(now.clone(), next.clone())?);
            with.with(gpt([384, 6, 6], 65, 128, device)?, Box::new(loss))
        }
        "mlp" => {
            let (x, labels) = (Tensor::<2>::random([128, 784], unit, device), classes(0, 128, 1, 10, device));
            let net = mlp(&[784, 1024, 1024, 1024, 1024, 10], &mut init)?;
            let loss = move |net: &Sequential| Ok(cross_entropy(net.forward::<2, 2>(x.clone())?, labels.clone())?);
            with.with(net, Box::new(loss))
        }
        _ => super::unknown(name),
    }
}
