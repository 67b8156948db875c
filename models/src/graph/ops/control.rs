//! Control flow: operations that run graphs of their own.

use super::row::{Call, Out, ops};
use crate::Result;
use crate::functional::{Array, Number, refused};
use crate::graph::item::Item;

/// The elements along the first dimension of each.
fn along(arrays: &[Item]) -> Result<Vec<Vec<Item>>> {
    let parts = |item: &Item| {
        let array = item.array().ok_or_else(|| refused("a loop", "it goes along what is no tensor"))?;
        Ok(array.unbind(0)?.into_iter().map(Item::Array).collect())
    };
    arrays.iter().map(parts).collect()
}

/// What each round gave, one after the other along a new first dimension.
fn stacked(rounds: &[Vec<Item>]) -> Result<Vec<Item>> {
    let count = rounds.first().map_or(0, Vec::len);
    let column = |at: usize| {
        let parts = rounds.iter().map(|round| round.get(at).and_then(Item::array).cloned());
        let parts = parts.collect::<Option<Vec<Array>>>();
        let parts = parts.ok_or_else(|| refused("a loop", "a round gives what is no tensor"))?;
        Array::stack(&parts, 0).map(Item::Array)
    };
    (0..count).map(column).collect()
}

/// Runs the body once for each element along `xs`, with what is carried from round to round.
fn rounds(c: &mut Call<'_>, mut carried: Vec<Item>, xs: &str) -> Result<(Vec<Item>, Vec<Vec<Item>>)> {
    let (columns, more) = (along(&c.given.items(xs)?)?, c.given.items("additional")?);
    let length = columns.first().map_or(0, Vec::len);
    if length == 0 || columns.iter().any(|column| column.len() != length) {
        return Err(refused("a loop", "what it goes along has no elements, or unlike numbers of them"));
    }
    let mut all = Vec::with_capacity(length);
    for round in 0..length {
        let elements = columns.iter().filter_map(|column| column.get(round).cloned());
        let given = carried.iter().cloned().chain(elements).chain(more.iter().cloned()).collect();
        let mut out = c.block(0, given)?;
        if out.len() < carried.len() {
            return Err(refused("a loop", "a round gives less than is carried to the next"));
        }
        let own = out.split_off(carried.len());
        carried = out;
        all.push(own);
    }
    Ok((carried, all))
}

/// Runs the body as long as the condition holds.
fn repeated(c: &mut Call<'_>) -> Result<Vec<Item>> {
    let (mut carried, more) = (c.given.items("carried")?, c.given.items("additional")?);
    let with = |carried: &[Item]| carried.iter().chain(&more).cloned().collect::<Vec<Item>>();
    loop {
        let holds = match c.block(0, with(&carried))?.first() {
            Some(Item::Array(array)) => array.item()?,
            Some(Item::Number(number)) => *number,
            _ => Number::Bool(false),
        };
        if !holds.is_true() {
            return Ok(carried);
        }
        carried = c.block(1, with(&carried))?;
    }
}

/// Each element along `xs` combined with all before it: `associative_scan`, here one after the other.
fn combined(c: &mut Call<'_>) -> Result<Vec<Item>> {
    let (columns, more) = (along(&c.given.items("xs")?)?, c.given.items("additional")?);
    let row = |round: usize| columns.iter().filter_map(|column| column.get(round).cloned()).collect::<Vec<Item>>();
    let length = columns.first().map_or(0, Vec::len);
    if length == 0 || columns.iter().any(|column| column.len() != length) {
        return Err(refused("a loop", "what it goes along has no elements, or unlike numbers of them"));
    }
    let mut all = vec![row(0)];
    for round in 1..length {
        let before = all[round - 1].iter().cloned();
        let given = before.chain(row(round)).chain(more.iter().cloned()).collect();
        all.push(c.block(0, given)?);
    }
    stacked(&all)
}

ops! {
    "higher_order.associative_scan" (xs, additional) |c| Out::Items(combined(c)?);
    "higher_order.cond" (pred, operands) |c| {
        let branch = usize::from(!c.given.number("pred")?.is_true());
        let operands = c.given.items("operands")?;
        Out::Items(c.block(branch, operands)?)
    };
    "higher_order.while_loop" (carried, additional) |c| Out::Items(repeated(c)?);
    "higher_order.scan" (init, xs, additional) |c| {
        let init = c.given.items("init")?;
        let (mut out, all) = rounds(c, init, "xs")?;
        out.extend(stacked(&all)?);
        Out::Items(out)
    };
    "higher_order.map_impl" (xs, additional) |c| {
        let (_, all) = rounds(c, Vec::new(), "xs")?;
        Out::Items(stacked(&all)?)
    };
}
