//! `rekindle plan`: what `rekindle resume` would do, with the same flags, and what it has to be told first.

use rekindle::recorder::run::Question;
use rekindle::train::run::{GroupPlan, Plan};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Anything, print, print_json};
use super::flags::{arguments, in_flags};

/// Prints a plan: yes where nothing is open.
pub(super) fn show(plan: &Plan, json: bool) -> Answer {
    if json {
        print_json(&document(plan))?;
    } else {
        print(&in_flags(&format!("{plan:#}")))?;
    }
    Ok(plan.questions.is_empty())
}

/// Prints the plans of several parts: yes where nothing is open.
pub(super) fn show_several(plans: &[Plan], json: bool) -> Answer {
    let text = plans.iter().map(|plan| in_flags(&format!("{plan:#}"))).collect::<Vec<_>>().join("\n");
    if json {
        print_json(&plans.iter().map(document).collect::<Vec<_>>())?;
    } else {
        print(&text)?;
    }
    Ok(plans.iter().all(|plan| plan.questions.is_empty()))
}

/// Prints what has to be told before a plan can be made at all.
pub(super) fn ask(error: &dyn std::fmt::Display, questions: &[Question], json: bool) -> Anything<()> {
    if json {
        return print_json(&json!({"questions": asked(questions)}));
    }
    Ok(print(&format!("open: {}\n", in_flags(&error.to_string())))?)
}

fn asked(questions: &[Question]) -> Vec<Json> {
    let question = |question: &Question| {
        let choices = question.choices.iter();
        let choices: Vec<_> = choices
            .map(|choice| {
                let flag = in_flags(&format!("`{}`", choice.option));
                json!({"says": choice.says, "flag": flag, "arguments": arguments(&choice.option)})
            })
            .collect();
        json!({"what": question.what, "choices": choices})
    };
    questions.iter().map(question).collect()
}

fn document(plan: &Plan) -> Json {
    let group = |GroupPlan { lr, parameters, with_state, frozen, .. }: &GroupPlan| json!({"lr": lr, "parameters": parameters, "with_state": with_state, "frozen": frozen});
    let schedulers = plan.schedulers.iter().map(|scheduler| {
        let (name, next, per) = (scheduler.kind.name(), &scheduler.next, scheduler.per.name());
        json!({"name": name, "last_epoch": scheduler.last_epoch, "per": per, "times": scheduler.times, "why": scheduler.why, "next": next})
    });
    let schedulers: Vec<_> = schedulers.collect();
    let values: Vec<_> = plan
        .values
        .iter()
        .map(|value| json!({"place": value.place, "value": value.value, "taken": value.taken.to_string()}))
        .collect();
    json!({
        "layout": plan.layout,
        "part": plan.part,
        "model": {"key": plan.model, "tensors": plan.tensors, "prefix": plan.prefix, "beside": plan.beside, "cast": plan.cast},
        "optimizer": {"name": plan.optimizer.name(), "told": plan.told, "groups": plan.groups.iter().map(group).collect::<Vec<_>>()},
        "more_optimizers": plan.more.iter().map(|more| json!({
            "place": more.place, "name": more.optimizer.name(), "told": more.told, "groups": more.groups.iter().map(group).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "scheduler": schedulers.first(),
        "schedulers": schedulers,
        "scaler": plan.scaler,
        "clip_norm": plan.clip_norm,
        "not_in_file": plan.not_in_file,
        "not_told": plan.untold,
        "average": plan.average,
        "generator": plan.generator,
        "epoch": plan.epoch,
        "step": plan.step,
        "told": plan.told_of_run,
        "changed": plan.changed.iter().map(|said| in_flags(said)).collect::<Vec<_>>(),
        "values": values,
        "questions": asked(&plan.questions),
    })
}
