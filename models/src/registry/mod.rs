//! `Network`: any network of the zoo, built by its name and run on batches of any kind. A table says which there are.
//!
//! - `config.rs`: settings in words, and where else they are told.
//! - `settings.rs`: what settings a network has, and where each is told.

mod config;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType};
use rekindle_random::Generator;
use rekindle_recorder::checkpoint::{Checkpoint, SaveReport};
use rekindle_recorder::{Error, StateDict};

pub use config::Config;
use settings::Settings;
pub use settings::{Setting, Told, Weights};

use crate::batch::wrong_rank;
use crate::functional::{Array, Kind, Number, kind_of};
use crate::graph::{self, Program};
use crate::init::Init;
use crate::nn::{Forward, Layer, Sequential};
use crate::zoo::{
    Bert, BertForMaskedLm, BertForSequenceClassification, ConvBn, Digits, FullyConv, Gpt2, LeNet, Llama, LstmLm, Mnist,
    ResNet, Vit, bert, gpt2, llama, lstm_lm, mlp, mnist, resnet, vit,
};
use crate::{Inputs, ModelError, Outputs, Result};

/// What a network learns to say, by which its loss is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Says {
    /// Scores `[batch, classes, ...]`, or values.
    Scores,
    /// Scores of each token, `[batch, length, vocabulary]`.
    Tokens,
    /// The same, of the token that comes next.
    NextTokens,
}

/// What a network by hand takes.
#[derive(Clone, Copy, Debug)]
struct Takes {
    /// Its first input.
    first: &'static str,
    /// Others, which need not be there: what number stands in all places then.
    others: &'static [(&'static str, i64)],
    says: Says,
    /// Whether its first input is tokens.
    tokens: bool,
}

const IMAGES: Takes = Takes { first: "inputs", others: &[], says: Says::Scores, tokens: false };
const TEXT: Takes = Takes { first: "input_ids", others: &[], says: Says::NextTokens, tokens: true };
const PAIRS: Takes = Takes {
    first: "input_ids",
    others: &[("attention_mask", 1), ("token_type_ids", 0)],
    says: Says::Scores,
    tokens: true,
};

/// Outputs by their names.
type Named = Vec<(String, Array)>;

macro_rules! networks {
    ($($(#[$doc:meta])* $network:ident($type:ty), $name:literal, $settings:expr, $kind:expr, $takes:expr, $build:expr, $lengths:expr, $run:expr;)*) => {
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
            settings: $settings,
            kind: $kind,
            takes: $takes,
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

            fn run(&self, given: &Given<'_>) -> Result<Named> {
                match self {
                    $(Network::$network(net) => ($run as Run<$type>)(net, given),)*
                    Network::Program(net) => run_program(net, given),
                }
            }
        }
    };
}

// Its name, its settings, what transformers calls its kind, what it takes, how it is made, what lengths an input has, how it runs.
networks! {
    LeNet(LeNet), "lenet", &[], None, IMAGES, |_, init| LeNet::new(init), |_| image(3, Exactly(32)),
        |net, given| one(net.forward(given.image()?)?);
    ConvBn(ConvBn), "convbn", &[], None, IMAGES, |_, init| ConvBn::new(init), |_| image(3, AtLeast(1)),
        |net, given| one(net.forward(given.image()?)?);
    // A smaller image is used up before the last convolution.
    FullyConv(FullyConv), "fullyconv", &[], None, IMAGES, |_, init| FullyConv::new(init), |_| image(3, AtLeast(63)),
        |net, given| output(net.fully_conv.forward_array(given.first()?)?);
    Mlp(Sequential), "mlp", mlp::SETTINGS, None, IMAGES, |settings, init| mlp(&settings.sizes("sizes")?, init), features,
        |net, given| output(net.forward_array(given.first()?)?);
    Digits(Digits), "digits", &[], None, IMAGES, |_, init| Digits::new(init), |_| image(1, Exactly(8)),
        |net, given| one(net.forward(given.image()?)?);
    Mnist(Mnist), "mnist", mnist::SETTINGS, None, IMAGES, mnist::build, |_| image(1, Exactly(28)),
        |net, given| one(net.forward(given.image()?)?);
    ResNet18(ResNet), "resnet18", resnet::SETTINGS, None, IMAGES, |settings, init| resnet::build(18, settings, init), |_| image(3, AtLeast(1)),
        |net, given| one(net.forward(given.image()?)?);
    ResNet34(ResNet), "resnet34", resnet::SETTINGS, None, IMAGES, |settings, init| resnet::build(34, settings, init), |_| image(3, AtLeast(1)),
        |net, given| one(net.forward(given.image()?)?);
    ResNet50(ResNet), "resnet50", resnet::SETTINGS, None, IMAGES, |settings, init| resnet::build(50, settings, init), |_| image(3, AtLeast(1)),
        |net, given| one(net.forward(given.image()?)?);
    ResNet101(ResNet), "resnet101", resnet::SETTINGS, None, IMAGES, |settings, init| resnet::build(101, settings, init), |_| image(3, AtLeast(1)),
        |net, given| one(net.forward(given.image()?)?);
    ResNet152(ResNet), "resnet152", resnet::SETTINGS, None, IMAGES, |settings, init| resnet::build(152, settings, init), |_| image(3, AtLeast(1)),
        |net, given| one(net.forward(given.image()?)?);
    VitB16(Vit), "vit_b_16", vit::SETTINGS, None, IMAGES, vit::build, |_| image(3, Exactly(224)),
        |net, given| one(net.forward(given.image()?)?);
    Gpt2(Gpt2), "gpt2", gpt2::SETTINGS, Some("gpt2"), TEXT, gpt2::build, |_| tokens(),
        |net, given| logits(net.forward_array(given.first()?)?);
    NanoGpt(Gpt2), "nanogpt", gpt2::NANO_SETTINGS, None, TEXT, gpt2::build_nano, |_| tokens(),
        |net, given| logits(net.forward_array(given.first()?)?);
    Llama(Llama), "llama", llama::SETTINGS, Some("llama"), TEXT, llama::build, |_| tokens(),
        |net, given| logits(net.forward_array(given.first()?)?);
    LstmLm(LstmLm), "lstm_lm", lstm_lm::SETTINGS, None, TEXT, lstm_lm::build, |_| tokens(),
        |net, given| logits(net.forward_array(given.first()?)?);
    Bert(Bert), "bert", bert::SETTINGS, Some("bert"), PAIRS, bert::build, |_| tokens(),
        |net, given| net.outputs(&given.encoded()?);
    BertForMaskedLm(BertForMaskedLm), "bert_for_masked_lm", bert::SETTINGS, Some("bert"), Takes { says: Says::Tokens, ..PAIRS },
        bert::build_masked, |_| tokens(), |net, given| logits(net.forward_encoded(&given.encoded()?)?);
    BertForSequenceClassification(BertForSequenceClassification), "bert_for_sequence_classification", bert::CLASSES, Some("bert"), PAIRS,
        bert::build_classifier, |_| tokens(), |net, given| logits(net.forward_encoded(&given.encoded()?)?);
}

type Build<T> = fn(&Settings<'_>, &mut Init<'_>) -> Result<T>;
type Run<T> = fn(&T, &Given<'_>) -> Result<Named>;

/// A network of the table.
struct Entry {
    name: &'static str,
    settings: &'static [Setting],
    /// Its `model_type` in transformers' `config.json`.
    kind: Option<&'static str>,
    takes: Takes,
    build: Build<Network>,
}

/// The inputs of a network by hand, in the order of their names.
struct Given<'a>(&'a [Array]);

impl Given<'_> {
    fn first(&self) -> Result<&Array> {
        self.0.first().ok_or(ModelError::Elements { elements: 0, shape: Vec::new() })
    }

    fn image(&self) -> Result<burn::tensor::Tensor<4>> {
        let array = self.first()?;
        if array.rank() != 4 {
            return Err(wrong_rank("this batch", "4", array.shape()));
        }
        array.clone().into_float()
    }

    fn encoded(&self) -> Result<bert::Encoded> {
        let other = |at: usize| self.0.get(at).cloned();
        Ok(bert::Encoded { input_ids: self.first()?.clone(), attention_mask: other(1), token_type_ids: other(2) })
    }
}

fn output(array: Array) -> Result<Named> {
    Ok(vec![("output_0".to_owned(), array)])
}

fn one(scores: burn::tensor::Tensor<2>) -> Result<Named> {
    output(Array::from_float(scores))
}

#[allow(clippy::unnecessary_wraps)] // as the others
fn logits(array: Array) -> Result<Named> {
    Ok(vec![("logits".to_owned(), array)])
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

/// Of tokens: how many there are.
fn tokens() -> Vec<Length> {
    vec![AtLeast(1)]
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

/// A program's outputs.
fn run_program(program: &Program, given: &Given<'_>) -> Result<Named> {
    if program.inputs().len() != given.0.len() {
        let names: Vec<String> = program.inputs().iter().map(ToString::to_string).collect();
        let (count, others) = (names.len(), given.0.len());
        let reason = format!("it takes {count} inputs ({}), and {others} are given", names.join("; "));
        return Err(ModelError::Program { reason });
    }
    let mut arrays = Vec::with_capacity(given.0.len());
    for (input, array) in program.inputs().iter().zip(given.0) {
        // Within its kind the program casts it itself.
        let same = array.kind() == kind_of(input.dtype);
        arrays.push(if same { array.clone() } else { array.cast(input.dtype)? });
    }
    program.forward_named(&arrays)
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
            Network::Mnist(net) => Some(net.generator()),
            Network::VitB16(net) => Some(net.generator()),
            Network::Gpt2(net) | Network::NanoGpt(net) => Some(net.generator()),
            Network::LstmLm(net) => Some(net.generator()),
            Network::Bert(net) => Some(net.generator()),
            Network::BertForMaskedLm(net) => Some(net.bert.generator()),
            Network::BertForSequenceClassification(net) => Some(net.bert.generator()),
            _ => None,
        }
    }

    /// The names of all networks.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NETWORKS.iter().map(|entry| entry.name)
    }

    /// The settings that a network takes, each with its default; `None` where there is no such network.
    #[must_use]
    pub fn settings(name: &str) -> Option<&'static [Setting]> {
        NETWORKS.iter().find(|entry| entry.name == name).map(|entry| entry.settings)
    }

    /// All settings of a network: what the caller told; what a config says ([`Config::beside`]), where it is one of this network; what
    /// the weights show; and the defaults. Without weights nothing is asked for.
    ///
    /// ```
    /// use rekindle_models::{Config, Network};
    /// use rekindle_recorder::{StateDict, Tensor};
    ///
    /// let mut weights = StateDict::new();
    /// for (name, shape) in [("0.weight", [8, 3]), ("2.weight", [5, 8])] {
    ///     weights.insert(name, Tensor::from_vec(&shape, vec![0.0_f32; shape.iter().product()])?);
    /// }
    /// let config = Network::settled("mlp", &Config::new(), None, Some(&weights), true)?;
    /// assert_eq!(config.get("sizes"), Some("3,8,5"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such network or setting, a config is of another network or says what cannot be, or a setting is open
    /// that nothing tells: [`ModelError::OpenSettings`]. `training`: those that only training goes by are asked for, too.
    pub fn settled(
        name: &str,
        told: &Config,
        said: Option<&Config>,
        weights: Option<&StateDict>,
        training: bool,
    ) -> Result<Config> {
        let entry = Self::entry(name, told)?;
        let said = match (entry.kind, said) {
            // What nanoGPT says is of no network of transformers.
            (Some(_), Some(said)) if said.get("model_type").is_none() => None,
            (Some(kind), Some(said)) if said.get("model_type") != Some(kind) => {
                let (key, value) = ("model_type".to_owned(), said.get("model_type").unwrap_or_default().to_owned());
                return Err(ModelError::InvalidSetting {
                    key,
                    value,
                    expected: format!("of the network '{name}' {kind}"),
                });
            }
            // A transformers' one says nothing of other networks.
            (None, Some(said)) if said.get("model_type").is_some() => None,
            (_, said) => said,
        };
        settings::settled(entry.name, entry.settings, told, said, weights, training)
    }

    /// The network that a checkpoint holds, by its name in words (`gpt2(n_head=12)`), with its weights: what the words leave out is
    /// told by what stands in the checkpoint or beside it, and by the shapes of its weights ([`settled`](Self::settled)).
    ///
    /// ```no_run
    /// # use burn::tensor::Device;
    /// # use rekindle_models::Network;
    /// # use rekindle_recorder::checkpoint::Checkpoint;
    /// let checkpoint = Checkpoint::open("checkpoint-500")?; // with transformers' config.json
    /// let gpt2 = Network::of_checkpoint("gpt2", &checkpoint, &Device::flex())?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When something is open, or the weights do not fit.
    pub fn of_checkpoint(call: &str, checkpoint: &Checkpoint, device: &Device) -> rekindle_recorder::Result<Self> {
        let invalid = |error: ModelError| Error::invalid(error.to_string());
        let (name, told) = Config::call(call).map_err(invalid)?;
        let (said, weights) = (Config::beside(checkpoint)?, checkpoint.model_state_dict()?);
        let config = Self::settled(&name, &told, said.as_ref(), Some(&weights), false).map_err(invalid)?;
        let mut network = Self::build(&name, &config, device).map_err(invalid)?;
        rekindle_burn::ModuleStateDict::load_state_dict(&mut network, &weights)?;
        Ok(network)
    }

    /// The names of its inputs, in order.
    #[must_use]
    pub fn input_names(&self) -> Vec<&str> {
        let Network::Program(program) = self else {
            let Takes { first, others, .. } = self.takes();
            return std::iter::once(first).chain(others.iter().map(|(name, _)| *name)).collect();
        };
        program.inputs().iter().map(|input| input.name.as_str()).collect()
    }

    /// What stands for an input that is not given, beside the first one: a mask that hides nothing, types that are all 0. `None` where it
    /// must be given.
    #[must_use]
    pub fn absent(&self, name: &str, first: &Array) -> Option<Array> {
        let (_, number) = self.takes().others.iter().find(|(other, _)| *other == name)?;
        Some(Array::full(first.shape(), Number::Int(*number), DType::I64, &first.device()))
    }

    /// Whether its first input is tokens: whole numbers `[batch, length]`.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        match self {
            Network::Program(program) => {
                program.inputs().first().is_some_and(|input| kind_of(input.dtype) == Kind::Int)
            }
            other => other.takes().tokens,
        }
    }

    /// What its first output is.
    #[must_use]
    pub fn says(&self) -> Says {
        self.takes().says
    }

    fn takes(&self) -> Takes {
        NETWORKS.iter().find(|entry| entry.name == self.name()).map_or(IMAGES, |entry| entry.takes)
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
    /// # use burn::tensor::{DType, Device, FloatDType};
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

    fn entry(name: &str, config: &Config) -> Result<&'static Entry> {
        let Some(entry) = NETWORKS.iter().find(|entry| entry.name == name) else {
            let known = Network::names().collect::<Vec<_>>().join(", ");
            return Err(ModelError::UnknownNetwork { name: name.to_owned(), known });
        };
        let free = || entry.settings.iter().filter(|setting| setting.is_free());
        if let Some((key, _)) = config.iter().find(|(key, _)| free().all(|known| known.name != *key)) {
            let known = free().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(ModelError::UnknownSetting { network: name.to_owned(), key: key.to_owned(), known });
        }
        Ok(entry)
    }

    fn build_with(name: &str, config: &Config, init: &mut Init<'_>) -> Result<Self> {
        let entry = Self::entry(name, config)?;
        (entry.build)(&Settings { settings: entry.settings, config }, init)
    }

    /// As [`build`](Self::build), by a name in words: `mlp(sizes=20,32,10)`.
    ///
    /// # Errors
    /// As there.
    pub fn named(call: &str, device: &Device) -> Result<Self> {
        let (name, config) = Config::call(call)?;
        Self::build(&name, &config, device)
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

    /// Runs the network on a batch: in training on an autodiff device, else in evaluation. It gives the first output.
    ///
    /// # Errors
    /// [`ModelError::InputShape`] when the batch is not of [`input_shape`](Self::input_shape), or an image is too small.
    pub fn forward(&self, inputs: Inputs) -> Result<Outputs> {
        let first = self.forward_named(&[inputs.into_array()])?.into_iter().next();
        let first = first.ok_or_else(|| ModelError::Program { reason: "it has no output".to_owned() })?;
        Outputs::from_array(first.1)
    }

    /// As [`forward`](Self::forward), of all inputs in the order of [`input_names`](Self::input_names), and with all outputs by
    /// their names.
    ///
    /// # Errors
    /// As there, and when an input has other numbers than the network takes.
    pub fn forward_named(&self, inputs: &[Array]) -> Result<Vec<(String, Array)>> {
        let given = Given(inputs);
        // A program says itself what it takes, and what it was exported with.
        if !matches!(self, Network::Program(_)) {
            self.check(given.first()?)?;
        }
        self.run(&given)
    }

    fn check(&self, first: &Array) -> Result<()> {
        let (shape, lengths) = (first.shape().to_vec(), self.lengths());
        let fits = shape.len() == lengths.len() + 1
            && shape.iter().skip(1).zip(&lengths).all(|(&found, length)| match *length {
                Exactly(n) => found == n,
                AtLeast(n) => found >= n,
            });
        if !fits {
            let length = |length: &Length| match length {
                Exactly(n) => n.to_string(),
                AtLeast(1) => "any".to_owned(),
                AtLeast(n) => format!("{n} or more"),
            };
            let expected = lengths.iter().map(length).collect::<Vec<_>>().join(", ");
            return Err(ModelError::InputShape { network: self.name().to_owned(), expected, found: shape });
        }
        let (expected, kind) = if self.takes_tokens() { ("whole", Kind::Int) } else { ("floating-point", Kind::Float) };
        if first.kind() != kind {
            let (network, found) = (self.name().to_owned(), first.dtype_name().to_owned());
            return Err(ModelError::InputKind { network, expected, found });
        }
        Ok(())
    }
}
