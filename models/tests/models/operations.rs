//! Operations one by one (the fixtures of the section `operations`), and their table in the documentation.

use std::path::Path;

use rekindle_models::graph::operations_table;
use rekindle_testing::fixtures;

use crate::judge::table;

#[test]
fn every_operation_of_the_table_computes_what_pytorch_computes() {
    let apart = table::compare(&fixtures::path("operations"));
    println!("{apart}");
    assert!(apart.types == 2 && apart.results > 400 && apart.gradients > 150, "{apart}");
    assert!(apart.beyond.is_empty(), "{}", apart.beyond.join("\n"));
}

#[test]
fn the_documentation_lists_the_operations_that_there_are() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/networks.md");
    let document = std::fs::read_to_string(document).unwrap();
    let table = operations_table();
    if !document.contains(&table) {
        let right = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operations.md");
        std::fs::write(&right, table).unwrap();
        panic!(
            "docs/networks.md has another table of operations than the rows: put in its place that of {}",
            right.display()
        );
    }
}
