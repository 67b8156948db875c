//! The layers of `nn` in float64, float16 and bfloat16: the tables of tests/models/modules, whose numbers PyTorch computes on the spot.

#[path = "../models/modules/edges.rs"]
mod edges;
#[path = "../models/modules/harness.rs"]
mod harness;
#[path = "../models/modules/layers.rs"]
mod layers;
#[path = "../models/modules/sequences.rs"]
mod sequences;
#[path = "../models/modules/tables.rs"]
mod tables;
#[path = "../models/modules/variants.rs"]
mod variants;

use burn::tensor::DType;
use harness::Checked;
use rekindle_testing::{Torch, scratch};

#[test]
fn every_layer_is_pytorchs_in_other_types() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    // A line a type: its name, and how many layers PyTorch computes in it.
    let printed = torch.run("modules.py", [folder.path()]);
    let mut wrong = Vec::new();
    for (line, dtype) in printed.lines().zip([DType::F64, DType::F16, DType::BF16]) {
        println!("{line}");
        let name = line.split_whitespace().next().unwrap();
        let truth = std::fs::read_to_string(folder.path().join(format!("{name}.json"))).unwrap();
        let bytes = std::fs::read(folder.path().join(format!("{name}.bin"))).unwrap();
        let numbers = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let mut checked = Checked::of(serde_json::from_str(&truth).unwrap(), numbers, dtype);
        tables::all(&mut checked);
        wrong.extend(checked.wrong().iter().map(|line| format!("{name}: {line}")));
    }
    assert_eq!(printed.lines().count(), 3, "{printed}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
