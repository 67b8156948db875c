//! Folders of several files that are one model: what its files contradict each other in is settled, noted or named.

use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::{Dict, ErrorKind, Format, StateDict, Tensor, Value};
use rekindle_testing::fixtures;

fn path(name: &str) -> PathBuf {
    fixtures::path(&format!("together/{name}"))
}

/// Everything that the folder holds is there with its elements, and nothing else; gives the notes.
fn notes(name: &str, options: &OpenOptions) -> Vec<String> {
    let truth = &fixtures::json("together/truth.json")[name];
    let checkpoint = Checkpoint::open_with(path(name), options).unwrap();
    let found = checkpoint.state_dict("").unwrap();
    for (name, elements) in truth.as_object().unwrap() {
        let expected: Vec<f64> = elements.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(found.get(name).unwrap().to_f64_vec().unwrap(), expected, "{name}");
    }
    assert_eq!(found.len(), truth.as_object().unwrap().len());
    checkpoint.notes().to_vec()
}

fn assert_notes(name: &str, options: &OpenOptions, expected: &[&[&str]]) {
    let notes = notes(name, options);
    assert_eq!(notes.len(), expected.len(), "{name}: {notes:?}");
    for (note, words) in notes.iter().zip(expected) {
        assert!(words.iter().all(|word| note.contains(word)), "{name}: {note}");
    }
}

#[test]
fn a_weight_that_shards_dropped_because_it_is_tied_is_tied_again() {
    let strict = OpenOptions::default();
    let tied = ["'lm_head.weight' is in no shard", "tied to 'model.embed_tokens.weight'", "`tie_word_embeddings`"];
    assert_notes("hf_tied", &strict, &[&tied]);
    assert_notes("hf_default", &strict, &[&["'lm_head.weight'", "tied to 'transformer.wte.weight'", "a gpt2"]]);
    assert_notes(
        "hf_embedding",
        &strict,
        &[&["'model.embed_tokens.weight' is in no shard", "tied to 'lm_head.weight'"]],
    );
    assert_notes("hf_metadata", &strict, &[]);
    let checkpoint = Checkpoint::open(path("hf_tied")).unwrap();
    let storage = |name: &str| checkpoint.state_dict("").unwrap().get(name).unwrap().storage().unwrap().clone();
    assert!(storage("lm_head.weight").same(&storage("model.embed_tokens.weight")));
}

#[test]
fn a_name_for_which_the_index_counts_no_bytes_is_noted() {
    assert_notes("hf_bytes", &OpenOptions::default(), &[&["'out.weight'", "counts no bytes", "left out"]]);
}

#[test]
fn a_buffer_that_the_index_lacks_is_read_with_a_note() {
    let words = ["'model.mask'", "pytorch_model-00002-of-00002.bin", "the index does not name it"];
    assert_notes("hf_buffer", &OpenOptions::default(), &[&words]);
}

#[test]
fn a_tensor_that_is_lost_is_an_error_or_left_out_where_the_reader_is_lenient() {
    let error = Checkpoint::open(path("hf_lost")).unwrap_err();
    let words = ["'model.layers.0.weight'", "holds no such tensor", "1 more", "`OpenOptions::lenient(true)`"];
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    let lenient = OpenOptions::default().lenient(true);
    assert_notes("hf_lost", &lenient, &[&["'model.layers.0.weight', 'model.layers.1.weight'", "left out"]]);
}

#[test]
fn shards_that_are_missing_are_missing_and_not_cut_off() {
    let error = Checkpoint::open(path("hf_missing")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Missing { .. }));
    let words = ["2 shards", "missing", "'model-00002-of-00003.safetensors', 'model-00003-of-00003.safetensors'"];
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    assert!(!error.to_string().contains("cut off"), "{error}");
    assert_notes("hf_missing", &OpenOptions::default().lenient(true), &[&["left out", "2 shards"]]);
    let one: Tensor = Checkpoint::open_with(path("hf_missing"), &OpenOptions::default().lenient(true))
        .and_then(|checkpoint| checkpoint.get("['model.embed_tokens.weight']"))
        .unwrap();
    assert_eq!(one.shape(), [4, 2]);
}

#[test]
fn llamas_shards_are_joined_as_its_layers_were_split() {
    assert_notes("llama2", &OpenOptions::default(), &[]);
    assert_notes("llama3", &OpenOptions::default(), &[]);
    let checkpoint = Checkpoint::open(path("llama2")).unwrap();
    assert_eq!(checkpoint.format().unwrap().name(), "llama");
    let shape = |name: &str| checkpoint.state_dict("").unwrap().get(name).unwrap().shape().to_vec();
    assert_eq!(shape("tok_embeddings.weight"), [12, 6]);
    assert_eq!(shape("layers.0.feed_forward.w2.weight"), [6, 12]);
}

#[test]
fn a_shard_of_llamas_that_is_missing_is_missed() {
    let folder = rekindle_testing::scratch();
    let copy = |names: &[&str]| {
        for name in names {
            std::fs::copy(path("llama2").join(name), folder.path().join(name)).unwrap();
        }
    };
    copy(&["params.json", "consolidated.00.pth", "consolidated.02.pth"]);
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Missing { .. }) && error.to_string().contains("consolidated.01.pth"));
    // That the last is missing, only the shapes tell.
    copy(&["consolidated.01.pth"]);
    std::fs::remove_file(folder.path().join("consolidated.02.pth")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("'tok_embeddings.weight'"), "{error}");
}

#[test]
fn shards_of_which_nothing_says_along_which_axis_they_are_joined_are_asked_about() {
    let error = Checkpoint::open(path("llama_other")).unwrap_err();
    let words = ["'gate.weight'", "2 parts", "`OpenOptions::axes`", "'gate.weight=0'", "'gate.weight=same'"];
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    let axes = |axes: &[&str]| OpenOptions::default().axes(axes.iter().map(|axis| (*axis).to_owned()).collect());
    assert_notes("llama_other", &axes(&["gate.*=0", "bias=same"]), &[]);
    let error = Checkpoint::open_with(path("llama_other"), &axes(&["gate.*=up"])).unwrap_err();
    assert!(error.to_string().contains("'gate.*=up' is no axis"), "{error}");
    let error = Checkpoint::open_with(path("llama_other"), &axes(&["*=same"])).unwrap_err();
    assert!(error.to_string().contains("each shard has the whole of it"), "{error}");
}

#[test]
fn shards_that_are_not_put_together_are_named() {
    for (name, words) in [("megatron", "Megatron-LM"), ("megatron/iter_0000010", "Megatron-LM"), ("fsdp", "FSDP")] {
        let error = Checkpoint::open(path(name)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Llama's first shards without the last one, and what is not split by the layer's name.
#[test]
fn shards_of_llama_that_are_too_few_are_missed_and_biases_that_each_has_are_one() {
    let folder = rekindle_testing::scratch();
    for name in ["consolidated.00.pth", "consolidated.01.pth", "params.json"] {
        std::fs::copy(path("llama2").join(name), folder.path().join(name)).unwrap();
    }
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("'tok_embeddings.weight'") && error.contains("a shard is missing"), "{error}");
    let folder = rekindle_testing::scratch();
    let bias = |from: f32, len: u16| (0..len).map(|i| from + f32::from(i)).collect::<Vec<f32>>();
    for rank in 0..2_u8 {
        let part = StateDict::from_iter([
            ("wq.bias", Tensor::from_vec(&[2], bias(2.0 * f32::from(rank), 2)).unwrap()),
            ("wo.bias", Tensor::from_vec(&[4], bias(7.0, 4)).unwrap()),
            ("norm.weight", Tensor::from_vec(&[4], bias(1.0, 4)).unwrap()),
        ]);
        Checkpoint::from(part).save(folder.path().join(format!("consolidated.0{rank}.pth"))).unwrap();
    }
    let merged = Checkpoint::open(folder.path()).unwrap();
    for (name, elements) in [("wq.bias", bias(0.0, 4)), ("wo.bias", bias(7.0, 4))] {
        let joined: Tensor = merged.get(&format!("['{name}']")).unwrap();
        assert_eq!(joined.to_vec::<f32>().unwrap(), elements, "{name}");
    }
}

fn distributed(folder: &Path, root: Dict) {
    Checkpoint::from(root).save_with(folder, &SaveOptions::default().format(Format::DCP)).unwrap();
}

fn weight() -> StateDict {
    StateDict::from_iter([("fc.weight", Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap())])
}

/// As `FSDPStrategy` of Lightning saves sharded checkpoints, and its own `consolidate_checkpoint` puts them together.
#[test]
fn what_lightning_keeps_beside_a_distributed_checkpoint_belongs_to_it() {
    let folder = rekindle_testing::scratch();
    let (trainer, fabric) = (folder.path().join("trainer"), folder.path().join("fabric"));
    let optimizer = Dict::from_iter([("state", Dict::from_iter([("fc.weight", weight())]))]);
    let parts = || Dict::from_iter([("model", Value::from(weight())), ("optimizer_0", optimizer.clone().into())]);
    distributed(&trainer, parts());
    let rest = Dict::from_iter([("epoch", Value::Int(3)), ("global_step", 12.into())]);
    rest.insert("pytorch-lightning_version", "2.6.6");
    Checkpoint::from(rest).save(trainer.join("meta.pt")).unwrap();
    let opened = Checkpoint::open(&trainer).unwrap();
    assert_eq!((opened.format(), opened.layout().name()), (Some(Format::DCP), "lightning"));
    assert_eq!(opened.get::<i64>("global_step").unwrap(), 12);
    assert!(opened.contains("['state_dict']['fc.weight']") && opened.contains("optimizer_states[0].state"));
    assert!(!opened.contains("model") && !opened.contains("optimizer_0"));
    assert!(opened.notes()[0].contains("'epoch', 'global_step'") && opened.notes()[0].contains("meta.pt"));
    distributed(&fabric, parts());
    Checkpoint::from(Dict::from_iter([("iteration", 5)])).save(fabric.join("meta.pt")).unwrap();
    std::fs::write(fabric.join("notes.bin"), b"other").unwrap();
    let opened = Checkpoint::open(&fabric).unwrap();
    assert_eq!(opened.get::<i64>("iteration").unwrap(), 5);
    assert!(opened.contains("['model']['fc.weight']") && opened.contains("optimizer_0"));
    let notes = opened.notes();
    assert!(notes.len() == 2 && notes[1].contains("'notes.bin'") && notes[1].contains("not read"), "{notes:?}");
}

/// Its checkpoints of the format `torch_dist` are distributed ones, and are not said to be split over `mp_rank_00`.
#[test]
fn a_distributed_checkpoint_of_megatron_is_read_by_its_newest_iteration() {
    let folder = rekindle_testing::scratch();
    let newest = folder.path().join("iter_0000010");
    distributed(&newest, Dict::from_iter([("decoder.weight", Tensor::scalar(1.5_f32))]));
    let rest = Dict::from_iter([("iteration", Value::Int(10)), ("checkpoint_version", Value::Float(3.0))]);
    Checkpoint::from(rest).save(newest.join("common.pt")).unwrap();
    std::fs::write(folder.path().join("latest_checkpointed_iteration.txt"), "10\n").unwrap();
    for folder in [folder.path(), &newest] {
        let opened = Checkpoint::open(folder).unwrap();
        assert_eq!(opened.format(), Some(Format::DCP));
        assert_eq!(opened.get::<i64>("iteration").unwrap(), 10);
        assert!(opened.contains("['decoder.weight']"));
    }
}
