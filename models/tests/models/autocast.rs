//! Layers within `torch.autocast` compute what PyTorch computes: the section `amp_runs`.

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use rekindle_burn::{ModuleStateDict, tensor_to_data};
use rekindle_models::Result;
use rekindle_models::functional::{Array, autocast};
use rekindle_models::init::Init;
use rekindle_models::nn::{
    Activation, BatchNormConfig, Conv2dConfig, ConvTranspose2dConfig, Flatten, Forward as _, GRUConfig,
    GroupNormConfig, LSTMConfig, LinearConfig, PReLUConfig, Sequential, TransformerLayerConfig,
};
use rekindle_recorder::{Checkpoint, StateDict};
use rekindle_testing::compare::apart;
use rekindle_testing::{fixtures, gradients};

struct Case {
    name: &'static str,
    file: Checkpoint,
    device: Device,
}

impl Case {
    fn open(name: &'static str) -> Self {
        let file = Checkpoint::open(fixtures::path("amp_runs").join(format!("{name}.pt"))).unwrap();
        Case { name, file, device: Device::flex().autodiff() }
    }

    fn tensor(&self, place: &str) -> Vec<f64> {
        self.file.value(place).unwrap().as_tensor().unwrap().to_f64_vec().unwrap()
    }

    /// Runs the layer in both types, and compares its output, its gradients and its buffers.
    fn compare<M: Module>(&self, layer: &M, forward: impl Fn(&M, Array) -> Result<Array>) {
        let noise = fixtures::json("amp_runs/layers.json");
        for (short, dtype, rounding) in [("bfloat16", FloatDType::BF16, 4e-3), ("float16", FloatDType::F16, 5e-4)] {
            let mut layer = layer.clone();
            let weights = self.file.value("state_dict").unwrap();
            layer.load_state_dict(&StateDict::from_value(&weights).unwrap()).unwrap();
            let input = self.file.value("input").unwrap();
            let input = input.as_tensor().unwrap();
            let data = tensor_to_data(input).unwrap();
            let x = Array::from_data(data, input.shape(), &self.device).unwrap();
            let (output, loss) = autocast(Some(dtype), || {
                let output = forward(&layer, x).unwrap();
                let count = output.numel();
                #[allow(clippy::cast_precision_loss)] // small numbers
                let weights: Vec<f64> = (0..count).map(|at| 2.0 * at as f64 / (count - 1) as f64 - 1.0).collect();
                let weights = Array::from_floats(&weights, output.shape(), DType::F32, &output.device()).unwrap();
                let loss = output.cast(DType::F32).unwrap().mul(&weights).unwrap().sum(&[], false).unwrap();
                (output, loss)
            });
            let named = output.dtype_name();
            let value = self.file.value(&format!("{short}.output")).unwrap();
            assert_eq!(named, value.as_tensor().unwrap().dtype().to_string(), "{}", self.name);
            let limits = [0, 1].map(|at| 10.0 * noise[self.name][short][at].as_f64().unwrap().max(rounding));
            let found = apart(&output.floats().unwrap(), &self.tensor(&format!("{short}.output")));
            println!("{} {short}: output {found:.1e} of {:.1e}", self.name, limits[0]);
            assert!(found <= limits[0], "{} {short}: {found:.1e}", self.name);
            let grads = loss.into_float::<1>().unwrap().backward();
            let state = layer.state_dict().unwrap();
            for (name, grad) in gradients(&layer, &grads) {
                let expected = self.tensor(&format!("{short}['grad.{name}']"));
                let found = apart(&grad.to_f64_vec().unwrap(), &expected);
                println!("{} {short}: {name} {found:.1e} of {:.1e}", self.name, limits[1]);
                assert!(found <= limits[1], "{} {short}: {name} {found:.1e}", self.name);
            }
            for (name, buffer) in state.iter().filter(|(name, _)| name.contains("running") || name.contains("num_")) {
                let expected = self.tensor(&format!("{short}['buffer.{name}']"));
                let found = apart(&buffer.to_f64_vec().unwrap(), &expected);
                assert!(found <= limits[0], "{} {short}: {name} {found:.1e}", self.name);
            }
        }
    }
}

#[test]
fn images_are_convolved_and_normalised_as_within_pytorchs_autocast() -> Result<()> {
    let case = Case::open("image");
    let init = &mut Init::seeded(&case.device, 0);
    let layers = vec![
        Conv2dConfig::new(2, 4, 3).with_bias(false).init(init)?.into(),
        BatchNormConfig::new(4).init(init)?.into(),
        PReLUConfig::new().with_num_parameters(4).init(init)?.into(),
        ConvTranspose2dConfig::new(4, 2, 2).init(init)?.into(),
        GroupNormConfig::new(1, 2).init(init)?.into(),
        Flatten::default().into(),
        LinearConfig::new(50, 3).init(init)?.into(),
    ];
    case.compare(&Sequential::new(layers), |layer, x| layer.forward_array(&x));
    Ok(())
}

#[test]
fn a_transformers_layer_is_computed_as_within_pytorchs_autocast() -> Result<()> {
    let case = Case::open("encoder");
    let config = TransformerLayerConfig::new(8, 2).with_dim_feedforward(16).with_dropout(0.0).with_batch_first(true);
    let layer = config.with_activation(Activation::Gelu).init_encoder(&mut Init::seeded(&case.device, 0))?;
    case.compare(&layer, |layer, x| Ok(Array::from_float(layer.forward(x.into_float::<3>()?)?)));
    Ok(())
}

#[test]
fn recurrent_layers_are_computed_as_within_pytorchs_autocast() -> Result<()> {
    let case = Case::open("lstm");
    let config = LSTMConfig::new(4, 6).with_num_layers(2).with_batch_first(true);
    let layer = config.init_lstm(&mut Init::seeded(&case.device, 0))?;
    case.compare(&layer, |layer, x| Ok(Array::from_float(layer.forward::<3>(x.into_float()?, None)?.0)));
    let case = Case::open("gru");
    let layer = GRUConfig::new(4, 6).with_bidirectional(true).init_gru(&mut Init::seeded(&case.device, 0))?;
    case.compare(&layer, |layer, x| Ok(Array::from_float(layer.forward::<3>(x.into_float()?, None)?.0)));
    Ok(())
}

#[test]
fn a_program_is_cast_by_what_is_around_it() {
    let program = |name: &str| {
        rekindle_models::graph::Program::open(fixtures::path("amp_runs").join(name), &Device::flex()).unwrap()
    };
    let program = program("net.pt2");
    let x = Tensor::<4>::ones([8, 1, 8, 8], &Device::flex());
    let run = || program.forward(&[Array::from_float(x.clone())]).unwrap().remove(0);
    let (inside, outside) = (autocast(Some(FloatDType::BF16), run), run());
    assert_eq!((inside.dtype_name(), outside.dtype_name()), ("bfloat16", "float32"));
    let found = apart(&inside.floats().unwrap(), &outside.floats().unwrap());
    assert!(found > 0.0 && found < 2e-2, "{found:.1e}");
}

fn numbers(count: usize, shape: &[usize], dtype: DType) -> Array {
    #[allow(clippy::cast_precision_loss)] // small numbers
    let numbers: Vec<f64> = (0..count).map(|at| (at * 37 % 1013) as f64 / 1013.0 - 0.4).collect();
    Array::from_floats(&numbers, shape, dtype, &Device::flex()).unwrap()
}

#[test]
fn a_region_is_of_its_thread_and_ends_with_what_is_done_in_it() {
    let x = &numbers(4, &[2, 2], DType::F32);
    let product = || x.matmul(x).unwrap().dtype();
    let (half, brain) = (Some(FloatDType::F16), Some(FloatDType::BF16));
    let (inner, outer, other) = autocast(half, || {
        let other = std::thread::scope(|scope| scope.spawn(product).join().unwrap());
        (autocast(brain, product), product(), other)
    });
    assert_eq!((inner, outer, other), (DType::BF16, DType::F16, DType::F32));
    assert_eq!(autocast(half, || autocast(None, product)), DType::F32);
    let lost = std::panic::catch_unwind(|| autocast(half, || panic!("lost")));
    assert!(lost.is_err());
    assert_eq!(product(), DType::F32);
}

#[test]
fn what_has_16_bits_is_multiplied_in_float32_and_rounded_once() {
    for dtype in [DType::BF16, DType::F16] {
        let (x, w) = (numbers(2100, &[3, 700], dtype), numbers(1400, &[700, 2], dtype));
        let exact = x.cast(DType::F32).unwrap().matmul(&w.cast(DType::F32).unwrap()).unwrap();
        let found = x.matmul(&w).unwrap();
        assert_eq!(found.dtype(), dtype);
        assert_eq!(found.floats().unwrap(), exact.cast(dtype).unwrap().floats().unwrap());
    }
}
