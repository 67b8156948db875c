//! What mmcv's `load_checkpoint` says of keys that do not fit, in its words.

use crate::LoadReport;
use crate::printable::printable_lines;

impl LoadReport {
    /// The message of mmcv's `load_checkpoint`, word for word: unexpected keys, missing keys but for `num_batches_tracked`, and a
    /// table of shapes; `None` where it says nothing.
    ///
    /// ```
    /// # use rekindle_recorder::LoadReport;
    /// let mut report = LoadReport::default();
    /// report.missing = vec!["bn.num_batches_tracked".to_owned(), "fc.bias".to_owned()];
    /// assert_eq!(
    ///     report.mmcv().as_deref(),
    ///     Some("The model and loaded state dict do not match exactly\n\nmissing keys in source state_dict: fc.bias\n")
    /// );
    /// ```
    #[must_use]
    pub fn mmcv(&self) -> Option<String> {
        let missing: Vec<&str> =
            self.missing.iter().map(String::as_str).filter(|key| !key.contains("num_batches_tracked")).collect();
        let mut said = Vec::new();
        if !self.unexpected.is_empty() {
            said.push(format!("unexpected key in source state_dict: {}\n", self.unexpected.join(", ")));
        }
        if !missing.is_empty() {
            said.push(format!("missing keys in source state_dict: {}\n", missing.join(", ")));
        }
        let shapes: Vec<_> = self.mismatched.iter().chain(&self.skipped).collect();
        if !shapes.is_empty() {
            let size = |shape: &[usize]| format!("torch.Size({shape:?})");
            let rows = shapes.iter().map(|m| [m.key.clone(), size(&m.expected), size(&m.found)]);
            said.push(format!("these keys have mismatched shape:\n{}", super::report::table(rows)));
        }
        if said.is_empty() {
            return None;
        }
        said.insert(0, "The model and loaded state dict do not match exactly\n".to_owned());
        Some(printable_lines(&said.join("\n")).into_owned())
    }

    /// Says it, where there is something to say: as a warning in the program's log, through `tracing`.
    pub fn log_mmcv(&self) {
        if let Some(message) = self.mmcv() {
            tracing::warn!("{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ShapeMismatch;

    #[test]
    fn the_message_is_mmcvs_with_its_table() {
        let mut report = LoadReport::default();
        report.loaded.push("conv.weight".to_owned());
        assert_eq!(report.mmcv(), None);
        report.missing.push("bn.num_batches_tracked".to_owned());
        assert_eq!(report.mmcv(), None);
        report.missing.push("bn.weight".to_owned());
        report.unexpected = vec!["head.weight".to_owned(), "head.bias".to_owned()];
        report.skipped.push(ShapeMismatch::new("fc.weight", &[10, 8], &[1000, 8]));
        let expected = "\
The model and loaded state dict do not match exactly

unexpected key in source state_dict: head.weight, head.bias

missing keys in source state_dict: bn.weight

these keys have mismatched shape:
+-----------+---------------------+-----------------------+
| key       | expected shape      | loaded shape          |
+-----------+---------------------+-----------------------+
| fc.weight | torch.Size([10, 8]) | torch.Size([1000, 8]) |
+-----------+---------------------+-----------------------+";
        assert_eq!(report.mmcv().unwrap(), expected);
    }
}
