//! Branches, loops, regions and writes to views of exported programs compute what PyTorch computes: the section `program_regions`.

use std::path::PathBuf;

use burn::tensor::Device;
use rekindle_models::functional::Array;
use rekindle_models::graph::Program;
use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::container::export::programs;
use rekindle_testing::fixtures;

use crate::judge::compare;

fn folder(name: &str) -> PathBuf {
    fixtures::path("program_regions").join(name)
}

#[test]
fn branches_and_loops_are_pytorchs_in_both_modes() {
    for name in ["branches", "loops"] {
        for mode in ["train", "eval"] {
            let apart = compare(&folder(name), mode, mode);
            assert!(apart.outputs <= 1e-6 && apart.gradients <= 1e-6, "{name} {mode}: {apart:?}");
        }
        let apart = compare(&folder(&format!("{name}_decomposed")), "eval", "eval");
        assert!(apart.outputs <= 1e-6, "{name}, decomposed: {apart:?}");
    }
}

#[test]
fn autocast_casts_what_it_casts_on_pytorchs_cpu() {
    // What is rounded to 8 bits (11 of float16) is the same but within attention, of which PyTorch rounds the parts too: half a
    // unit in the last place, 2^-9. Gradients are
    // rounded on their way at other places: PyTorch's own of the convolution are 1.2e-3 apart with and without oneDNN.
    for (name, outputs, gradients) in [("autocast", 2e-3, 1e-2), ("half", 1e-6, 1e-3)] {
        for mode in ["eval", "train"] {
            let apart = compare(&folder(name), mode, mode);
            let fits = apart.outputs <= outputs && apart.gradients <= gradients && apart.buffers <= 1e-6;
            assert!(fits, "{name} {mode}: {apart:?}");
        }
    }
}

#[test]
fn what_consists_of_other_operations_is_cast_by_them_within_autocast() {
    let noise = fixtures::json("program_regions/noise.json");
    for mode in ["eval", "train"] {
        let apart = compare(&folder("composed"), mode, mode);
        println!("{mode}: {apart:?}; PyTorch itself {}", noise["composed"]);
        assert!(apart.outputs <= 8e-3 && apart.gradients <= 2e-2, "{mode}: {apart:?}");
    }
}

#[test]
fn slopes_are_drawn_as_pytorch_draws_them() {
    for mode in ["eval", "train"] {
        let apart = compare(&folder("drawn"), mode, mode);
        assert!(apart.outputs <= 1e-6 && apart.gradients <= 1e-6, "{mode}: {apart:?}");
    }
}

#[test]
fn an_associative_scan_is_pytorchs_in_both_modes() {
    for mode in ["eval", "train"] {
        let apart = compare(&folder("scanned"), mode, mode);
        assert!(apart.outputs <= 1e-6 && apart.gradients <= 1e-6, "{mode}: {apart:?}");
    }
}

#[test]
fn rows_of_an_embedding_are_shortened_in_evaluation_and_refused_in_training() {
    let apart = compare(&folder("shortened"), "eval", "eval");
    assert!(apart.outputs <= 1e-6, "{apart:?}");
    let program = Program::open(folder("shortened").join("eval.pt2"), &Device::flex().autodiff()).unwrap();
    let tokens = Array::from_ints(&[0, 3, 3, 8, 1, 0], &[2, 3], &Device::flex()).unwrap();
    let said = program.forward(&[tokens]).unwrap_err().to_string();
    assert!(
        said.contains("writes to its parameter 'embed.weight'") && said.contains("supported in evaluation"),
        "{said}"
    );
}

#[test]
fn what_is_written_to_a_view_is_in_what_it_is_a_view_of() {
    for (name, mode) in [("aliases", "train"), ("aliases", "eval")] {
        let apart = compare(&folder(name), mode, mode);
        assert!(apart.outputs <= 1e-6 && apart.gradients <= 1e-6 && apart.buffers <= 1e-6, "{name} {mode}: {apart:?}");
    }
}

#[test]
fn what_is_not_supported_within_a_graph_or_a_region_is_said_on_opening() {
    let refusal = |name: &str, from: &str, to: &str| {
        let path = folder(name).join("eval.pt2");
        let mut program = programs(&path, &OpenOptions::default()).unwrap().remove(0);
        let document = String::from_utf8(program.document.to_vec()).unwrap();
        assert!(document.contains(from), "{name} has {from}");
        program.document = document.replace(from, to).into_bytes().into();
        Program::from_exported(&program, &Device::flex()).unwrap_err().to_string()
    };
    let said = refusal("branches", "aten.sin.default", "aten.unheard_of.default");
    assert!(said.contains("the operation aten.unheard_of.default is not supported (2 times, first"), "{said}");
    let said = refusal("loops", "higher_order.scan", "higher_order.strange");
    assert!(said.contains("the control flow 'strange' is not supported"), "{said}");
    // A branch that writes to what it is given.
    let said = refusal("branches", "aten.sin.default", "aten.sin_.default");
    assert!(said.contains("higher_order.cond writes to its input"), "{said}");
}
