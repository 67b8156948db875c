//! `Share`: what a loss has of a step that several batches make.

use burn::tensor::Tensor;

/// What a loss has of its step, where a step takes several batches: [`Run::step_of`](super::Run::step_of).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Share {
    /// `loss / N`, with the N batches of [`Run::accumulate`](super::Run::accumulate).
    #[default]
    Batch,
    /// The loss is a sum over so many items: it is divided by those of all batches of the step together, as transformers' Trainer does
    /// with `num_items_in_batch`. A mean counts as one item where batches count alike, however many are left for a step.
    Items(f64),
    /// All of it: the losses of a step's batches are added up.
    Whole,
}

impl Share {
    /// What a loss is divided by before its backward pass. A step's items are not known before its last batch: those of the batches that
    /// come are taken to be as many as the first one's, and [`Items::factor`] makes up for it.
    #[allow(clippy::cast_precision_loss)] // a count of batches
    pub(super) fn portion(self, before: Option<Items>, batches: u64) -> f64 {
        match (self, before) {
            (Share::Batch, _) => batches as f64,
            (Share::Items(_), Some(Items { divided_by, .. })) => divided_by,
            (Share::Items(count), None) => count.max(1.0) * batches as f64,
            (Share::Whole, _) => 1.0,
        }
    }

    /// The items that were counted, with this loss's.
    pub(super) fn counted(self, before: Option<Items>, divided_by: f64) -> Option<Items> {
        let Share::Items(count) = self else { return before };
        Some(Items { divided_by, count: before.map_or(0.0, |before| before.count) + count })
    }
}

/// The items of a step whose losses were divided before they were counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Items {
    pub(super) divided_by: f64,
    pub(super) count: f64,
}

impl Items {
    /// What the gradients are multiplied by, so that the losses were divided by the count.
    pub(super) fn factor(self) -> f64 {
        self.divided_by / self.count
    }
}

/// The batches that were passed through since the last step.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    pub(super) batches: u64,
    /// How many of them count and have left no gradients.
    pub(super) lost: u64,
    /// The sum of their losses.
    pub(super) sum: Option<Tensor<1>>,
    /// What they hold, where their losses are sums over it.
    pub(super) items: Option<Items>,
}

impl Passed {
    /// All batches of a step but one, as if they had been passed through, and their gradients were lost.
    pub(super) fn all_but_one(accumulate: u64) -> Self {
        let batches = accumulate.saturating_sub(1);
        Passed { batches, lost: batches, ..Passed::default() }
    }

    /// The loss of the step so far.
    #[allow(clippy::cast_precision_loss)] // a count of batches
    pub(super) fn mean(&self, sum: Tensor<1>, share: Share) -> Tensor<1> {
        match (share, self.items) {
            (Share::Items(_), Some(items)) => sum / items.count,
            (Share::Whole, _) => sum,
            _ => sum / self.batches.saturating_sub(self.lost) as f64,
        }
    }
}
