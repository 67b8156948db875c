//! `ParamGroup`: parameters that share their hyper-parameters, which schedulers change; and how groups are told apart when an
//! optimizer is made.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use globset::Glob;
use rekindle_burn::NamedParameter;
use rekindle_recorder::{Result, Value};

use crate::attributes::{Attributes, invalid};

/// One of an optimizer's groups: hyper-parameters by PyTorch's names, in the order in which PyTorch stores them, and the
/// parameters that they hold for.
///
/// It reads and writes as the dict in `optimizer.param_groups` does, through [`Attributes`]: `group.float("weight_decay")`,
/// `group.set("lr", 1e-4)`. Keys that PyTorch does not know are kept. `params` is not among them.
#[derive(Clone, Debug)]
pub struct ParamGroup {
    attributes: Attributes,
    params: Range<usize>,
}

impl ParamGroup {
    pub(crate) fn new(attributes: Attributes, params: Range<usize>) -> Self {
        ParamGroup { attributes, params }
    }

    /// The learning rate.
    ///
    /// # Errors
    /// When somebody put something else than a number in its place.
    pub fn lr(&self) -> Result<f64> {
        self.float("lr")
    }

    /// Changes the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.set_float("lr", lr);
    }

    /// The ids of its parameters: they number the parameters of all groups.
    #[must_use]
    pub fn params(&self) -> Range<usize> {
        self.params.clone()
    }

    /// The dict that PyTorch stores: `params` comes last.
    pub(crate) fn to_value(&self) -> Value {
        let dict = self.attributes.to_dict();
        dict.remove("params");
        dict.insert("params", self.params.clone().map(Value::from).collect::<Vec<_>>());
        dict.into()
    }
}

impl Deref for ParamGroup {
    type Target = Attributes;

    fn deref(&self) -> &Attributes {
        &self.attributes
    }
}

impl DerefMut for ParamGroup {
    fn deref_mut(&mut self) -> &mut Attributes {
        &mut self.attributes
    }
}

/// Which parameters belong to a group: those whose name fits a pattern, or one of several, or whatever a function says.
///
/// In a pattern `*` stands for any part of a name, `?` for one character, `{a,b}` for either; `*.bias` is every bias but
/// that of the root.
///
/// ```
/// use rekindle_train::optim::Select;
///
/// let biases = Select::from("*.bias");
/// let ends = Select::from(vec!["embedding.*".to_owned(), "head.*".to_owned()]);
/// let matrices = Select::matching(|parameter| parameter.shape.len() >= 2);
/// ```
pub struct Select(Kind);

enum Kind {
    Patterns(Vec<String>),
    Function(Box<dyn Fn(&NamedParameter) -> bool + Send + Sync>),
}

impl Select {
    /// Those for which a function says so.
    pub fn matching(belongs: impl Fn(&NamedParameter) -> bool + Send + Sync + 'static) -> Self {
        Select(Kind::Function(Box::new(belongs)))
    }

    /// The function; an error where a pattern cannot be read.
    pub(crate) fn compile(self) -> Result<Box<dyn Fn(&NamedParameter) -> bool + Send + Sync>> {
        let patterns = match self.0 {
            Kind::Function(function) => return Ok(function),
            Kind::Patterns(patterns) => patterns,
        };
        let globs = patterns.iter().map(|pattern| Ok(Glob::new(pattern)?.compile_matcher()));
        let globs: Vec<_> = globs
            .collect::<Result<_, globset::Error>>()
            .map_err(|error| invalid(format!("a group's pattern cannot be read: {error}")))?;
        Ok(Box::new(move |parameter| globs.iter().any(|glob| glob.is_match(&parameter.name))))
    }
}

rekindle_recorder::from! { Select:
    &str: pattern => Select(Kind::Patterns(vec![pattern.to_owned()]));
    Vec<String>: patterns => Select(Kind::Patterns(patterns));
}

/// The patterns, as they are spelled.
impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Patterns(patterns) => write!(f, "'{}'", patterns.join(",")),
            Kind::Function(_) => f.write_str("a function"),
        }
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Patterns(patterns) => f.debug_tuple("Select").field(patterns).finish(),
            Kind::Function(_) => f.write_str("Select(a function)"),
        }
    }
}
