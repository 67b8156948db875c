//! What LBFGS keeps from step to step, and how PyTorch stores it: in the state of the first parameter, for all of them. Long
//! vectors are all parameters' elements in a row, in PyTorch's order.

use std::sync::Arc;

use indexmap::IndexMap;
use rekindle_recorder::{DType, Dict, Error, Result, Tensor, Value};

use super::scalar::Scalar;
use crate::attributes::{Attributes, invalid, wrong_type};
use crate::optim::array::Real;

/// `optimizer.state` of LBFGS.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// The names that it is stored under, in order; and the values of those that are not LBFGS's, which are kept.
    entries: IndexMap<String, Option<Value>>,
    numbers: Numbers,
}

/// A [`Kept`] of the parameters' type.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    F32(Kept<f32>),
    F64(Kept<f64>),
}

/// What one step leaves for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept<T> {
    pub(super) func_evals: i64,
    pub(super) n_iter: i64,
    /// Scratch numbers of the direction's computation, which PyTorch keeps. Made in the second iteration.
    pub(super) al: Option<Vec<Option<T>>>,
    /// Made at the end of the first step.
    pub(super) search: Option<Search<T>>,
}

/// The last direction and step, and the history that approximates the inverse Hessian. Long vectors are shared with the copy that is put
/// back if a step fails.
#[derive(Clone, Debug)]
pub(super) struct Search<T> {
    pub(super) d: Arc<Vec<T>>,
    pub(super) t: Scalar<T>,
    /// Differences of gradients, the oldest first.
    pub(super) old_dirs: Vec<Arc<Vec<T>>>,
    /// Steps.
    pub(super) old_stps: Vec<Arc<Vec<T>>>,
    /// Reciprocals of their dot products.
    pub(super) ro: Vec<T>,
    pub(super) h_diag: Scalar<T>,
    pub(super) prev_flat_grad: Arc<Vec<T>>,
    pub(super) prev_loss: f64,
}

/// In the order of PyTorch's assignments at the end of a step.
const SEARCH: [&str; 8] = ["d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss"];

impl Memory {
    /// Before the first step.
    pub(crate) fn new(dtype: DType) -> Self {
        let numbers = match dtype {
            DType::Float64 => Numbers::F64(Kept::default()),
            _ => Numbers::F32(Kept::default()),
        };
        Memory { entries: IndexMap::new(), numbers }
    }

    /// What a state dict holds for the first parameter; `place` is where, for messages.
    pub(crate) fn read(value: &Value, elements: usize, dtype: DType, group: &Attributes, place: &str) -> Result<Self> {
        let dict = value.as_dict().ok_or_else(|| wrong_type(place, "a dict", value))?;
        let mut entries = IndexMap::new();
        for (key, value) in dict.entries() {
            let name = key.as_str().ok_or_else(|| wrong_type(&format!("a key of {place}"), "a str", &key))?;
            entries.insert(name.to_owned(), Some(value));
        }
        let history = usize::try_from(group.int("history_size")?).unwrap_or(0);
        let reader = Reader { entries: &entries, elements, history, place };
        let numbers = match dtype {
            DType::Float64 => Numbers::F64(reader.kept()?),
            _ => Numbers::F32(reader.kept()?),
        };
        let mut memory = Memory { entries, numbers };
        memory.list();
        Ok(memory)
    }

    /// The numbers, to make a step with; [`list`](Self::list) afterwards.
    pub(crate) fn numbers(&mut self) -> &mut Numbers {
        &mut self.numbers
    }

    /// Takes the names that PyTorch stores it under, as far as it goes: new ones come at the end of those that are there.
    pub(crate) fn list(&mut self) {
        fn names<T>(kept: &Kept<T>) -> Vec<&'static str> {
            let al = kept.al.as_ref().map(|_| "al");
            let search = kept.search.as_ref().map_or(&[][..], |_| &SEARCH);
            ["func_evals", "n_iter"].into_iter().chain(al).chain(search.iter().copied()).collect()
        }
        let names = match &self.numbers {
            Numbers::F32(kept) => names(kept),
            Numbers::F64(kept) => names(kept),
        };
        for name in names {
            self.entries.insert(name.to_owned(), None);
        }
    }

    /// The dict that PyTorch stores for the first parameter.
    pub(crate) fn to_value(&self) -> Value {
        let own = |name: &str| match &self.numbers {
            Numbers::F32(kept) => kept.value(name),
            Numbers::F64(kept) => kept.value(name),
        };
        let value = |(name, other): (&String, &Option<Value>)| {
            (name.clone(), other.clone().or_else(|| own(name)).unwrap_or(Value::None))
        };
        self.entries.iter().map(value).collect::<Dict>().into()
    }
}

impl<T: Real> Kept<T> {
    fn value(&self, name: &str) -> Option<Value> {
        let vectors = |vectors: &[Arc<Vec<T>>]| Value::list(vectors.iter().map(|vector| tensor(vector)));
        let scalar = |number: T| Value::from(Tensor::scalar(number));
        Some(match name {
            "func_evals" => self.func_evals.into(),
            "n_iter" => self.n_iter.into(),
            "al" => Value::list(self.al.as_ref()?.iter().map(|number| number.map(scalar).into())),
            "d" => tensor(&self.search.as_ref()?.d),
            "t" => self.search.as_ref()?.t.to_value(),
            "old_dirs" => vectors(&self.search.as_ref()?.old_dirs),
            "old_stps" => vectors(&self.search.as_ref()?.old_stps),
            "ro" => Value::list(self.search.as_ref()?.ro.iter().map(|number| scalar(*number))),
            "H_diag" => self.search.as_ref()?.h_diag.to_value(),
            "prev_flat_grad" => tensor(&self.search.as_ref()?.prev_flat_grad),
            "prev_loss" => self.search.as_ref()?.prev_loss.into(),
            _ => return None,
        })
    }
}

fn tensor<T: Real>(vector: &[T]) -> Value {
    // As many elements as the shape says.
    Tensor::from_vec(&[vector.len()], vector.to_vec()).map_or(Value::None, Value::from)
}

/// A state dict's entries, taken apart.
struct Reader<'a> {
    entries: &'a IndexMap<String, Option<Value>>,
    elements: usize,
    history: usize,
    place: &'a str,
}

impl Reader<'_> {
    /// What is there, and is not `None`.
    fn entry(&self, name: &str) -> Option<Value> {
        self.entries.get(name).cloned().flatten().filter(|value| !matches!(value, Value::None))
    }

    fn kept<T: Real>(&self) -> Result<Kept<T>> {
        let int = |name: &str| match self.entry(name) {
            Some(value) => value.as_i64().ok_or_else(|| wrong_type(&self.key(name), "an int", &value)),
            None => Ok(0),
        };
        let al = self.entry("al").map(|value| self.list("al", &value, optional_scalar)).transpose()?;
        let search = if SEARCH.iter().any(|name| self.entry(name).is_some()) { Some(self.search()?) } else { None };
        let kept = Kept { func_evals: int("func_evals")?, n_iter: int("n_iter")?, al, search };
        if kept.n_iter > 0 && kept.search.is_none() {
            return Err(self.missing("d"));
        }
        Ok(kept)
    }

    fn search<T: Real>(&self) -> Result<Search<T>> {
        let [d, t, old_dirs, old_stps, ro, h_diag, prev_flat_grad, prev_loss] = SEARCH;
        let vectors = |name| self.list(name, &self.value(name)?, |value| self.vector(value));
        let vector = |name| {
            let value = self.value(name)?;
            self.vector(&value).ok_or_else(|| self.unfit(name, &value))
        };
        let number = |name| {
            let value = self.value(name)?;
            Scalar::read(&value).ok_or_else(|| wrong_type(&self.key(name), "a number", &value))
        };
        let search = Search {
            d: vector(d)?,
            t: number(t)?,
            old_dirs: vectors(old_dirs)?,
            old_stps: vectors(old_stps)?,
            ro: self.list(ro, &self.value(ro)?, |value| Some(Scalar::<T>::read(value)?.element()))?,
            h_diag: number(h_diag)?,
            prev_flat_grad: vector(prev_flat_grad)?,
            prev_loss: number(prev_loss)?.double(),
        };
        search.fits(self.history)?;
        Ok(search)
    }

    fn vector<T: Real>(&self, value: &Value) -> Option<Arc<Vec<T>>> {
        let tensor = value.as_tensor().filter(|tensor| tensor.shape() == [self.elements])?;
        Some(Arc::new(match tensor.to_vec::<T>() {
            Ok(elements) => elements,
            Err(_) => tensor.to_f64_vec().ok()?.into_iter().map(T::of).collect(),
        }))
    }

    fn list<X>(&self, name: &str, value: &Value, read: impl Fn(&Value) -> Option<X>) -> Result<Vec<X>> {
        let items = value.items().ok_or_else(|| wrong_type(&self.key(name), "a list", value))?;
        let read =
            |(place, item): (usize, &Value)| read(item).ok_or_else(|| self.unfit(&format!("{name}[{place}]"), item));
        items.iter().enumerate().map(read).collect()
    }

    fn value(&self, name: &str) -> Result<Value> {
        self.entry(name).ok_or_else(|| self.missing(name))
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    fn missing(&self, name: &str) -> rekindle_recorder::Error {
        let advice = "LBFGS cannot go on without it".to_owned();
        Error::missing_key(self.key(name)).advise(advice)
    }

    fn unfit(&self, name: &str, value: &Value) -> rekindle_recorder::Error {
        let key = self.key(name);
        match value.as_tensor() {
            Some(tensor) => invalid(format!(
                "{key} has shape {:?}, and the parameters have {} elements together; check that the model is the one the \
                 checkpoint was made with",
                tensor.shape(),
                self.elements
            )),
            None => wrong_type(&key, "a tensor", value),
        }
    }
}

fn optional_scalar<T: Real>(value: &Value) -> Option<Option<T>> {
    match value {
        Value::None => Some(None),
        value => Some(Some(Scalar::read(value)?.element())),
    }
}

impl<T> Search<T> {
    /// Refuses a history that PyTorch could not go on with.
    pub(super) fn fits(&self, history_size: usize) -> Result<()> {
        let lengths = [self.old_dirs.len(), self.old_stps.len(), self.ro.len()];
        if lengths.iter().any(|length| *length != lengths[0]) {
            return Err(invalid(format!(
                "LBFGS's old_dirs, old_stps and ro must be of one length, and are of {}, {} and {}",
                lengths[0], lengths[1], lengths[2]
            )));
        }
        if lengths[0] > history_size {
            return Err(invalid(format!(
                "LBFGS has a history of {} steps, and its history_size is {history_size}; set it to at least {}",
                lengths[0], lengths[0]
            )));
        }
        Ok(())
    }
}
