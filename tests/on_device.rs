//! Programs of torch.export on the device that `REKINDLE_DEVICE` names (the CPU without it), forwards and backwards, beside
//! PyTorch's numbers. What it prints says how far apart they are:
//!
//!     REKINDLE_DEVICE=wgpu cargo test --workspace --features wgpu --test on_device -- --nocapture
//!
//! Mesa's lavapipe, a Vulkan driver on the CPU, stands in for a GPU (`apt-get install mesa-vulkan-drivers libvulkan1`).

#[allow(dead_code, reason = "what is compared on the CPU alone")]
#[path = "../models/tests/judge/mod.rs"]
mod judge;

use burn::module::Module as _;
use burn::tensor::{DType, Device};
use rekindle::models::functional::{Array, BOOL, Number, Unary};
use rekindle::models::nn::Buffer;
use rekindle_testing::fixtures;

/// All programs of the fixtures that have no numbers of 64 bits: convolutions, recurrent layers, attention, a U-Net, language models,
/// losses, indexing, pictures; in evaluation and in training, with dropout and batch norm.
const PROGRAMS: [&str; 25] = [
    "arithmetic",
    "attention",
    "bert",
    "cnn",
    "cnn_decomposed",
    "conv1d",
    "conv3d",
    "dcgan",
    "dynamic",
    "encoder",
    "encoder_decomposed",
    "gpt2",
    "indexing",
    "llama",
    "losses",
    "lstms",
    "lstms_decomposed",
    "pictures",
    "projected",
    "t5",
    "transformer",
    "unet",
    "vae",
    "writes",
    "writes_decomposed",
];

fn device() -> (String, Device) {
    let name = std::env::var("REKINDLE_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = rekindle::device(&name).unwrap_or_else(|error| panic!("{error}"));
    (name, device)
}

#[test]
fn programs_compute_what_pytorch_computes_on_the_cpu() {
    let (name, device) = device();
    let mut wrong = Vec::new();
    for program in PROGRAMS {
        let folder = fixtures::path("programs").join(program);
        for mode in ["eval", "train"].into_iter().filter(|mode| folder.join(format!("{mode}.pt2")).exists()) {
            let device = if mode == "train" { device.clone().autodiff() } else { device.clone() };
            let apart = judge::compare_on(&device, &folder, mode, mode);
            println!(
                "{program:18} {mode:5} outputs {:.1e}, gradients {:.1e}, buffers {:.1e}",
                apart.outputs, apart.gradients, apart.buffers
            );
            if apart.outputs.max(apart.gradients).max(apart.buffers) > 1e-5 {
                wrong.push((program, mode));
            }
        }
    }
    assert!(wrong.is_empty(), "on {name}: {wrong:?}");
}

#[test]
fn operations_compute_what_pytorch_computes_on_the_cpu() {
    let (name, device) = device();
    let found = judge::table::compare_on(&device, &fixtures::path("operations"));
    println!("{found}");
    // Where a quotient rounds to a whole number, other devices than the CPU take its floor to be that (docs/gpu.md).
    let counts = |line: &&String| name == "cpu" || !line.contains("div_floor");
    let beyond: Vec<&String> = found.beyond.iter().filter(counts).collect();
    assert!(beyond.is_empty() && found.results > 400 && found.gradients > 150, "on {name}: {beyond:#?}");
}

#[test]
fn a_function_that_a_device_lacks_is_refused() {
    let (name, device) = device();
    if !device.supports_dtype(DType::F64) {
        let refused = Array::from_floats(&[1.5], &[1], DType::F64, &device).unwrap_err().to_string();
        assert!(refused.contains("float64") && refused.contains("cannot compute"), "{refused}");
        return;
    }
    let x = Array::from_floats(&[1.5], &[1], DType::F64, &device).unwrap();
    for (function, root) in [("pow", x.pow(1.3)), ("exp", x.unary(Unary::Exp)), ("softmax", x.softmax(0))] {
        match root {
            Ok(root) => {
                let expected = match function {
                    "pow" => 1.5_f64.powf(1.3),
                    "exp" => 1.5_f64.exp(),
                    _ => 1.0,
                };
                assert!((root.floats().unwrap()[0] - expected).abs() < 1e-12, "{function}: {root:?}");
            }
            Err(error) => {
                assert!(name != "cpu" && error.to_string().contains(function), "{error}");
            }
        }
    }
}

#[test]
fn an_index_that_names_no_element_is_refused_on_the_cpu_and_gives_nan_elsewhere() {
    let (name, device) = device();
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

#[test]
fn truth_values_are_the_same_however_a_device_stores_them() {
    let (_, device) = device();
    let cpu = rekindle::device("cpu").unwrap();
    let truth = |array: &Array| array.ints().unwrap();
    let here = Array::from_bools(&[true, false, true, true], &[2, 2], &cpu).unwrap();
    let there = here.to_device(&device);
    assert_eq!(there.dtype(), BOOL);
    assert_eq!(truth(&there), [1, 0, 1, 1]);
    assert_eq!(truth(&there.to_device(&cpu)), [1, 0, 1, 1]);
    assert_eq!(truth(&Array::from_bools(&[true, false], &[2], &device).unwrap()), [1, 0]);
    assert_eq!(truth(&Array::full(&[2], Number::Bool(true), BOOL, &device)), [1, 1]);
    let x = Array::from_floats(&[-1.0, 0.0, 2.0, 3.0], &[2, 2], DType::F32, &device).unwrap();
    let y = Array::from_ints(&[-1, 0, 3, 3], &[2, 2], &device).unwrap();
    let rows = Array::from_ints(&[1, 0, 1], &[3], &device).unwrap();
    let found = [
        x.cast(BOOL).unwrap(),
        y.cast(BOOL).unwrap(),
        x.lt(&y).unwrap(),
        y.ge(0).unwrap(),
        x.eq(&y).unwrap(),
        there.logical_and(&x.gt(0.0).unwrap()).unwrap(),
        there.logical_not().unwrap(),
        there.eq(&x.cast(BOOL).unwrap()).unwrap(),
        there.index_select(0, &rows).unwrap(),
        Array::cat(&[there.clone(), there.logical_not().unwrap()], 0).unwrap(),
        there.amax(&[1], false).unwrap(),
        there.any(&[0], false).unwrap(),
        there.all(&[0], false).unwrap(),
        x.isnan().unwrap(),
    ];
    let expected: [&[i64]; 14] = [
        &[1, 0, 1, 1],
        &[1, 0, 1, 1],
        &[0, 0, 1, 0],
        &[0, 1, 1, 1],
        &[1, 1, 0, 1],
        &[0, 0, 1, 1],
        &[0, 1, 0, 0],
        &[1, 1, 1, 1],
        &[1, 1, 1, 0, 1, 1],
        &[1, 0, 1, 1, 0, 1, 0, 0],
        &[1, 1],
        &[1, 1],
        &[1, 0],
        &[0, 0, 0, 0],
    ];
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!((truth(found), found.dtype()), (expected.to_vec(), BOOL), "{at}");
    }
    assert_eq!(there.sum(&[], false).unwrap().ints().unwrap(), [3]);
    assert_eq!(x.fill_where(&there, Number::Float(9.0)).unwrap().floats().unwrap(), [9.0, 0.0, 9.0, 9.0]);
    let buffer = Buffer::new(here.into_bool::<2>().unwrap());
    let moved = buffer.to_device(&device).value();
    assert_eq!(truth(&Array::from_bool(moved)), [1, 0, 1, 1]);
}
