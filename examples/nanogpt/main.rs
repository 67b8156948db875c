//! nanoGPT ported by hand: trained for twenty steps on tokens that PyTorch drew, it has PyTorch's losses. The test below compares its
//! keys, first weights, scores and gradients, too.

#[path = "model.rs"]
mod model;

use burn::tensor::{Int, TensorData};
use model::{Gpt, GptConfig};
use rekindle::models::init::Init;
use rekindle::models::nn::functional as F;
use rekindle::prelude::*;
use rekindle::train::optim::AdamWOptions;

const CONFIG: GptConfig = GptConfig { block_size: 8, vocab_size: 29, n_layer: 2, n_head: 2, n_embd: 16, dropout: 0.1 };

type Tokens = burn::tensor::Tensor<2, Int>;

/// The losses of a run from `torch.manual_seed(seed)`, over batches of rows of `block_size + 1` tokens.
fn train(seed: u64, batches: &[Vec<Vec<i64>>]) -> rekindle::Result<Vec<f64>> {
    let device = device("cpu")?.autodiff();
    let gpt = Gpt::new(&CONFIG, &mut Init::seeded(&device, seed))?;
    let optimizer = Optimizer::adamw(&gpt, AdamWOptions::default().lr(1e-3))?;
    let mut run = Run::start(gpt, optimizer);
    let mut losses = Vec::new();
    for batch in batches {
        let (inputs, targets) = split(batch, &device);
        let loss = loss(run.model(), inputs, targets)?;
        losses.push(loss.clone().into_scalar::<f64>());
        run.step(loss)?;
    }
    Ok(losses)
}

/// Inputs, and targets one token further.
fn split(batch: &[Vec<i64>], device: &Device) -> (Tokens, Tokens) {
    let length = CONFIG.block_size;
    let part = |from: usize| {
        let tokens: Vec<i64> = batch.iter().flat_map(|row| row[from..from + length].to_vec()).collect();
        Tokens::from_data(TensorData::new(tokens, [batch.len(), length]), device)
    };
    (part(0), part(1))
}

fn loss(gpt: &Gpt, inputs: Tokens, targets: Tokens) -> rekindle::Result<burn::tensor::Tensor<1>> {
    let logits = gpt.forward(inputs)?;
    Ok(F::cross_entropy(logits.flatten::<2>(0, 1), targets.flatten::<1>(0, 1))?)
}

fn main() -> rekindle::Result<()> {
    let truth = std::fs::read_to_string("tests/fixtures/porting/nanogpt.json")?;
    let truth: serde_json::Value = serde_json::from_str(&truth).map_err(std::io::Error::other)?;
    let losses = train(3, &batches(&truth))?;
    for (step, (own, pytorch)) in losses.iter().zip(truth["losses"].as_array().into_iter().flatten()).enumerate() {
        println!("step {step}: {own:.6}, PyTorch {pytorch:.6}");
    }
    Ok(())
}

fn batches(truth: &serde_json::Value) -> Vec<Vec<Vec<i64>>> {
    serde_json::from_value(truth["tokens"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_testing::compare::apart;
    use rekindle_testing::fixtures::{self, floats};

    #[test]
    fn nanogpt_by_hand_is_nanogpt() {
        let truth = fixtures::json("porting/nanogpt.json");
        let device = Device::flex().autodiff();
        let gpt = Gpt::new(&CONFIG, &mut Init::seeded(&device, 3)).unwrap();
        let state = gpt.state_dict().unwrap();
        let keys: Vec<&str> = truth["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        assert_eq!(state.keys().collect::<Vec<_>>(), keys);
        let bytes: Vec<u8> = state.iter().flat_map(|(_, tensor)| tensor.to_le_bytes().unwrap().to_vec()).collect();
        assert_eq!(fixtures::sha256(&bytes), truth["sha256"].as_str().unwrap());

        let (inputs, targets) = split(&batches(&truth)[0], &device);
        let logits = burn::module::Module::valid(&gpt).forward(inputs.clone().without_autodiff()).unwrap();
        let distance = apart(&logits.into_data().iter::<f64>().collect::<Vec<_>>(), &floats(&truth["logits"]));
        assert!(distance < 1e-6, "logits: {distance:.1e}");
        let grads = loss(&gpt, inputs, targets).unwrap().backward();
        for (name, gradient) in rekindle_testing::gradients(&gpt, &grads) {
            let norm = gradient.to_f64_vec().unwrap().iter().map(|x| x * x).sum::<f64>().sqrt();
            let exact = truth["norms"][&name].as_f64().unwrap();
            assert!((norm - exact).abs() <= 1e-5 * exact, "{name}: {norm} instead of {exact}");
        }

        let losses = train(3, &batches(&truth)).unwrap();
        for (step, (own, exact)) in losses.iter().zip(floats(&truth["losses"])).enumerate() {
            assert!((own - exact).abs() <= 1e-6 * exact, "step {step}: {own} instead of {exact}");
        }
        assert_eq!(losses.len(), 20);
    }
}
