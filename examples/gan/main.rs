//! A GAN that PyTorch began (train.py) goes on: two networks, two optimizers, one file. Its losses are PyTorch's.

use burn::tensor::{Tensor, TensorData};
use rekindle::models::nn::{LeakyReLU, LinearConfig, ReLU, Sequential, Sigmoid};
use rekindle::prelude::*;
use rekindle::random::randn;
use rekindle::train::run::save_parts;

const NOISE: usize = 16;

/// The losses of D and of G, a pair a step, of two more epochs; the checkpoint is written to `out`.
fn train(out: &std::path::Path) -> rekindle::Result<Vec<[f64; 2]>> {
    let device = device("cpu")?.autodiff();
    let init = &mut Init::lazy(&device);
    let mut linear = |from, to| LinearConfig::new(from, to).init(init);
    let net_g = Sequential::new(vec![
        linear(NOISE, 32)?.into(),
        ReLU::new().into(),
        linear(32, 64)?.into(),
        Sigmoid::new().into(),
    ]);
    let net_d = Sequential::new(vec![
        linear(64, 32)?.into(),
        LeakyReLU::new().with_negative_slope(0.2).into(),
        linear(32, 1)?.into(),
    ]);

    let checkpoint = Checkpoint::open("examples/gan/run.pt")?;
    let part = |name: &str| ResumeOptions::default().part(name.to_owned());
    let digits = read_dataset("examples/digits/digits.csv.gz", &ReadOptions::default().divide_by(16.0))?;
    let loader = DataLoader::new(digits, 64)?.shuffle(true).drop_last(true);
    let mut g = Run::resume_with(checkpoint.clone(), net_g, part("G"))?.with_loader(loader).until_epoch(4);
    let mut d = Run::resume_with(checkpoint, net_d, part("D"))?;

    let mut losses = Vec::new();
    while let Some(batch) = g.next_batch()? {
        let real: Tensor<2> = batch.inputs(&device)?;
        let ones = Tensor::<2>::ones([batch.len(), 1], &device);
        let noise = randn::<f32>(&mut g.generator_mut(), batch.len() * NOISE);
        let noise = Tensor::<2>::from_data(TensorData::new(noise, [batch.len(), NOISE]), &device);
        let fake: Tensor<2> = g.model().forward(noise)?;
        let of_real = bce_with_logits::<2>(d.model().forward(real)?, ones.clone())?;
        let of_fake = bce_with_logits::<2>(d.model().forward(fake.clone().detach())?, ones.zeros_like())?;
        d.step(of_real + of_fake)?;
        g.step(bce_with_logits::<2>(d.model().forward(fake)?, ones)?)?;
        losses.push([&d, &g].map(|run| run.loss().ok().flatten().unwrap_or(f64::NAN)));
    }
    save_parts(&[&g, &d], out)?; // torch.load opens it
    Ok(losses)
}

fn main() -> rekindle::Result<()> {
    let losses = train(std::path::Path::new("gan-resumed.pt"))?;
    for (step, [d, g]) in losses.iter().enumerate() {
        println!("step {step}: D {d:.4}, G {g:.4}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_testing::fixtures;

    #[test]
    fn a_gan_goes_on_with_pytorch_s_losses_and_both_networks_are_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("gan.pt");
        let losses = train(&out).unwrap();
        let expected = fixtures::lines(&fixtures::root().join("examples/gan/expect.jsonl"));
        assert_eq!(losses.len(), expected.len());
        for (ours, theirs) in losses.iter().zip(&expected) {
            for (own, exact) in ours.iter().zip([&theirs["loss_d"], &theirs["loss_g"]]) {
                let exact = exact.as_f64().unwrap();
                assert!((own - exact).abs() <= 1e-5 * exact, "step {}: {own} instead of {exact}", theirs["step"]);
            }
        }
        let saved = Checkpoint::open(&out).unwrap();
        assert_eq!(saved.get::<i64>("epoch").unwrap(), 4);
        assert!(saved.value("netD.0.weight").is_ok() && saved.value("optimizerG.state").is_ok());
    }
}
