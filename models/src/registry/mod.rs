//! `Network`: any network of the zoo, built by its name and run on batches of any kind. The list in `zoo/mod.rs` says which there are.
//!
//! - `by_hand.rs`: what the file of a network says of it.
//! - `config.rs`: settings in words, and where else they are told.
//! - `settings.rs`: what settings a network has, and where each is told.

pub(crate) mod by_hand;
mod config;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType};
use rekindle_random::Generator;
use rekindle_recorder::checkpoint::{Checkpoint, SaveReport};
use rekindle_recorder::source::zoo as hub;
use rekindle_recorder::{Error, StateDict};

use by_hand::{About, ByHand, Given, IMAGES, Length, Takes};
pub use by_hand::{Problem, Says};
pub use config::Config;
use settings::Settings;
pub use settings::{Setting, Told, Weights};

use crate::functional::{Array, Kind, Number, kind_of};
use crate::graph::{self, Program};
use crate::init::Init;
use crate::zoo::{self, each_network};
use crate::{Inputs, ModelError, Outputs, Result};

macro_rules! networks {
    ($($network:ident),+) => {
        /// Any network of the zoo. Keys are those of the network itself.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // there is one of it, and it holds tensors that dwarf it
        #[non_exhaustive]
        pub enum Network {
            $(
                #[doc = concat!("[`", stringify!($network), "`](zoo::", stringify!($network), ").")]
                $network(zoo::$network),
            )+
            /// A program of `torch.export`: [`Network::open`].
            Program(Program),
        }

        /// What is said of all names, in order.
        fn all() -> impl Iterator<Item = &'static About> {
            std::iter::empty()$(.chain(<zoo::$network as ByHand>::NAMES.iter().map(|named| &named.about)))+
        }

        /// The network of this name, of these settings; `None` where there is none.
        fn built(name: &str, settings: &Settings<'_>, init: &mut Init<'_>) -> Option<Result<Network>> {
            $(if let Some(named) = <zoo::$network as ByHand>::NAMES.iter().find(|named| named.about.name == name) {
                return Some((named.build)(settings, init).map(Network::$network));
            })+
            None
        }

        impl Network {
            /// What is said of it; nothing of a program.
            fn about(&self) -> Option<&'static About> {
                match self {
                    $(Network::$network(net) => Some(by_hand::about(net)),)+
                    Network::Program(_) => None,
                }
            }

            fn lengths(&self) -> Vec<Length> {
                match self {
                    $(Network::$network(net) => net.lengths(),)+
                    Network::Program(net) => program_lengths(net),
                }
            }

            fn run(&self, given: &Given<'_>) -> Result<by_hand::Outputs> {
                match self {
                    $(Network::$network(net) => net.run(given),)+
                    Network::Program(net) => run_program(net, given),
                }
            }

            /// Of a classifier whose `problem_type` says with what its scores are compared: with what. As in transformers, where none is
            /// said numbers are where it has one label, classes where targets are `whole` numbers, else labels.
            #[must_use]
            pub fn problem(&self, whole: bool) -> Option<Problem> {
                match self {
                    $(Network::$network(net) => net.problem(whole),)+
                    Network::Program(_) => None,
                }
            }

            /// What it draws from as it computes, where it draws: the generator of a program, for dropout.
            #[must_use]
            pub fn generator(&self) -> Option<&Arc<Mutex<Generator>>> {
                match self {
                    $(Network::$network(net) => net.draws(),)+
                    Network::Program(net) => Some(net.generator()),
                }
            }
        }
    };
}

each_network!(networks);

/// What classes of transformers end with that have another head than a language model's body.
const HEADS: &[&str] = &[
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
    "ForPreTraining",
    "ForMaskedLM",
    "ForCausalLM",
    "DoubleHeadsModel",
    "LMHeadModel",
];

/// The class that a config names, where its head is not this network's.
fn other_head<'a>(about: &About, said: &'a Config) -> Option<&'a str> {
    let named = said.get("architectures")?;
    let own = |class: &str| Some(class) == about.class;
    let has_head = |class: &&str| HEADS.iter().any(|head| class.ends_with(head));
    // A class of one's own has a name of its own.
    let head_of = |class: &str| HEADS.iter().find(|head| class.ends_with(**head)).copied();
    let same = |class: &str| about.class.is_some_and(|own| head_of(own).is_some() && head_of(own) == head_of(class));
    if named.split(',').any(|class| own(class) || same(class)) {
        return None;
    }
    named.split(',').find(has_head)
}

/// The classes that there are of this `model_type`, with their names here.
fn classes(model_type: Option<&'static str>) -> String {
    let of = all().filter(|about| about.model_type == model_type);
    of.map(|about| format!("{} ('{}')", about.class.unwrap_or_default(), about.name)).collect::<Vec<_>>().join(", ")
}

/// The lengths of a program's first input, without the batch.
fn program_lengths(program: &Program) -> Vec<Length> {
    let lengths = program.inputs().first().map(|input| input.lengths.as_slice()).unwrap_or_default();
    let length = |length: &graph::Length| match length {
        graph::Length::Exactly(length) => Length::Exactly(*length),
        _ => Length::AtLeast(1),
    };
    lengths.iter().skip(1).map(length).collect()
}

/// A program's outputs.
fn run_program(program: &Program, given: &Given<'_>) -> Result<by_hand::Outputs> {
    if program.inputs().len() != given.all().len() {
        let names: Vec<String> = program.inputs().iter().map(ToString::to_string).collect();
        let (count, others) = (names.len(), given.all().len());
        let reason = format!("it takes {count} inputs ({}), and {others} are given", names.join("; "));
        return Err(ModelError::Program { reason });
    }
    let mut arrays = Vec::with_capacity(given.all().len());
    for (input, array) in program.inputs().iter().zip(given.all()) {
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

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.about().map_or("program", |about| about.name)
    }

    /// The names of all networks.
    pub fn names() -> impl Iterator<Item = &'static str> {
        all().map(|about| about.name)
    }

    /// The settings that a network takes, each with its default; `None` where there is no such network.
    #[must_use]
    pub fn settings(name: &str) -> Option<&'static [Setting]> {
        all().find(|about| about.name == name).map(|about| about.settings)
    }

    /// torchvision's weights of the network of this name, which `torchvision://NAME/WEIGHTS` fetches: where each is, what its hash begins
    /// with, how many classes it tells, and how pictures are prepared for it.
    ///
    /// ```
    /// use rekindle_models::Network;
    ///
    /// let weights: Vec<_> = Network::pretrained("resnet50").collect();
    /// assert_eq!(weights.iter().map(|weights| weights.name).collect::<Vec<_>>(), ["IMAGENET1K_V1", "IMAGENET1K_V2"]);
    /// assert_eq!((weights[1].hash_prefix(), weights[1].classes), (Some("11ad3fa6"), Some(1000)));
    /// assert_eq!(weights[1].preset.map(|preset| (preset.resize, preset.crop)), Some(("232", "224")));
    /// ```
    pub fn pretrained(name: &str) -> impl Iterator<Item = hub::Weights> {
        let known = Network::names().any(|network| network == name);
        let name = name.to_owned();
        hub::torchvision().filter(move |weights| known && weights.network == name)
    }

    /// The `model_type` of the `config.json` that the network of this name reads: transformers'. `None` where it reads none.
    #[must_use]
    pub fn model_type(name: &str) -> Option<&'static str> {
        all().find(|about| about.name == name).and_then(|about| about.model_type)
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
        let about = Self::of_name(name, told)?;
        let said = match (about.model_type, said) {
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
            (Some(_), Some(said)) if let Some(class) = other_head(about, said) => {
                let expected = match all().find(|other| other.class == Some(class)) {
                    Some(other) => format!(
                        "the class of '{name}', {}, not that of '{}',",
                        about.class.unwrap_or_default(),
                        other.name
                    ),
                    None => format!("a class that is here ({})", classes(about.model_type)),
                };
                let (key, value) = ("architectures".to_owned(), class.to_owned());
                return Err(ModelError::InvalidSetting { key, value, expected });
            }
            // A transformers' one says nothing of other networks.
            (None, Some(said)) if said.get("model_type").is_some() => None,
            (_, said) => said,
        };
        settings::settled(about.name, about.settings, told, said, weights, training)
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
        self.about().map_or(IMAGES, |about| about.takes)
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

    fn of_name(name: &str, config: &Config) -> Result<&'static About> {
        let Some(about) = all().find(|about| about.name == name) else {
            let known = Network::names().collect::<Vec<_>>().join(", ");
            return Err(ModelError::UnknownNetwork { name: name.to_owned(), known });
        };
        let free = || about.settings.iter().filter(|setting| setting.is_free());
        if let Some((key, _)) = config.iter().find(|(key, _)| free().all(|known| known.name != *key)) {
            let known = free().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(ModelError::UnknownSetting { network: name.to_owned(), key: key.to_owned(), known });
        }
        Ok(about)
    }

    fn build_with(name: &str, config: &Config, init: &mut Init<'_>) -> Result<Self> {
        let settings = Self::of_name(name, config)?.settings;
        let unknown = || ModelError::UnknownNetwork { name: name.to_owned(), known: String::new() };
        built(name, &Settings { settings, config }, init).ok_or_else(unknown)?
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
            Length::Exactly(n) => Some(n),
            Length::AtLeast(_) => None,
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
                Length::Exactly(n) => found == n,
                Length::AtLeast(n) => found >= n,
            });
        if !fits {
            let length = |length: &Length| match length {
                Length::Exactly(n) => n.to_string(),
                Length::AtLeast(1) => "any".to_owned(),
                Length::AtLeast(n) => format!("{n} or more"),
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
