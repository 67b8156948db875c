//! What a program takes: names, types, lengths; and whether what comes fits.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::DType;

use super::expression::Expression;
use super::item::Slot;
use super::schema::Range;
use crate::functional::{Array, Kind, dtype_name, kind_of};
use crate::{ModelError, Result};

/// An input of a program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Input {
    /// Its name: that of the forward's argument.
    pub name: String,
    pub(super) slot: Slot,
    /// The type of its elements.
    pub dtype: DType,
    /// Its lengths.
    pub lengths: Vec<Length>,
    /// Whether it is a number, not a tensor: it is given as a tensor without dimensions.
    pub is_number: bool,
}

/// A length of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Length {
    /// The one that it had at export.
    Exactly(usize),
    /// Any within the symbol's range; the same wherever the symbol stands.
    Symbol(String),
    /// What an expression of symbols gives, such as `2*s44`.
    Computed(Expression),
    /// Any.
    Any,
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lengths: Vec<String> = self
            .lengths
            .iter()
            .map(|length| match length {
                Length::Exactly(length) => length.to_string(),
                Length::Symbol(symbol) => symbol.clone(),
                Length::Computed(expression) => expression.to_string(),
                Length::Any => "?".to_owned(),
            })
            .collect();
        write!(f, "{} {}[{}]", self.name, dtype_name(self.dtype), lengths.join(", "))
    }
}

/// The symbols of a program with their ranges.
#[derive(Debug)]
pub(super) struct Symbols {
    ranges: HashMap<String, Range>,
}

impl Symbols {
    pub(super) fn new(ranges: &BTreeMap<String, Range>) -> Self {
        Symbols { ranges: ranges.iter().map(|(name, range)| (name.clone(), *range)).collect() }
    }

    /// Looks whether the arrays are what the inputs say.
    pub(super) fn bind(&self, inputs: &[Input], arrays: &[Array]) -> Result<()> {
        let wrong = |reason: String| Err(ModelError::Program { reason });
        if inputs.len() != arrays.len() {
            let names: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            return wrong(format!("it takes {} inputs ({}), not {}", inputs.len(), names.join("; "), arrays.len()));
        }
        let mut known: HashMap<&str, (usize, String)> = HashMap::new();
        for (input, array) in inputs.iter().zip(arrays) {
            let shape = array.shape();
            if shape.len() != input.lengths.len() {
                return wrong(format!("the input '{}' is {input}, not {shape:?}", input.name));
            }
            // A type of another kind would compute something else; within the kind it is converted.
            let (own, wanted) = (array.kind(), kind_of(input.dtype));
            if own != wanted && !(own == Kind::Int && wanted == Kind::Float && input.is_number) {
                let (own, wanted) = (array.dtype_name(), dtype_name(input.dtype));
                return wrong(format!("the input '{}' has elements of {wanted}, not {own}", input.name));
            }
            for (dim, (length, &found)) in input.lengths.iter().zip(shape).enumerate() {
                let place = format!("dimension {dim} of the input '{}'", input.name);
                match length {
                    Length::Any | Length::Computed(_) => {}
                    Length::Exactly(length) if *length == found => {}
                    Length::Exactly(length) => {
                        return wrong(format!(
                            "{place} is {length}, as it was exported, not {found}; export it with `dynamic_shapes` for others"
                        ));
                    }
                    Length::Symbol(symbol) => {
                        if let Some((other, at)) = known.get(symbol.as_str()) {
                            if *other != found {
                                return wrong(format!("{place} is {found}, but {at}, which must be equal, is {other}"));
                            }
                            continue;
                        }
                        let Range { min_val, max_val } =
                            self.ranges.get(symbol).copied().unwrap_or(Range { min_val: None, max_val: None });
                        let signed = i64::try_from(found).unwrap_or(i64::MAX);
                        // Of a symbol that may be 2 PyTorch takes 0 and 1, too: every export says 2, as 0 and 1 are constants to it.
                        let min_val = min_val.filter(|&min| min > 2);
                        if min_val.is_some_and(|min| signed < min) || max_val.is_some_and(|max| signed > max) {
                            let bound = |bound: Option<i64>, none: &str| {
                                bound.map_or_else(|| none.to_owned(), |b| b.to_string())
                            };
                            let range = format!("{} to {}", bound(min_val, "0"), bound(max_val, "any"));
                            return wrong(format!("{place} must be in {range}, as it was exported, not {found}"));
                        }
                        known.insert(symbol, (found, place));
                    }
                }
            }
        }
        let known = known.into_iter().map(|(symbol, (found, _))| (symbol, i64::try_from(found).unwrap_or(i64::MAX)));
        follow(inputs, arrays, &known.collect())
    }
}

/// Looks whether lengths that follow from symbols are what those make them.
fn follow(inputs: &[Input], arrays: &[Array], known: &HashMap<&str, i64>) -> Result<()> {
    for (input, array) in inputs.iter().zip(arrays) {
        for (dim, (length, &found)) in input.lengths.iter().zip(array.shape()).enumerate() {
            let Length::Computed(expression) = length else { continue };
            if let Some(value) = expression.value(known).filter(|&value| usize::try_from(value) != Ok(found)) {
                let name = &input.name;
                let reason = format!(
                    "dimension {dim} of the input '{name}' is {expression}, which is {value} here, and not {found}"
                );
                return Err(ModelError::Program { reason });
            }
        }
    }
    Ok(())
}
