//! First weights against PyTorch's: the same bits from the same seed.

use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_models::{Config, Network};
use rekindle_random::{Generator, randint};
use rekindle_testing::{alone, fixtures};

#[test]
fn a_network_from_a_seed_is_the_one_pytorch_makes_after_manual_seed() {
    let all = fixtures::json("nn/init.json");
    for (name, truth) in all.as_object().unwrap() {
        let mut generator = Generator::new(truth["seed"].as_u64().unwrap());
        let network = Network::build_seeded(name, &Config::new(), &Device::flex(), &mut generator).unwrap();
        let state_dict = network.state_dict().unwrap();
        for (key, exact) in truth["parameters"].as_object().unwrap() {
            let tensor = state_dict.get(key).unwrap();
            let first: Vec<f64> = tensor.to_f64_vec().unwrap()[..3].to_vec();
            assert_eq!(first, fixtures::floats(&exact["first"]), "{name}: {key}");
            let digest = fixtures::sha256(&tensor.to_le_bytes().unwrap());
            assert_eq!(digest, exact["sha256"].as_str().unwrap(), "{name}: {key}");
        }
        assert_eq!(
            randint(&mut generator, 0, 1 << 31, 1).unwrap()[0],
            truth["next"].as_i64().unwrap(),
            "{name}: as many draws"
        );
    }
}

/// Burn's generator is the process's: others that draw from it would take what is drawn here.
#[test]
fn weights_that_burn_draws_are_of_the_same_distribution() {
    alone("init::weights_that_burn_draws_are_of_the_same_distribution", || {
        let device = Device::flex();
        device.seed(7);
        let network = Network::build("mlp", &Config::new().with("sizes", "100,500"), &device).unwrap();
        let weight = network.state_dict().unwrap().get("0.weight").unwrap().to_f64_vec().unwrap();
        // Uniform over +-1/10: the largest of 50,000 is close to the bound, and the variance is bound^2 / 3.
        let largest = weight.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        assert!((0.099..=0.100_000_1).contains(&largest), "{largest}");
        let variance = weight.iter().map(|x| x * x).sum::<f64>() / 50_000.0;
        assert!((variance - 0.01 / 3.0).abs() < 1e-4, "{variance}");
    });
}
