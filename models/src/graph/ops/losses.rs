//! Losses.

use super::row::ops;
use crate::Result;
use crate::functional::{Array, Classes, Ctc, Reduction, refused};
use crate::graph::item::Given;

fn reduction(g: &Given<'_>) -> Result<Reduction> {
    Reduction::from_number(g.int("reduction", 1)?)
}

pub(super) fn classes<'a>(g: &Given<'a>) -> Result<Classes<'a>> {
    Ok(Classes {
        weight: g.maybe_tensor("weight")?,
        reduction: reduction(g)?,
        ignore_index: g.int("ignore_index", -100)?,
        label_smoothing: g.float("label_smoothing", 0.0)?,
    })
}

/// The lengths of samples: a list, or a tensor.
fn lengths(g: &Given<'_>, name: &str) -> Result<Vec<usize>> {
    let whole = |length: i64| usize::try_from(length).map_err(|_| refused("ctc_loss", "lengths are 0 or more"));
    g.tensor(name)?.ints()?.into_iter().map(whole).collect()
}

fn ctc(g: &Given<'_>, input_lengths: &[usize], target_lengths: &[usize]) -> Result<Array> {
    let how =
        Ctc { blank: g.size("blank", 0)?, reduction: reduction(g)?, zero_infinity: g.flag("zero_infinity", false)? };
    g.tensor("log_probs")?.ctc_loss(g.tensor("targets")?, input_lengths, target_lengths, &how)
}

ops! {
    "aten.cross_entropy_loss.default" (self, target, weight, reduction, ignore_index, label_smoothing) |c| c.given.tensor("self")?.cross_entropy(c.given.tensor("target")?, &classes(&c.given)?)?;
    "aten.nll_loss_nd.default" (self, target, weight, reduction, ignore_index) |c| c.given.tensor("self")?.nll_loss(c.given.tensor("target")?, &classes(&c.given)?)?;
    "aten.nll_loss.default" (self, target, weight, reduction, ignore_index) |c| c.given.tensor("self")?.nll_loss(c.given.tensor("target")?, &classes(&c.given)?)?;
    "aten.nll_loss2d.default" (self, target, weight, reduction, ignore_index) |c| c.given.tensor("self")?.nll_loss(c.given.tensor("target")?, &classes(&c.given)?)?;
    "aten.mse_loss.default" (self, target, reduction) |c| c.given.tensor("self")?.mse_loss(c.given.tensor("target")?, reduction(&c.given)?)?;
    "aten.l1_loss.default" (self, target, reduction) |c| c.given.tensor("self")?.l1_loss(c.given.tensor("target")?, reduction(&c.given)?)?;
    "aten.smooth_l1_loss.default" (self, target, reduction, beta) |c| c.given.tensor("self")?.smooth_l1_loss(c.given.tensor("target")?, reduction(&c.given)?, c.given.float("beta", 1.0)?)?;
    "aten.huber_loss.default" (self, target, reduction, delta) |c| c.given.tensor("self")?.huber_loss(c.given.tensor("target")?, reduction(&c.given)?, c.given.float("delta", 1.0)?)?;
    "aten.binary_cross_entropy.default" (self, target, weight, reduction) |c| c.given.tensor("self")?.bce_loss(c.given.tensor("target")?, c.given.maybe_tensor("weight")?, reduction(&c.given)?)?;
    "aten.binary_cross_entropy_with_logits.default" (self, target, weight, pos_weight, reduction) |c| c.given.tensor("self")?.bce_with_logits(c.given.tensor("target")?, c.given.maybe_tensor("weight")?, c.given.maybe_tensor("pos_weight")?, reduction(&c.given)?)?;
    "aten.kl_div.default" (self, target, reduction, log_target) |c| c.given.tensor("self")?.kl_div(c.given.tensor("target")?, reduction(&c.given)?, c.given.flag("log_target", false)?)?;
    "aten.soft_margin_loss.default" (self, target, reduction) |c| c.given.tensor("self")?.soft_margin_loss(c.given.tensor("target")?, reduction(&c.given)?)?;
    "aten.hinge_embedding_loss.default" (self, target, margin, reduction) |c| c.given.tensor("self")?.hinge_embedding_loss(c.given.tensor("target")?, c.given.float("margin", 1.0)?, reduction(&c.given)?)?;
    "aten.margin_ranking_loss.default" (input1, input2, target, margin, reduction) |c| c.given.tensor("input1")?.margin_ranking_loss(c.given.tensor("input2")?, c.given.tensor("target")?, c.given.float("margin", 0.0)?, reduction(&c.given)?)?;
    "aten.multi_margin_loss.default" (self, target, p, margin, weight, reduction) |c| c.given.tensor("self")?.multi_margin_loss(c.given.tensor("target")?, c.given.float("p", 1.0)?, c.given.float("margin", 1.0)?, c.given.maybe_tensor("weight")?, reduction(&c.given)?)?;
    "aten.multilabel_margin_loss.default" (self, target, reduction) |c| c.given.tensor("self")?.multilabel_margin_loss(c.given.tensor("target")?, reduction(&c.given)?)?;
    "aten.ctc_loss.IntList" (log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity) |c| ctc(&c.given, &c.given.sizes("input_lengths", &[])?, &c.given.sizes("target_lengths", &[])?)?;
    "aten.ctc_loss.Tensor" (log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity) |c| ctc(&c.given, &lengths(&c.given, "input_lengths")?, &lengths(&c.given, "target_lengths")?)?;
    "aten.poisson_nll_loss.default" (input, target, log_input, full, eps, reduction) |c| c.given.tensor("input")?.poisson_nll_loss(c.given.tensor("target")?, c.given.flag("log_input", true)?, c.given.flag("full", false)?, c.given.float("eps", 1e-8)?, reduction(&c.given)?)?;
    "aten.cosine_embedding_loss.default" (input1, input2, target, margin, reduction) |c| c.given.tensor("input1")?.cosine_embedding_loss(c.given.tensor("input2")?, c.given.tensor("target")?, c.given.float("margin", 0.0)?, reduction(&c.given)?)?;
    "aten.triplet_margin_loss.default" (anchor, positive, negative, margin, p, eps, swap, reduction) |c| c.given.tensor("anchor")?.triplet_margin_loss(
        c.given.tensor("positive")?,
        c.given.tensor("negative")?,
        c.given.float("margin", 1.0)?,
        c.given.float("p", 2.0)?,
        c.given.float("eps", 1e-6)?,
        c.given.flag("swap", false)?,
        reduction(&c.given)?,
    )?;
}
