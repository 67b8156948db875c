//! Steps of several batches: told by what counts batches beside the optimizer's own count of steps (the file, a scheduler or an average), and
//! asked about where nobody has said how many make a step.

use rekindle_recorder::run::{Layout, Leftover, Question, RunState};
use rekindle_recorder::{Dict, Value};

use super::optimizer::steps;
use crate::run::lit::Lit;
use crate::run::norms::steps_of;
use crate::run::options::ResumeOptions;

/// No more than so many are offered.
const MOST: usize = 3;

/// None of more batches: a file that counts samples or tokens has many for each step.
const LARGEST: i64 = 1024;

/// What a checkpoint tells of batches, where a step takes several.
#[derive(Default)]
pub(super) struct Batched {
    /// What has to be said, if anything.
    pub(super) question: Option<Question>,
    /// How many batches were passed through; `None` where a step takes one, or nothing tells.
    pub(super) passed: Option<i64>,
    /// The file's own count, where it is one of batches.
    pub(super) counted: Option<i64>,
    /// How many steps were made then.
    pub(super) made: Option<i64>,
}

impl Batched {
    /// Reads it. `accumulated` is how many batches make a step, where it was said.
    pub(super) fn read(state: &RunState, options: &ResumeOptions, accumulated: Option<i64>) -> Batched {
        let replaced = options.weights_only || options.new_optimizer.is_some();
        let [saved] = &state.optimizers[..] else { return Batched::default() };
        let Some(made) = steps(saved).filter(|&made| made > 0) else { return Batched::default() };
        if replaced || state.part.is_some() || state.told.leftover != Leftover::Stepped {
            return Batched::default();
        }
        let counted = state.step.filter(|counted| *counted >= made.saturating_mul(2) && *counted / made <= LARGEST);
        let fits = |counted: i64, each: i64| counted / each == made || steps_of(counted, each) == made;
        match accumulated.or(state.told.accumulated) {
            Some(each) if each > 1 => {
                // Lightning has a count of its own for each.
                let own = counted.filter(|&counted| fits(counted, each) && state.layout != Layout::Lightning);
                let passed = own.or(Some(made.saturating_mul(each)));
                return Batched { passed, counted: own, made: Some(made), question: None };
            }
            Some(_) => return Batched::default(),
            None if state.told.nominal.is_some() => return Batched::default(),
            None => {}
        }
        if let Some(counted) = counted {
            let each: Vec<i64> = (2..=LARGEST).filter(|&each| fits(counted, each)).take(MOST).collect();
            if let Some(first) = each.first() {
                let what = format!(
                    "the optimizer has made {made} steps where the file counts {counted}: of {first} batches each, if it counts batches"
                );
                let question = Some(ask(what, &each, "; the file's count goes on by batches"));
                return Batched { question, passed: Some(counted), counted: Some(counted), made: Some(made) };
            }
        }
        // accelerate steps a scheduler for each of its processes.
        let scheduled = state.schedulers.iter().filter(|_| state.layout != Layout::Accelerate);
        let scheduled = scheduled.filter_map(|saved| Some((saved.as_dict()?.get("last_epoch")?.as_i64()?, true)));
        let averaged = updates(state).map(|updates| (updates, false));
        let several = |&(counted, _): &(i64, bool)| counted >= 2 * made && counted % made == 0;
        let Some((counted, scheduler)) = scheduled.chain(averaged).find(several) else { return Batched::default() };
        let each = counted / made;
        if each > LARGEST {
            return Batched::default();
        }
        let who = if scheduler { "a scheduler was stepped" } else { "the average of the weights was updated" };
        let what = format!(
            "the optimizer has made {made} steps where {who} {counted} times: after each of {each} batches that make a step, if nothing \
             else"
        );
        Batched { question: Some(ask(what, &[each], "")), passed: Some(counted), counted: None, made: Some(made) }
    }
}

/// The question of how many batches make a step.
fn ask(what: String, each: &[i64], also: &str) -> Question {
    let question = each.iter().fold(Question::new(what), |question, each| {
        question.or(format!("ResumeOptions::accumulate({each})"), format!("for {each} batches a step{also}"))
    });
    let says = "where the optimizer was begun on the way: each batch is a whole step's";
    question.or("ResumeOptions::accumulate(1)", says)
}

/// How often an average of the weights was updated, where it counts that.
fn updates(state: &RunState) -> Option<i64> {
    let count = |dict: &Dict| {
        let found = ["n_averaged", "num_updates", "optimization_step"].iter().find_map(|key| dict.get(key))?;
        number(&found)
    };
    let lit = || Lit::find(state)?.state.get("num_updates")?.item().ok().and_then(rounded);
    state.ema.as_ref().and_then(Value::as_dict).and_then(count).or_else(lit).or(state.updates)
}

/// A whole number, or the one element of a tensor.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| rounded(value.as_tensor()?.item().ok()?))
}

/// A count that is kept as a floating-point number.
#[allow(clippy::cast_possible_truncation)] // a count
fn rounded(count: f64) -> Option<i64> {
    (count >= 0.0).then_some(count as i64)
}
