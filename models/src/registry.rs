//! `Network`: any network of the zoo, built by its name and run on batches of any kind. A table says which there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{Device, FloatDType};
use rekindle_random::Generator;
use rekindle_recorder::Error;
use rekindle_recorder::checkpoint::SaveReport;

use crate::functional::kind_of;
use crate::graph::{self, Program};
use crate::init::Init;
use crate::nn::{Layer, Sequential};
use crate::zoo::{ConvBn, Digits, FullyConv, LeNet, ResNet, ResNetConfig, Vit, VitConfig, mlp};
use crate::{Inputs, ModelError, Outputs, Result};

/// Settings of a network, `key=value`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    settings: Vec<(String, String)>,
}

impl Config {
    /// No settings: every network has defaults.
    #[must_use]
    pub fn new() -> Self {
        Config::default()
    }

    /// With this setting, in the place of one of the same key.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Puts a setting, in the place of one of the same key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.settings.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.settings.push((key, value)),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Config {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(settings: I) -> Self {
        settings.into_iter().fold(Config::new(), |config, (key, value)| config.with(key, value))
    }
}

macro_rules! networks {
    ($($(#[$doc:meta])* $network:ident($type:ty), $name:literal, $settings:expr, $build:expr, $lengths:expr, $run:expr;)*) => {
        /// Any network of the zoo. Keys are those of the network itself.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // there is one of it, and it holds tensors that dwarf it
        #[non_exhaustive]
        pub enum Network {
            $(
                $(#[$doc])*
                #[doc = concat!("`", $name, "`.")]
                $network($type),
            )*
            /// A program of `torch.export`: [`Network::open`].
            Program(Program),
        }

        const NETWORKS: &[Entry] = &[$(Entry {
            name: $name,
            settings: &$settings,
            build: |settings, init| ($build as Build<$type>)(settings, init).map(Network::$network),
        }),*];

        impl Network {
            /// Its name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Network::$network(_) => $name,)* Network::Program(_) => "program" }
            }

            fn lengths(&self) -> Vec<Length> {
                match self {
                    $(Network::$network(net) => ($lengths as fn(&$type) -> Vec<Length>)(net),)*
                    Network::Program(net) => program_lengths(net),
                }
            }

            fn run(&self, inputs: Inputs) -> Result<Outputs> {
                match self {
                    $(Network::$network(net) => ($run as fn(&$type, Inputs) -> Result<Outputs>)(net, inputs),)*
                    Network::Program(net) => run_program(net, inputs),
                }
            }
        }
    };
}

// Its name, its settings with their defaults, how it is made, what lengths an input has, how it runs.
networks! {
    LeNet(LeNet), "lenet", [], |_, init| LeNet::new(init), |_| image(3, Exactly(32)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    ConvBn(ConvBn), "convbn", [], |_, init| ConvBn::new(init), |_| image(3, AtLeast(1)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    // A smaller image is used up before the last convolution.
    FullyConv(FullyConv), "fullyconv", [], |_, init| FullyConv::new(init), |_| image(3, AtLeast(63)),
        |net, inputs| net.fully_conv.forward_batch(inputs);
    Mlp(Sequential), "mlp", [("sizes", "20,32,16,10")], |settings, init| mlp(&settings.sizes("sizes")?, init), features,
        |net, inputs| net.forward_batch(inputs);
    Digits(Digits), "digits", [], |_, init| Digits::new(init), |_| image(1, Exactly(8)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    ResNet18(ResNet), "resnet18", CLASSES, |settings, init| resnet(18, settings, init), |_| image(3, AtLeast(1)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    ResNet34(ResNet), "resnet34", CLASSES, |settings, init| resnet(34, settings, init), |_| image(3, AtLeast(1)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    ResNet50(ResNet), "resnet50", CLASSES, |settings, init| resnet(50, settings, init), |_| image(3, AtLeast(1)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    ResNet101(ResNet), "resnet101", CLASSES, |settings, init| resnet(101, settings, init), |_| image(3, AtLeast(1)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    ResNet152(ResNet), "resnet152", CLASSES, |settings, init| resnet(152, settings, init), |_| image(3, AtLeast(1)),
        |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
    VitB16(Vit), "vit_b_16", CLASSES, |settings, init| {
        Vit::new(&VitConfig { num_classes: settings.number("num_classes")?, ..VitConfig::b_16() }, init)
    }, |_| image(3, Exactly(224)), |net, inputs| net.forward(inputs.into_4d()?).map(Outputs::D2);
}

/// The setting of networks that tell classes apart, with torchvision's default.
const CLASSES: [(&str, &str); 1] = [("num_classes", "1000")];

fn resnet(depth: usize, settings: &Settings<'_>, init: &mut Init<'_>) -> Result<ResNet> {
    ResNet::new(&ResNetConfig::new(depth, settings.number("num_classes")?)?, init)
}

type Build<T> = fn(&Settings<'_>, &mut Init<'_>) -> Result<T>;

/// A network of the table.
struct Entry {
    name: &'static str,
    /// Its settings, each with its default.
    settings: &'static [(&'static str, &'static str)],
    build: Build<Network>,
}

/// A length that an input may have.
#[derive(Clone, Copy)]
enum Length {
    Exactly(usize),
    AtLeast(usize),
}
use Length::{AtLeast, Exactly};

/// Of images: the channels, and the length of each side.
fn image(channels: usize, side: Length) -> Vec<Length> {
    vec![Exactly(channels), side, side]
}

/// Of the features that the first linear layer takes.
fn features(net: &Sequential) -> Vec<Length> {
    match net.layers.first() {
        Some(Layer::Linear(linear)) => vec![Exactly(linear.weight.lazy_shape().dims::<2>()[1])],
        _ => vec![AtLeast(1)],
    }
}

/// The lengths of a program's first input, without the batch.
fn program_lengths(program: &Program) -> Vec<Length> {
    let lengths = program.inputs().first().map(|input| input.lengths.as_slice()).unwrap_or_default();
    let length = |length: &graph::Length| match length {
        graph::Length::Exactly(length) => Exactly(*length),
        _ => AtLeast(1),
    };
    lengths.iter().skip(1).map(length).collect()
}

/// A program's first output for its only input.
fn run_program(program: &Program, inputs: Inputs) -> Result<Outputs> {
    let [input] = program.inputs() else {
        let names: Vec<String> = program.inputs().iter().map(ToString::to_string).collect();
        let reason = format!("it takes {} inputs ({}), and one is given", names.len(), names.join("; "));
        return Err(ModelError::Program { reason });
    };
    let array = inputs.into_array();
    // Within its kind the program casts it itself.
    let array = if array.kind() == kind_of(input.dtype) { array } else { array.cast(input.dtype)? };
    let first = program.forward(&[array])?.into_iter().next();
    let first = first.ok_or_else(|| ModelError::Program { reason: "it has no output".to_owned() })?;
    Outputs::from_array(first)
}

impl Network {
    /// Opens a program of `torch.export` (`.pt2`) with its weights: see [`Program::open`].
    ///
    /// # Errors
    /// As [`Program::open`].
    pub fn open(path: impl AsRef<Path>, device: &Device) -> rekindle_recorder::Result<Self> {
        Program::open(path, device).map(Network::Program)
    }

    /// The network in another floating-point type, as PyTorch's `module.to(dtype)`. It computes in it where its inputs are of it, too;
    /// a program casts them.
    #[must_use]
    pub fn to_dtype(self, dtype: FloatDType) -> Self {
        match self {
            Network::Program(program) => Network::Program(program.to_dtype(dtype)),
            other => crate::to_dtype(other, dtype),
        }
    }

    /// What it draws from as it computes, where it draws: the generator of a program, for dropout.
    #[must_use]
    pub fn generator(&self) -> Option<&Arc<Mutex<Generator>>> {
        match self {
            Network::Program(program) => Some(program.generator()),
            Network::VitB16(net) => Some(net.generator()),
            _ => None,
        }
    }

    /// The names of all networks.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NETWORKS.iter().map(|entry| entry.name)
    }

    /// The settings that a network takes, each with its default; `None` where there is no such network.
    #[must_use]
    pub fn settings(name: &str) -> Option<&'static [(&'static str, &'static str)]> {
        NETWORKS.iter().find(|entry| entry.name == name).map(|entry| entry.settings)
    }

    /// Builds the network of this name. Its weights are drawn by Burn, from PyTorch's distribution, when they are first used.
    ///
    /// # Errors
    /// When there is no such network or setting, or the value of a setting is not what it must be.
    pub fn build(name: &str, config: &Config, device: &Device) -> Result<Self> {
        Self::build_with(name, config, &mut Init::lazy(device))
    }

    /// Builds the network with the weights that PyTorch draws from this generator: after `Generator::new(seed)` those of
    /// `torch.manual_seed(seed); Model()`.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_seeded(name: &str, config: &Config, device: &Device, generator: &mut Generator) -> Result<Self> {
        Self::build_with(name, config, &mut Init::from_generator(device, generator))
    }

    /// Saves the network with its name and its settings, so that [`load_with_config`](Self::load_with_config) builds it again:
    /// `{"arch": name, "config": {...}, "state_dict": ...}`, which plain `torch.load` opens.
    ///
    /// # Errors
    /// When the state dict cannot be made, or the file cannot be written.
    pub fn save_with_config(&self, config: &Config, path: impl AsRef<Path>) -> rekindle_recorder::Result<SaveReport> {
        let settings: BTreeMap<&str, &str> = config.iter().collect();
        rekindle_burn::save_with_config(path, self.name(), &settings, self)
    }

    /// Builds the network that [`save_with_config`](Self::save_with_config) saved, with its weights.
    ///
    /// ```
    /// # use burn::tensor::{Device, FloatDType};
    /// use rekindle_models::{Config, Network};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("mlp.pt");
    /// let config = Config::new().with("sizes", "20,32,10");
    /// Network::build("mlp", &config, &Device::flex())?.save_with_config(&config, &path)?;
    /// let mlp = Network::load_with_config(&path, &Device::flex())?;
    /// assert_eq!(mlp.name(), "mlp");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the file cannot be read or has not these keys, there is no such network, or the weights do not fit it.
    pub fn load_with_config(path: impl AsRef<Path>, device: &Device) -> rekindle_recorder::Result<Self> {
        rekindle_burn::load_with_config(path, |name, settings: BTreeMap<String, String>| {
            Self::build(name, &settings.into_iter().collect(), device)
                .map_err(|error| Error::invalid(error.to_string()))
        })
    }

    fn build_with(name: &str, config: &Config, init: &mut Init<'_>) -> Result<Self> {
        let Some(entry) = NETWORKS.iter().find(|entry| entry.name == name) else {
            let known = Network::names().collect::<Vec<_>>().join(", ");
            return Err(ModelError::UnknownNetwork { name: name.to_owned(), known });
        };
        if let Some((key, _)) = config.iter().find(|(key, _)| entry.settings.iter().all(|(known, _)| known != key)) {
            let known = entry.settings.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(ModelError::UnknownSetting { network: name.to_owned(), key: key.to_owned(), known });
        }
        (entry.build)(&Settings { entry, config }, init)
    }

    /// The shape of one input, without the batch; `None` where any length will do.
    #[must_use]
    pub fn input_shape(&self) -> Vec<Option<usize>> {
        let length = |length| match length {
            Exactly(n) => Some(n),
            AtLeast(_) => None,
        };
        self.lengths().into_iter().map(length).collect()
    }

    /// Runs the network on a batch: in training on an autodiff device, else in evaluation.
    ///
    /// # Errors
    /// [`ModelError::InputShape`] when the batch is not of [`input_shape`](Self::input_shape), or an image is too small.
    pub fn forward(&self, inputs: Inputs) -> Result<Outputs> {
        let (shape, lengths) = (inputs.shape(), self.lengths());
        let fits = shape.len() == lengths.len() + 1
            && shape.iter().skip(1).zip(&lengths).all(|(&found, length)| match *length {
                Exactly(n) => found == n,
                AtLeast(n) => found >= n,
            });
        // A program says itself what it takes, and what it was exported with.
        if !fits && !matches!(self, Network::Program(_)) {
            let length = |length: &Length| match length {
                Exactly(n) => n.to_string(),
                AtLeast(1) => "any".to_owned(),
                AtLeast(n) => format!("{n} or more"),
            };
            let expected = lengths.iter().map(length).collect::<Vec<_>>().join(", ");
            return Err(ModelError::InputShape { network: self.name().to_owned(), expected, found: shape });
        }
        self.run(inputs)
    }
}

/// The settings of a network, the defaults under what the user gave.
struct Settings<'a> {
    entry: &'a Entry,
    config: &'a Config,
}

impl Settings<'_> {
    fn value(&self, key: &str) -> &str {
        let default = self.entry.settings.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value);
        self.config.get(key).unwrap_or(default)
    }

    /// A number, at least 1.
    fn number(&self, key: &str) -> Result<usize> {
        let value = self.value(key);
        let number = value.trim().parse().ok().filter(|&number| number > 0);
        number.ok_or_else(|| ModelError::InvalidSetting {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: "a number of 1 or more".to_owned(),
        })
    }

    /// Two or more numbers with commas between them, each at least 1.
    fn sizes(&self, key: &str) -> Result<Vec<usize>> {
        let value = self.value(key);
        let sizes: Option<Vec<usize>> =
            value.split(',').map(|size| size.trim().parse().ok().filter(|&size| size > 0)).collect();
        sizes.filter(|sizes| sizes.len() > 1).ok_or_else(|| ModelError::InvalidSetting {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: "two or more sizes such as 20,32,10".to_owned(),
        })
    }
}
