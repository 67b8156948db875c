//! Operations one by one, in every element type: the table of tests/fixtures/sections/_operations.py.

use rekindle_testing::{Torch, scratch};

use crate::judge::table;

#[test]
fn every_operation_of_the_table_computes_what_pytorch_computes() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    torch.run("operations.py", [folder.path()]);
    let apart = table::compare(folder.path());
    println!("{apart}");
    assert!(apart.types == 8 && apart.results > 2000, "{apart}");
    assert!(apart.beyond.is_empty(), "{}", apart.beyond.join("\n"));
}
