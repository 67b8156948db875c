//! What tells in which mode a program was exported, and what one that was exported in evaluation lacks for training.

use super::item::{Arg, Num};
use super::steps::{Node, Plan};
use crate::functional::Number;

/// The flag that a layer has in both modes.
fn flag(node: &Node, name: &str) -> Option<bool> {
    let (_, arg) = node.args.iter().find(|(known, _)| *known == name)?;
    match arg {
        Arg::Number(Num::Known(Number::Bool(flag))) => Some(*flag),
        _ => None,
    }
}

/// What is missing for training, in words; empty where some layer shows that the program was exported in training, or none can
/// tell.
pub(super) fn lacks(plan: &Plan) -> Vec<String> {
    let count = |is: &dyn Fn(&Node) -> bool| plan.all().into_iter().filter(|node| is(node)).count();
    let dropout = |node: &Node| node.op.name.ends_with("dropout.default") && flag(node, "train") == Some(false);
    let norm = |node: &Node| {
        (node.op.name == "aten.batch_norm.default" && flag(node, "training") == Some(false))
            || node.op.name.ends_with("legit_no_training.default")
    };
    let layers = |node: &Node| node.op.name.ends_with(".input") && flag(node, "train") == Some(false);
    let decomposed = |node: &Node| node.op.name.ends_with("legit_no_training.default");
    let attention = |node: &Node| node.op.name.contains("scaled_dot_product_attention");
    let (dropouts, norms, recurrent) = (count(&dropout), count(&norm), count(&layers));
    if dropouts + norms + recurrent == 0 {
        return Vec::new();
    }
    let mut lacks = Vec::new();
    let mut say = |count: usize, one: &str, many: &str| match count {
        0 => {}
        1 => lacks.push(format!("1 {one}")),
        count => lacks.push(format!("{count} {many}")),
    };
    say(norms, "batch norm in evaluation", "batch norms in evaluation");
    say(dropouts, "dropout that is off", "dropouts that are off");
    say(recurrent, "recurrent layer in evaluation", "recurrent layers in evaluation");
    say(count(&attention), "attention without the dropout it may have", "attentions without the dropout they may have");
    say(count(&decomposed), "batch norm that cannot be turned back", "batch norms that cannot be turned back");
    lacks
}
