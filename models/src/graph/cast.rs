//! The types that a node is computed in: what autocast casts its arguments to, and what of 16 bits is computed in float32.

use std::collections::{HashMap, HashSet};

use burn::tensor::DType;

use super::autocast::Policy;
use super::item::{Arg, Given, Item, Slot, Values};
use super::ops::row::{Call, Out};
use super::steps::Node;
use crate::Result;
use crate::functional::{Array, Kind, Operand, autocast, cast_eligible, is_narrow, is_on_cpu, result_type};

/// What autocast keeps of parameters that it has cast, as PyTorch's cache does: one that is used twice is one tensor of the region's type,
/// in which what its gradients add up to is rounded.
#[derive(Default)]
pub(super) struct Cache {
    parameters: HashSet<Slot>,
    cast: HashMap<(Slot, DType), Array>,
}

impl Cache {
    /// Of the values that are parameters, and written to by nothing.
    pub(super) fn of(parameters: impl Iterator<Item = Slot>) -> Self {
        Cache { parameters: parameters.collect(), cast: HashMap::new() }
    }

    /// Outside of all regions nothing is kept.
    pub(super) fn clear(&mut self) {
        self.cast.clear();
    }

    fn lowered(&mut self, slot: Slot, x: &Array, dtype: DType) -> Result<Array> {
        if x.dtype() != DType::F32 || !self.parameters.contains(&slot) {
            return cast_eligible(x, dtype);
        }
        if let Some(known) = self.cast.get(&(slot, dtype)) {
            return Ok(known.clone());
        }
        let cast = x.cast(dtype)?;
        self.cast.insert((slot, dtype), cast.clone());
        Ok(cast)
    }
}

/// Computes a node within a region that casts to this type, if it is in one.
pub(super) fn computed(node: &Node, call: &mut Call<'_>, region: Option<DType>, cache: &mut Cache) -> Result<Out> {
    // What writes in place is on none of autocast's lists.
    let policy = if node.writes.is_some() { Policy::Keep } else { node.policy };
    let single = |_: Slot, x: &Array| cast_eligible(x, DType::F32);
    match (region, policy) {
        (None, _) | (_, Policy::Keep) => {
            let narrow = if node.wide { narrow_type(&call.given) } else { None };
            let Some(dtype) = narrow else { return (node.op.run)(call) };
            narrowed(with_cast(node, call, |_: Slot, x: &Array| x.widened())?, dtype)
        }
        (Some(dtype), Policy::Parts) => autocast(Some(dtype.into()), || (node.op.run)(call)),
        (Some(_), Policy::Full) => with_cast(node, call, single),
        (Some(_), Policy::Within) => {
            let input = floats(&call.given).next().map(Array::dtype);
            let out = with_cast(node, call, single)?;
            if let Some(dtype) = input { narrowed(out, dtype) } else { Ok(out) }
        }
        (Some(dtype), Policy::Lower) => {
            let on_cpu = floats(&call.given).all(is_on_cpu);
            let cast = |slot: Slot, x: &Array| {
                let lowered = cache.lowered(slot, x, dtype)?;
                // On the CPU it is computed in float32, and rounded once.
                if on_cpu { cast_eligible(&lowered, DType::F32) } else { Ok(lowered) }
            };
            narrowed(with_cast(node, call, cast)?, dtype)
        }
    }
}

/// The floating-point tensors that are given.
fn floats<'a>(given: &Given<'a>) -> impl Iterator<Item = &'a Array> + use<'a> {
    let slots: Vec<Slot> = given.args.iter().flat_map(|(_, arg)| arg.slots()).collect();
    let values = given.values;
    let arrays = slots.into_iter().filter_map(|slot| values.get(slot).and_then(Item::array));
    arrays.filter(|array| array.kind() == Kind::Float)
}

/// The 16-bit type of all that is given, where no other is asked for.
fn narrow_type(given: &Given<'_>) -> Option<DType> {
    let floats: Vec<&Array> = floats(given).collect();
    let dtype = result_type(&floats.iter().map(|&array| Operand::Array(array)).collect::<Vec<_>>());
    (is_narrow(dtype) && !floats.is_empty() && given.dtype("dtype").is_none()).then_some(dtype)
}

/// What is of float32, in this type.
fn narrowed(out: Out, dtype: DType) -> Result<Out> {
    let narrowed = |array: Array| if array.dtype() == DType::F32 { array.cast(dtype) } else { Ok(array) };
    Ok(match out {
        Out::One(array) => Out::One(narrowed(array)?),
        Out::Many(arrays) => Out::Many(arrays.into_iter().map(narrowed).collect::<Result<_>>()?),
        Out::Items(items) => {
            let narrowed =
                |item| if let Item::Array(array) = item { narrowed(array).map(Item::Array) } else { Ok(item) };
            Out::Items(items.into_iter().map(narrowed).collect::<Result<_>>()?)
        }
        other => other,
    })
}

/// Computes a node with the floating-point tensors that it is given cast.
fn with_cast(node: &Node, call: &mut Call<'_>, mut cast: impl FnMut(Slot, &Array) -> Result<Array>) -> Result<Out> {
    let slots: Vec<Slot> = call.given.args.iter().flat_map(|(_, arg)| arg.slots()).collect();
    let mut values = Values::new(slots.len());
    for (at, &slot) in slots.iter().enumerate() {
        let item = match call.given.values.get(slot) {
            Some(Item::Array(array)) if array.kind() == Kind::Float => Item::Array(cast(slot, array)?),
            Some(item) => item.clone(),
            None => continue,
        };
        values.set(at, item);
    }
    let mut next = 0..;
    let args: Vec<(&'static str, Arg)> =
        call.given.args.iter().map(|(name, arg)| (*name, arg.renumbered(&mut next))).collect();
    let mut inner = Call {
        given: Given { args: &args, values: &values },
        train: call.train,
        device: call.device,
        generator: &mut *call.generator,
        order: call.order,
        blocks: call.blocks,
        around: None,
        writes: Vec::new(),
    };
    let out = (node.op.run)(&mut inner)?;
    let written = inner.writes.into_iter().filter_map(|(at, array)| Some((*slots.get(at)?, array)));
    call.writes.extend(written);
    Ok(out)
}
