//! `ModelError`: what went wrong in building or running a network, as one sentence that a user can act on.

/// The result of building or running a network.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// What went wrong in building or running a network.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No network has this name.
    #[error("there is no network '{name}'; there are {known}")]
    UnknownNetwork {
        /// The name.
        name: String,
        /// All names there are.
        known: String,
    },
    /// The network cannot be configured by this key.
    #[error("the network '{network}' has no setting '{key}'; it has {known}")]
    UnknownSetting {
        /// The network.
        network: String,
        /// The key.
        key: String,
        /// All keys it has.
        known: String,
    },
    /// The value of a setting is not what it must be.
    #[error("{key}={value}: {expected} is expected")]
    InvalidSetting {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// Settings of a network that neither the caller nor its weights tell: each with the library's default.
    #[error(
        "the weights of '{network}' do not show {}; say it: `Network::named(\"{}\")`",
        names(open),
        call(network, open)
    )]
    OpenSettings {
        /// The network.
        network: String,
        /// The settings.
        open: Vec<(String, String)>,
    },
    /// The input has other numbers than the network takes.
    #[error("the network '{network}' takes {expected} numbers, not {found}")]
    InputKind {
        /// The network.
        network: String,
        /// What numbers it takes.
        expected: &'static str,
        /// The element type that came.
        found: String,
    },
    /// The input has another shape than the network takes.
    #[error("the network '{network}' takes inputs of [batch, {expected}], not {found:?}")]
    InputShape {
        /// The network.
        network: String,
        /// The shape of one input.
        expected: String,
        /// The shape that came, with the batch.
        found: Vec<usize>,
    },
    /// A tensor of another number of dimensions came to a layer, or out of a network.
    #[error("{place} has {expected} dimensions, not the {found} of {shape:?}")]
    Rank {
        /// Which layer's input, or what else.
        place: String,
        /// How many dimensions it has.
        expected: String,
        /// How many came.
        found: usize,
        /// The shape that came.
        shape: Vec<usize>,
    },
    /// A layer that cannot be, or cannot take its batch.
    #[error("{layer}: {reason}")]
    Layer {
        /// The layer.
        layer: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An operation that cannot be done with what it was given.
    #[error("{operation}: {reason}")]
    Operation {
        /// The operation.
        operation: String,
        /// What is wrong.
        reason: String,
    },
    /// A program that cannot be run, or not with these inputs.
    #[error("the program: {reason}")]
    Program {
        /// What is wrong.
        reason: String,
    },
    /// An operation of a program that failed.
    #[error("{operation} in {place}: {reason}")]
    Node {
        /// The operation.
        operation: String,
        /// The layer and the line of Python that it came from.
        place: String,
        /// What went wrong.
        #[source]
        reason: Box<ModelError>,
    },
    /// A picture that cannot be read or transformed.
    #[error("{place}: {reason}")]
    Picture {
        /// Its file, or what else it is called.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of labels that cannot be read.
    #[error("{file}: {reason}")]
    Labels {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The number of elements is not that of the shape.
    #[error("{elements} elements are no tensor of the shape {shape:?}")]
    Elements {
        /// How many elements came.
        elements: usize,
        /// The shape.
        shape: Vec<usize>,
    },
    /// Bounds that nothing can be drawn from: a layer without inputs.
    #[error("the first weights cannot be drawn: {0}")]
    Init(#[from] rekindle_random::ParameterError),
}

fn names(open: &[(String, String)]) -> String {
    open.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn call(network: &str, open: &[(String, String)]) -> String {
    let pairs: Vec<String> = open.iter().map(|(name, default)| format!("{name}={default}")).collect();
    format!("{network}({})", pairs.join(", "))
}

rekindle_recorder::debug_is_display!(ModelError);
