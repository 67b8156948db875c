//! The report of a load: its table, its hints, and what a strict load accepts.

use rekindle_recorder::LoadReport;
use rekindle_recorder::report::ShapeMismatch;

fn keys(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn the_table_shows_key_expected_and_loaded_shape() {
    let mut report = LoadReport::default();
    report.loaded = keys(&["conv1.weight"]);
    report.mismatched =
        vec![ShapeMismatch::new("fc.weight", &[10, 512], &[1000, 512]), ShapeMismatch::new("fc.bias", &[10], &[1000])];
    let text = report.into_result(false).unwrap_err().to_string();
    assert_eq!(
        text,
        "the state dict does not match the model: 2 of another shape\n\
         +-----------+----------------+--------------+\n\
         | key       | expected shape | loaded shape |\n\
         +-----------+----------------+--------------+\n\
         | fc.weight | [10, 512]      | [1000, 512]  |\n\
         | fc.bias   | [10]           | [1000]       |\n\
         +-----------+----------------+--------------+\n\
         hint: only 'fc' is of another shape: to keep the model's own, load with \
         LoadOptions::lenient().exclude(\"fc.*\")"
    );
}

#[test]
fn a_missing_batch_counter_alone_is_no_failure() {
    let mut report = LoadReport::default();
    report.loaded = keys(&["bn.weight"]);
    report.missing = keys(&["bn.num_batches_tracked", "num_batches_tracked"]);
    assert!(!report.is_exact());
    assert!(report.is_loadable_strictly());
    let mut also = LoadReport::default();
    also.missing = keys(&["bn.num_batches_tracked", "bn.bias"]);
    assert!(also.into_result(true).is_err());
    let report = report.into_result(true).unwrap();
    assert!(report.to_string().starts_with("the state dict matches the model but for num_batches_tracked: 1 key"));
}

#[test]
fn a_prefix_too_much_or_too_little_is_named() {
    let hint = |missing: &[&str], unexpected: &[&str]| {
        let mut report = LoadReport::default();
        (report.missing, report.unexpected) = (keys(missing), keys(unexpected));
        report.advise();
        report.hints.join("\n")
    };
    assert_eq!(
        hint(&["a.weight", "a.bias"], &["_orig_mod.a.weight", "_orig_mod.a.bias"]),
        "all keys begin with `_orig_mod.` (torch.compile writes it): take it off with `LoadOptions::strip_prefix(\"_orig_mod.\")`"
    );
    assert_eq!(
        hint(&["0.w", "1.w"], &["module.model.0.w", "module.model.1.w", "module.head.w"]),
        "most keys begin with `module.model.`: take it off with `LoadOptions::strip_prefix(\"module.model.\")`"
    );
    assert_eq!(
        hint(&["backbone.a.w", "backbone.b.w"], &["a.w", "b.w"]),
        "the model's keys begin with `backbone.`: add add_prefix(\"backbone.\")"
    );
    assert!(hint(&["x"], &["net.y", "net.z"]).contains("strip_prefix(\"net.\")"));
    assert_eq!(hint(&["net.x"], &["net.y", "net.z"]), "");
    assert_eq!(hint(&["a"], &["b"]), "");
}
