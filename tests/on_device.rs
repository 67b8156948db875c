//! Programs of torch.export on the device that `REKINDLE_DEVICE` names (the CPU without it), forwards and backwards, beside
//! PyTorch's numbers. What it prints says how far apart they are:
//!
//!     REKINDLE_DEVICE=wgpu cargo test --workspace --features wgpu --test on_device -- --nocapture
//!
//! Mesa's lavapipe, a Vulkan driver on the CPU, stands in for a GPU (`apt-get install mesa-vulkan-drivers libvulkan1`).

#[allow(dead_code, reason = "what is compared on the CPU alone")]
#[path = "../models/tests/judge/mod.rs"]
mod judge;

use burn::tensor::DType;
use rekindle::models::functional::Array;
use rekindle_testing::fixtures;

/// Convolutions, recurrent layers, attention, a U-Net, language models: in evaluation and in training, with dropout and batch norm.
const PROGRAMS: [&str; 12] =
    ["cnn", "conv1d", "conv3d", "dcgan", "unet", "lstms", "vae", "encoder", "transformer", "gpt2", "bert", "llama"];

#[test]
fn programs_compute_what_pytorch_computes_on_the_cpu() {
    let name = std::env::var("REKINDLE_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = rekindle::device(&name).unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = Vec::new();
    for program in PROGRAMS {
        let folder = fixtures::path("programs").join(program);
        let eval = judge::compare_on(&device, &folder, "eval", "eval");
        let train = judge::compare_on(&device.clone().autodiff(), &folder, "train", "train");
        println!(
            "{program:12} eval {:.1e}, train {:.1e}, gradients {:.1e}, buffers {:.1e}",
            eval.outputs, train.outputs, train.gradients, train.buffers
        );
        let apart = [eval.outputs, train.outputs, train.buffers].into_iter().fold(train.gradients / 10.0, f64::max);
        if apart > 1e-5 {
            wrong.push(program);
        }
    }
    assert!(wrong.is_empty(), "on {name}: {wrong:?}");
}

#[test]
fn an_index_that_names_no_element_is_refused_on_the_cpu_and_gives_nan_elsewhere() {
    let name = std::env::var("REKINDLE_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = rekindle::device(&name).unwrap_or_else(|error| panic!("{error}"));
    let x = Array::from_floats(&[0.5, 1.5, 2.5, 3.5], &[2, 2], DType::F32, &device).unwrap();
    let rows = Array::from_ints(&[1, 2, -1, 0], &[4], &device).unwrap();
    let grid = rows.reshaped(&[2, 2]).unwrap();
    let expected = [2.5, 3.5, f64::NAN, f64::NAN, f64::NAN, f64::NAN, 0.5, 1.5];
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
    for (picked, expected) in [
        (x.embedding(&rows, None), &expected[..]),
        (x.index_select(0, &rows), &expected),
        (x.index(&[Some(rows.clone())]), &[2.5, 3.5, f64::NAN, f64::NAN, 2.5, 3.5, 0.5, 1.5]),
        (x.gather(0, &grid), &[2.5, f64::NAN, f64::NAN, 1.5]),
    ] {
        match picked {
            Ok(picked) if name != "cpu" => {
                let found = picked.floats().unwrap();
                assert!(found.len() == expected.len() && same(&found, expected), "{found:?}");
            }
            picked => assert!(name == "cpu" && picked.is_err(), "{picked:?}"),
        }
    }
}
