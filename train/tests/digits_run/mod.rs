//! The run of `examples/digits/train.py`: its network and its pictures.

use std::io::Read as _;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::data::{Array, DataLoader, Dataset};

/// The network of `examples/digits/train.py`.
#[derive(Module, Debug)]
pub(crate) struct DigitsNet {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl DigitsNet {
    pub(crate) fn new(seed: i64) -> Self {
        let device = &device();
        let conv = |channels| {
            let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
            Conv2dConfig::new(channels, [3, 3]).with_padding(padding).init(device)
        };
        let network = DigitsNet {
            conv1: conv([1, 6]),
            conv2: conv([6, 16]),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(64, 120).init(device),
            fc2: LinearConfig::new(120, 84).init(device),
            fc3: LinearConfig::new(84, 10).init(device),
        };
        seeded(network, seed)
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten::<2>(1, 3)));
        self.fc3.forward(relu(self.fc2.forward(x)))
    }
}

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// The pictures of `examples/digits`: those that are trained on, and the others; classes by what `class` makes of the digit.
pub(crate) fn pictures(class: impl Fn(i64) -> i64) -> (Dataset, Dataset) {
    let mut text = String::new();
    let file = std::fs::File::open(fixtures::digits("digits.csv.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let rows: Vec<Vec<u8>> = text.lines().map(|line| line.split(',').map(|x| x.parse().unwrap()).collect()).collect();
    let images: Vec<f32> = rows.iter().flat_map(|row| &row[..64]).map(|pixel| f32::from(*pixel) / 16.0).collect();
    let labels: Vec<i64> = rows.iter().map(|row| class(i64::from(row[64]))).collect();
    let inputs = Array::new(rows.len(), &[1, 8, 8], images).unwrap();
    let targets = Array::new(rows.len(), &[], labels).unwrap();
    Dataset::new(inputs, targets).unwrap().split_at(rows.len() - 360).unwrap()
}

/// The loader of `train.py`.
pub(crate) fn loader() -> DataLoader {
    DataLoader::new(pictures(|digit| digit).0, 64).unwrap().shuffle(true)
}
