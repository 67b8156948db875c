//! Tensors that other calls than PyTorch's plain ones make: of other devices, of other classes, of several processes. Each is a
//! tensor with its true name, and is written as it came; what is not known is said.

use std::collections::{BTreeMap, BTreeSet};

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::convert::Conversion;
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::inspect::{Inspection, TensorEntry};
use rekindle_recorder::tensor::{SparseLayout, TensorData};
use rekindle_recorder::value::{Global, ObjectData};
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, DType, Dict, ErrorKind, Tensor};
use rekindle_testing::fixtures;

/// Every file, and whether plain `torch.load` opens it.
const FILES: [(&str, bool); 16] = [
    ("attributes.pt", false),
    ("quantised.pt", true),
    ("devices.pt", true),
    ("old_devices.pt", true),
    ("npu.pt", false),
    ("dtensor.pt", false),
    ("dtensor21.pt", false),
    ("sharded.pt", false),
    ("megatron.pt", false),
    ("whole.pt", false),
    ("wrappers.pt", false),
    ("fastai.pt", false),
    ("unknown.pt", false),
    ("early.pt", true),
    ("older.pt", true),
    ("more.pt", false),
];

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path("tensors").join(name)).unwrap()
}

fn tensors(checkpoint: &Checkpoint) -> BTreeMap<String, Tensor> {
    checkpoint.tensors().unwrap().into_iter().collect()
}

fn entries(name: &str) -> BTreeMap<String, TensorEntry> {
    let inspection = Inspection::of(&open(name), false).unwrap();
    inspection.tensors.into_iter().map(|entry| (entry.name.clone(), entry)).collect()
}

#[test]
fn every_file_is_written_as_it_came() {
    let folder = rekindle_testing::scratch();
    for (name, plain) in FILES {
        let (original, path) = (open(name), folder.path().join(name));
        let saved = original.save(&path);
        assert_eq!(saved.is_ok(), plain, "{name}: {saved:?}");
        if let Err(error) = saved {
            assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{name}: {error}");
            original.save_with(&path, &SaveOptions::default().allow_objects(true)).unwrap();
        }
        let again = Checkpoint::open(&path).unwrap();
        assert!(compare(&original, &again, Tolerance::default()).unwrap().is_empty(), "{name}");
        let [before, after] = [&original, &again].map(|checkpoint| Inspection::of(checkpoint, true).unwrap());
        for (a, b) in before.tensors.iter().zip(&after.tensors) {
            let facts = |entry: &TensorEntry| {
                let TensorEntry { name, device, class, part, requires_grad, sha256, stride, .. } = entry.clone();
                (name, device, class, part, requires_grad, sha256, stride)
            };
            assert_eq!(facts(a), facts(b), "{name}");
        }
        assert_eq!(before.unknown, after.unknown, "{name}");
    }
}

#[test]
fn tensors_of_devices_without_storages_are_tensors_on_their_device() {
    for (file, expected) in [
        (
            "devices.pt",
            &[
                ("xla", "xla:0", false),
                ("maia", "maia:0", false),
                ("mtia", "mtia:0", false),
                ("grad", "xla:0", true),
                ("parameter", "xla:0", true),
                ("attached", "xla:1", false),
                ("attached@scale", "xla:1", false),
                ("nested[0].deep", "xla:2", false),
                ("plain", "cpu", false),
                ("empty", "xla:0", false),
            ][..],
        ),
        (
            "old_devices.pt",
            &[
                ("xla", "xla:0", false),
                ("bfloat16", "xla:0", true),
                ("fortran", "xla:0", false),
                ("long", "xla:0", false),
                ("scalar", "xla:0", false),
                ("parameter", "xla:0", true),
            ],
        ),
        ("npu.pt", &[("w", "npu", false), ("bool", "npu", true), ("format", "npu", false), ("parameter", "npu", true)]),
    ] {
        let found = tensors(&open(file));
        for (name, device, requires_grad) in expected {
            let tensor = &found[*name];
            assert_eq!((tensor.device(), tensor.requires_grad()), (*device, *requires_grad), "{file} {name}");
        }
    }
    let [old, other] = ["old_devices.pt", "old_devices5.pt"].map(open);
    assert!(compare(&old, &other, Tolerance::default()).unwrap().is_empty());
    let old = tensors(&old);
    for name in ["xla", "bfloat16", "fortran", "parameter"] {
        assert_eq!(old[name].to_f64_vec().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{name}");
    }
    assert_eq!((old["bfloat16"].dtype(), old["long"].dtype()), (DType::BFloat16, DType::Int64));
    let found = tensors(&open("devices.pt"));
    assert!(found["parameter"].is_parameter());
    assert!(found["half"].storage().unwrap().same(found["other_half"].storage().unwrap()));
    assert_eq!(tensors(&open("npu.pt"))["format"].to_f64_vec().unwrap(), [2.0, 3.0, 4.0]);
}

#[test]
fn mapped_to_the_cpu_they_are_plain_tensors() {
    let folder = rekindle_testing::scratch();
    for file in ["devices.pt", "old_devices.pt", "npu.pt"] {
        let path = folder.path().join(file);
        Conversion::default().location("cpu".to_owned()).save(&open(file), &path, &SaveOptions::default()).unwrap();
        let moved = tensors(&Checkpoint::open(&path).unwrap());
        for (name, tensor) in &tensors(&open(file)) {
            assert_eq!(moved[name].device(), "cpu", "{file} {name}");
            assert_eq!(moved[name].to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{file} {name}");
        }
        // Where storages are filled after the tensors are made, a copy to a device would be one of nothing.
        let legacy = SaveOptions::default().format(Format::LEGACY).overwrite(true);
        assert!(open(file).save_with(&path, &legacy).is_err(), "{file}");
    }
    // A table may send them to another device: the call stays.
    let table = [("xla:0", "xla:3")].into();
    let moved = tensors(&open("devices.pt").map_location(&table).unwrap());
    assert_eq!(
        (moved["parameter"].device(), moved["attached"].device(), moved["plain"].device()),
        ("xla:3", "xla:1", "cpu")
    );
}

#[test]
fn a_part_says_which_part_of_which_whole_it_is() {
    let part = |file: &str, name: &str| {
        let part = entries(file)[name].part.clone().unwrap();
        (part.offsets, part.sizes, part.whole.unwrap(), part.is_partial)
    };
    let all = |offsets: &[usize], sizes: &[usize], whole: &[usize], sum| {
        (Some(offsets.to_vec()), sizes.to_vec(), whole.to_vec(), sum)
    };
    // The sixth process of six, which is (1, 2) in a mesh of two by three.
    assert_eq!(part("dtensor.pt", "rows@_local_tensor"), all(&[10, 0], &[1, 2], &[11, 2], false));
    assert_eq!(part("dtensor.pt", "parameter@_local_tensor"), all(&[10, 0], &[1, 2], &[11, 2], false));
    assert_eq!(part("dtensor.pt", "grid@_local_tensor"), all(&[2, 4], &[2, 2], &[4, 6], false));
    assert_eq!(part("dtensor.pt", "twice@_local_tensor"), all(&[10], &[2], &[12], false));
    assert_eq!(part("dtensor.pt", "copy@_local_tensor"), all(&[0], &[3], &[3], false));
    assert_eq!(part("dtensor.pt", "sum@_local_tensor"), all(&[0], &[3], &[3], true));
    assert_eq!(part("sharded.pt", "w(state)[0][0].tensor"), all(&[2, 0], &[2, 3], &[4, 3], false));
    assert_eq!(part("megatron.pt", "w.data"), all(&[2, 0], &[2, 3], &[4, 3], false));
    assert_eq!(part("dtensor21.pt", "columns@_local_tensor"), all(&[0, 4], &[4, 2], &[4, 6], false));
    assert_eq!(part("dtensor21.pt", "both@_local_tensor"), all(&[2, 0], &[2, 2], &[4, 6], false));
    assert_eq!(part("dtensor21.pt", "sum@_local_tensor"), all(&[0], &[4], &[4], true));
    for name in ["strided@_local_tensor", "outside@_local_tensor"] {
        // Which part it is, is not told in a way that is known.
        assert_eq!(part("dtensor21.pt", name), (None, vec![2], vec![4], false), "{name}");
    }
    for (file, name, class) in [
        ("dtensor.pt", "rows", "torch.distributed.tensor.DTensor"),
        ("sharded.pt", "w", "torch.distributed._shard.sharded_tensor.api.ShardedTensor"),
        ("wrappers.pt", "w", "torchao.dtypes.affine_quantized_tensor.AffineQuantizedTensor"),
        ("fastai.pt", "mask", "fastai.vision.core.TensorMask"),
        ("fastai.pt", "old", "fastai.torch_core.TensorImage"),
    ] {
        assert_eq!(entries(file)[name].class.as_deref(), Some(class), "{file} {name}");
    }
}

#[test]
fn a_distributed_tensor_that_one_process_held_whole_has_its_elements() {
    let whole = tensors(&open("whole.pt"));
    assert_eq!(whole["rows"].to_f64_vec().unwrap(), (0..12).map(f64::from).collect::<Vec<_>>());
    assert_eq!(whole["sharded"].to_f64_vec().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("whole.safetensors");
    let report = Conversion::default().save(&open("whole.pt"), &path, &SaveOptions::default()).unwrap();
    let written = tensors(&Checkpoint::open(&path).unwrap());
    assert_eq!(written.keys().collect::<Vec<_>>(), ["copy", "plain", "rows", "sharded"]);
    assert_eq!(written["copy"].to_f64_vec().unwrap(), [0.0, 1.0, 2.0]);
    assert!(report.notes.join("\n").contains("distributed"), "{:?}", report.notes);
    let path = folder.path().join("dcp");
    let options = SaveOptions::default().format(Format::DCP);
    Conversion::default().save(&open("whole.pt"), &path, &options).unwrap();
    assert_eq!(tensors(&Checkpoint::open(&path).unwrap())["copy"].to_f64_vec().unwrap(), [0.0, 1.0, 2.0]);
    // A part is not the whole.
    for file in ["dtensor.pt", "sharded.pt", "wrappers.pt"] {
        let path = folder.path().join(format!("{file}.safetensors"));
        let checkpoint = open(file);
        let part = checkpoint.value(if file == "dtensor.pt" { "rows" } else { "w" }).unwrap();
        assert!(part.as_tensor().unwrap().to_le_bytes().is_err(), "{file}");
        let root = rekindle_recorder::Dict::from_iter([("w", part)]);
        let error = Conversion::default().save(&Checkpoint::from(root), &path, &SaveOptions::default()).unwrap_err();
        assert!(error.to_string().contains("'w'"), "{error}");
    }
    assert!(tensors(&open("dtensor.pt"))["sum"].to_le_bytes().is_err());
}

#[test]
fn a_call_that_takes_a_storage_and_is_not_known_is_said() {
    let inspection = Inspection::of(&open("unknown.pt"), false).unwrap();
    let found: Vec<_> = inspection.unknown.iter().map(|tensor| (&*tensor.name, tensor.function.to_string())).collect();
    let function = || "torch_other.storage._rebuild_other_tensor".to_owned();
    assert_eq!(found, [("w", function()), ("parameter(0)", function()), ("typed", function())]);
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("known.safetensors");
    let report = Conversion::default().save(&open("unknown.pt"), &path, &SaveOptions::default()).unwrap();
    let notes = report.notes.join("\n");
    assert!(notes.contains("'typed'") && notes.contains("_rebuild_other_tensor"), "{notes}");
    for (file, _) in FILES.into_iter().filter(|(file, _)| *file != "unknown.pt") {
        assert!(Inspection::of(&open(file), false).unwrap().unknown.is_empty(), "{file}");
    }
    // A function of PyTorch's that is not known takes no storage, and is said all the same.
    let made = ObjectData::call(Global::new("torch.later", "_rebuild_later"), vec![Dict::new().into()]);
    let later = Inspection::of(&Checkpoint::from(Dict::from_iter([("w", made)])), false).unwrap().unknown;
    let later: Vec<_> = later.iter().map(|tensor| (&*tensor.name, &*tensor.function.name)).collect();
    assert_eq!(later, [("w", "_rebuild_later")]);
    let run = Dict::from_iter([("model_state_dict", open("unknown.pt").root().clone())]);
    run.insert("epoch", 3);
    let half = Conversion::default().dtype(DType::Float16).apply(&Checkpoint::from(run));
    let error = half.unwrap_err().to_string();
    assert!(error.contains("'w'") && error.contains("_rebuild_other_tensor"), "{error}");
}

#[test]
fn hooks_slots_and_a_parameter_s_own_data_are_seen() {
    let found = tensors(&open("more.pt"));
    for name in [
        "hooks@_backward_hooks[1]",
        "hooked@_backward_hooks[1]",
        "slotted@slot",
        "again[0]@slot",
        "params@states.absmax",
    ] {
        assert!(found.contains_key(name), "{name} in {found:?}");
    }
    assert!(found["params@data"].storage().unwrap().same(found["params"].storage().unwrap()));
    let report = verify(fixtures::path("tensors/more.pt"), &OpenOptions::default(), true).unwrap();
    let names: Vec<&str> = report.not_finite.iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["hooks@_backward_hooks[1]", "hooked@_backward_hooks[1]"]);
}

#[test]
fn calls_that_pytorch_no_longer_has_are_read_and_written_as_it_has_them() {
    let found = tensors(&open("older.pt"));
    assert!(matches!(&found["csr"].parts().data, TensorData::Sparse { layout: SparseLayout::Csr, .. }));
    assert_eq!((found["mlc"].device(), found["hpu"].device(), found["hpu"].requires_grad()), ("mlc:0", "hpu:0", true));
    assert_eq!(found["channels(scales)"].to_vec::<f64>().unwrap(), [0.5, 0.25]);
    assert_eq!(found["channels(zero_points)"].to_vec::<i64>().unwrap(), [1, 2]);
    assert_eq!(found["float_channels(scales)"].to_vec::<f32>().unwrap(), [0.1, 0.25]);
    assert_eq!(found["float_channels(zero_points)"].to_vec::<f32>().unwrap(), [0.5, 2.0]);
}

#[test]
fn tensors_as_pytorch_0_1_and_0_2_pickled_them_are_tensors() {
    let early = tensors(&open("early.pt"));
    assert_eq!(early["tensor"].to_f64_vec().unwrap(), [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(early["rebuilt"].shape(), [2, 1]);
    assert!(early["tensor"].storage().unwrap().same(early["rebuilt"].storage().unwrap()));
    let TensorData::Sparse { values, .. } = &early["sparse"].parts().data else { panic!("it is not sparse") };
    assert_eq!((early["sparse"].shape(), values.to_f64_vec().unwrap()), (&[2, 3][..], vec![0.0, 1.0]));
    assert_eq!((early["long"].dtype(), early["empty"].shape()), (DType::Int64, &[0][..]));
}

#[test]
fn what_torch_load_refuses_of_sparse_and_quantised_tensors_is_named_and_not_written() {
    let truth = fixtures::json("tensors/checked.json");
    let truth = truth.as_object().unwrap();
    let report = verify(fixtures::path("tensors/checked.pt"), &OpenOptions::default(), true).unwrap();
    let named: BTreeSet<&str> = report.problems.iter().filter_map(|problem| problem.tensor.as_deref()).collect();
    let refused: BTreeSet<&str> = truth.iter().filter(|(_, error)| !error.is_null()).map(|(name, _)| &**name).collect();
    assert_eq!(named, refused);
    assert!(refused.len() > 40 && truth.len() - refused.len() > 20);
    let folder = rekindle_testing::scratch();
    let checkpoint = open("checked.pt");
    for (number, name) in truth.keys().enumerate() {
        let path = folder.path().join(format!("{number}.pt"));
        let one = Checkpoint::from(Dict::from_iter([("t", checkpoint.value(name).unwrap())]));
        let saved = one.save(&path);
        assert_eq!(saved.is_err(), refused.contains(&**name), "{name}: {saved:?}");
        if let Err(error) = saved {
            assert!(matches!(error.kind(), ErrorKind::InvalidTensor { .. }), "{name}: {error}");
            assert!(error.to_string().starts_with(&format!("{}: t: ", path.display())), "{name}: {error}");
        }
    }
    let text = report.problems.iter().map(|problem| problem.error.to_string()).collect::<Vec<_>>().join("\n");
    for words in [
        "coo_outside: the index 3 is outside of dimension 1, which has 3",
        "csr_first: crow_indices[0] is 3, where it must be 0",
        "csc_unsorted: row_indices are not in order",
        "channels_axis: its axis 2 is no dimension of [2, 3]",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn sparse_tensors_that_pytorch_does_not_look_into_are_written_where_that_is_asked_for() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("sparse.pt");
    let one = Checkpoint::from(Dict::from_iter([("t", open("checked.pt").value("csr_first").unwrap())]));
    one.save_with(&path, &SaveOptions::default().allow_objects(true)).unwrap();
    let report = verify(&path, &OpenOptions::default(), false).unwrap();
    assert_eq!(report.problems.len(), 1);
}

/// What `torch.save` writes of a lazy module that has not seen an input: `{"0.weight": UninitializedParameter(True)}`.
#[test]
fn a_parameter_of_a_lazy_module_without_a_shape_is_said_to_be_one() {
    let pickle = b"\x80\x02}X\x08\x00\x00\x000.weightctorch.nn.parameter\nUninitializedParameter\n\x88\x85Rs.";
    let checkpoint = Checkpoint::from_bytes(&pickle[..]).unwrap();
    let says = "an uninitialized parameter of a lazy module";
    assert_eq!(checkpoint.value("0.weight").unwrap().describe(), says);
    let inspection = Inspection::of(&checkpoint, false).unwrap();
    let values: Vec<&str> = inspection.values.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(values, ["0.weight"], "and nothing in it");
}
