//! What flows through a program: tensors and plain numbers; and what a node is given.

use burn::tensor::DType;

use crate::functional::{Array, Number, Operand, refused};
use crate::{ModelError, Result};

/// The index of a value in a program.
pub(super) type Slot = usize;

/// A value while a program runs.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Array(Array),
    Number(Number),
    /// An output that is not there.
    None,
}

impl Item {
    pub(super) fn array(&self) -> Option<&Array> {
        match self {
            Item::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// A number of a node: known, or computed before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Num {
    Known(Number),
    Slot(Slot),
}

/// What a node is given for one of its parameters.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    None,
    Tensor(Slot),
    Tensors(Vec<Option<Slot>>),
    Number(Num),
    Numbers(Vec<Num>),
    Text(String),
    Type(DType),
    /// A device, a layout or a memory format: there is one device, and layouts change no values.
    Ignored,
}

impl Arg {
    /// The values that it reads.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let of_num = |num: &Num| match num {
            Num::Slot(slot) => Some(*slot),
            Num::Known(_) => None,
        };
        match self {
            Arg::Tensor(slot) => vec![*slot],
            Arg::Tensors(slots) => slots.iter().flatten().copied().collect(),
            Arg::Number(num) => of_num(num).into_iter().collect(),
            Arg::Numbers(nums) => nums.iter().filter_map(of_num).collect(),
            Arg::None | Arg::Text(_) | Arg::Type(_) | Arg::Ignored => Vec::new(),
        }
    }
}

impl Arg {
    /// The same, of which each value has the next of these numbers, in the order of [`slots`](Self::slots).
    pub(super) fn renumbered(&self, next: &mut impl Iterator<Item = Slot>) -> Arg {
        let mut new = |old: Slot| next.next().unwrap_or(old);
        let mut num = |num: &Num| match *num {
            Num::Slot(slot) => Num::Slot(new(slot)),
            known @ Num::Known(_) => known,
        };
        match self {
            Arg::Number(number) => Arg::Number(num(number)),
            Arg::Numbers(numbers) => Arg::Numbers(numbers.iter().map(num).collect()),
            Arg::Tensor(slot) => Arg::Tensor(new(*slot)),
            Arg::Tensors(slots) => Arg::Tensors(slots.iter().map(|slot| slot.map(&mut new)).collect()),
            Arg::None | Arg::Text(_) | Arg::Type(_) | Arg::Ignored => self.clone(),
        }
    }
}

/// The values of a program that are there now.
#[derive(Debug, Default)]
pub(super) struct Values {
    items: Vec<Option<Item>>,
}

impl Values {
    pub(super) fn new(count: usize) -> Self {
        Values { items: vec![None; count] }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Item> {
        self.items.get(slot)?.as_ref()
    }

    pub(super) fn set(&mut self, slot: Slot, item: Item) {
        if let Some(place) = self.items.get_mut(slot) {
            *place = Some(item);
        }
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(place) = self.items.get_mut(slot) {
            *place = None;
        }
    }

    pub(super) fn array(&self, slot: Slot) -> Result<&Array> {
        self.get(slot).and_then(Item::array).ok_or_else(|| refused("a program", "a tensor is used that is not there"))
    }
}

/// The arguments of a node, by name.
pub(super) struct Given<'a> {
    pub(super) args: &'a [(&'static str, Arg)],
    pub(super) values: &'a Values,
}

impl<'a> Given<'a> {
    fn find(&self, name: &str) -> Option<&'a Arg> {
        self.args.iter().find(|(known, _)| *known == name).map(|(_, arg)| arg)
    }

    fn wrong(name: &str, expected: &str) -> ModelError {
        refused(format!("the argument '{name}'"), format!("{expected} is expected"))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&'a Array> {
        match self.find(name) {
            Some(Arg::Tensor(slot)) => self.values.array(*slot),
            _ => Err(Self::wrong(name, "a tensor")),
        }
    }

    pub(super) fn maybe_tensor(&self, name: &str) -> Result<Option<&'a Array>> {
        match self.find(name) {
            None | Some(Arg::None) => Ok(None),
            Some(Arg::Tensor(slot)) => match self.values.get(*slot) {
                Some(Item::None) => Ok(None),
                _ => self.values.array(*slot).map(Some),
            },
            _ => Err(Self::wrong(name, "a tensor or nothing")),
        }
    }

    pub(super) fn maybe_tensors(&self, name: &str) -> Result<Vec<Option<Array>>> {
        match self.find(name) {
            Some(Arg::Tensors(slots)) => {
                slots.iter().map(|slot| slot.map(|slot| self.values.array(slot).cloned()).transpose()).collect()
            }
            None | Some(Arg::None) => Ok(Vec::new()),
            _ => Err(Self::wrong(name, "a list of tensors")),
        }
    }

    /// The values of a list, whatever they are.
    pub(super) fn items(&self, name: &str) -> Result<Vec<Item>> {
        match self.find(name) {
            Some(Arg::Tensors(slots)) => {
                let item = |slot: &Option<Slot>| match slot {
                    Some(slot) => {
                        self.values.get(*slot).cloned().ok_or_else(|| Self::wrong(name, "values that are there"))
                    }
                    None => Ok(Item::None),
                };
                slots.iter().map(item).collect()
            }
            Some(Arg::Numbers(nums)) => nums.iter().map(|&num| self.num(num, name).map(Item::Number)).collect(),
            None | Some(Arg::None) => Ok(Vec::new()),
            _ => Err(Self::wrong(name, "a list")),
        }
    }

    pub(super) fn tensors(&self, name: &str) -> Result<Vec<Array>> {
        let all = self.maybe_tensors(name)?;
        all.into_iter().map(|array| array.ok_or_else(|| Self::wrong(name, "a list of tensors"))).collect()
    }

    fn num(&self, num: Num, name: &str) -> Result<Number> {
        match num {
            Num::Known(number) => Ok(number),
            Num::Slot(slot) => match self.values.get(slot) {
                Some(Item::Number(number)) => Ok(*number),
                Some(Item::Array(array)) => array.item(),
                _ => Err(Self::wrong(name, "a number")),
            },
        }
    }

    pub(super) fn maybe_number(&self, name: &str) -> Result<Option<Number>> {
        match self.find(name) {
            None | Some(Arg::None) => Ok(None),
            Some(Arg::Number(num)) => self.num(*num, name).map(Some),
            // A tensor without dimensions stands for its number.
            Some(Arg::Tensor(slot)) => self.values.array(*slot)?.item().map(Some),
            _ => Err(Self::wrong(name, "a number")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Number> {
        self.maybe_number(name)?.ok_or_else(|| Self::wrong(name, "a number"))
    }

    pub(super) fn float(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.maybe_number(name)?.map_or(default, Number::float))
    }

    pub(super) fn maybe_float(&self, name: &str) -> Result<Option<f64>> {
        Ok(self.maybe_number(name)?.map(Number::float))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.maybe_number(name)?.map_or(default, Number::int))
    }

    pub(super) fn maybe_int(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.maybe_number(name)?.map(Number::int))
    }

    pub(super) fn size(&self, name: &str, default: usize) -> Result<usize> {
        match self.maybe_int(name)? {
            None => Ok(default),
            Some(size) => usize::try_from(size).map_err(|_| Self::wrong(name, "a number of 0 or more")),
        }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.maybe_number(name)?.map_or(default, Number::is_true))
    }

    pub(super) fn maybe_numbers(&self, name: &str) -> Result<Option<Vec<Number>>> {
        match self.find(name) {
            None | Some(Arg::None) => Ok(None),
            Some(Arg::Numbers(nums)) => nums.iter().map(|&num| self.num(num, name)).collect::<Result<_>>().map(Some),
            Some(Arg::Number(num)) => Ok(Some(vec![self.num(*num, name)?])),
            _ => Err(Self::wrong(name, "numbers")),
        }
    }

    pub(super) fn maybe_ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.maybe_numbers(name)?.map(|numbers| numbers.into_iter().map(Number::int).collect()))
    }

    /// The numbers; none where the argument is absent.
    pub(super) fn ints(&self, name: &str) -> Result<Vec<i64>> {
        Ok(self.maybe_ints(name)?.unwrap_or_default())
    }

    pub(super) fn sizes(&self, name: &str, default: &[usize]) -> Result<Vec<usize>> {
        let Some(ints) = self.maybe_ints(name)?.filter(|ints| !ints.is_empty()) else { return Ok(default.to_vec()) };
        ints.into_iter()
            .map(|int| usize::try_from(int).map_err(|_| Self::wrong(name, "numbers of 0 or more")))
            .collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        match self.find(name) {
            Some(Arg::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn dtype(&self, name: &str) -> Option<DType> {
        match self.find(name) {
            Some(Arg::Type(dtype)) => Some(*dtype),
            _ => None,
        }
    }

    pub(super) fn operand(&self, name: &str) -> Result<Operand<'a>> {
        match self.find(name) {
            Some(Arg::Tensor(slot)) => match self.values.get(*slot) {
                Some(Item::Number(number)) => Ok(Operand::Number(*number)),
                _ => Ok(Operand::Array(self.values.array(*slot)?)),
            },
            Some(Arg::Number(num)) => Ok(Operand::Number(self.num(*num, name)?)),
            _ => Err(Self::wrong(name, "a tensor or a number")),
        }
    }

    /// The value that an argument reads, where it is a tensor.
    pub(super) fn slot(&self, name: &str) -> Option<Slot> {
        match self.find(name) {
            Some(Arg::Tensor(slot)) => Some(*slot),
            _ => None,
        }
    }
}
