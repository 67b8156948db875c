//! Operations one by one (the fixtures of the section `operations`), and their table in the documentation.

use std::path::Path;

use burn::tensor::{DType, Device};
use rekindle_models::functional::{Array, Update};
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

#[test]
fn an_index_that_names_no_element_is_refused_as_in_pytorch() {
    let device = Device::flex();
    let x = Array::from_floats(&[0.5, 1.5, 2.5, 3.5, 4.5, 5.5], &[3, 2], DType::F32, &device).unwrap();
    let ints = |numbers: &[i64], shape: &[usize]| Array::from_ints(numbers, shape, &device).unwrap();
    for (number, dim, length) in [(3, 0, 3), (-1, 0, 3), (2, 1, 2), (-1, 1, 2)] {
        let (row, grid) = (ints(&[number, 0], &[2]), ints(&[0, number, 1, 0], &[2, 2]));
        let results = [
            ("gather", x.gather(dim, &grid)),
            ("index_select", x.index_select(dim, &row)),
            ("scatter", x.scatter(dim, &grid, &x, Update::Assign)),
            ("scatter", x.scatter(dim, &grid, &x, Update::Add)),
            ("scatter", x.index_update(dim, &row, &x.narrow(dim, 0, 2).unwrap(), Update::Add)),
        ];
        for (name, result) in results {
            let error = result.unwrap_err().to_string();
            let words = format!("index {number} is out of bounds for dimension {dim} with size {length}");
            assert!(error.contains(name) && error.contains(&words), "{name} {number}: {error}");
        }
    }
    // Advanced indexing counts from the end, once.
    let last = x.index(&[Some(ints(&[-3], &[1])), Some(ints(&[-1], &[1]))]).unwrap();
    assert_eq!(last.floats().unwrap(), [1.5]);
    for indices in [[Some(ints(&[-4], &[1])), None], [Some(ints(&[0], &[1])), Some(ints(&[2], &[1]))]] {
        assert!(x.index(&indices).unwrap_err().to_string().contains("is out of bounds for dimension"));
        assert!(x.index_put(&indices, &x, false).unwrap_err().to_string().contains("is out of bounds for dimension"));
    }
    assert!(x.embedding(&ints(&[3], &[1]), None).unwrap_err().to_string().contains("there is no row 3 of 3"));
}
