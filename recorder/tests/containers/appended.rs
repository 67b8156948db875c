//! Several saves in one file: how many there are is said, the first is read, each can be.

use std::path::PathBuf;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions};
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::verify::{verify, verify_bytes};
use rekindle_testing::fixtures;

fn path(name: &str) -> PathBuf {
    fixtures::path(&format!("appended/{name}"))
}

/// The files, how many saves each has, and what plain `torch.load` reads.
fn truth() -> Vec<(String, usize, Option<i64>)> {
    let truth = fixtures::json("appended/truth.json");
    let row = |(name, row): (&String, &serde_json::Value)| {
        (name.clone(), usize::try_from(row["saves"].as_u64().unwrap()).unwrap(), row["torch.load"].as_i64())
    };
    truth.as_object().unwrap().iter().map(row).collect()
}

fn number(checkpoint: &Checkpoint) -> i64 {
    let number = checkpoint.get("n").unwrap();
    if checkpoint.contains("w") {
        let elements = checkpoint.get::<rekindle_recorder::Tensor>("w").unwrap().to_f64_vec().unwrap();
        #[allow(clippy::cast_precision_loss)]
        let expected = number as f64;
        assert!(!elements.is_empty() && elements.iter().all(|&x| x == expected), "{elements:?}");
    }
    number
}

#[test]
fn the_first_of_several_saves_is_read_as_pytorch_reads_it_and_their_number_is_said() {
    for (name, saves, read) in truth().into_iter().filter(|(name, ..)| name != "ppp.pkl") {
        let checkpoint = Checkpoint::open(path(&name)).unwrap();
        assert_eq!(number(&checkpoint), read.unwrap_or(1), "{name}");
        let [note] = checkpoint.notes() else { panic!("{name}: {:?}", checkpoint.notes()) };
        assert!(note.contains(&format!("holds {saves} saves")) && note.contains("`OpenOptions::nth`"), "{note}");
        assert_eq!(checkpoint.bytes(), std::fs::metadata(path(&name)).unwrap().len());
        let in_memory = Checkpoint::from_bytes(std::fs::read(path(&name)).unwrap()).unwrap();
        assert_eq!((number(&in_memory), in_memory.notes().len()), (1, 1), "{name}");
    }
}

#[test]
fn of_several_pickles_one_has_to_be_said() {
    let error = Checkpoint::open(path("ppp.pkl")).unwrap_err().to_string();
    assert!(error.contains("other bytes follow") && error.contains("`OpenOptions::nth`"), "{error}");
}

#[test]
fn each_of_several_saves_is_read_by_its_number() {
    for (name, saves, _) in truth() {
        for nth in 1..=saves {
            let checkpoint = Checkpoint::open_with(path(&name), &OpenOptions::default().nth(nth)).unwrap();
            assert_eq!(number(&checkpoint), i64::try_from(nth).unwrap(), "{name}");
            assert!(checkpoint.notes().is_empty());
        }
        let all: Vec<i64> = Checkpoint::open_all(path(&name)).unwrap().iter().map(number).collect();
        assert_eq!(all, (1..=i64::try_from(saves).unwrap()).collect::<Vec<_>>(), "{name}");
        for nth in [0, saves + 1] {
            let error = Checkpoint::open_with(path(&name), &OpenOptions::default().nth(nth)).unwrap_err();
            assert!(error.to_string().contains(&format!("holds {saves} saves")), "{error}");
        }
    }
}

#[test]
fn saves_with_other_bytes_between_them_are_found_and_said() {
    let saves = ["zip/tutorial.pt", "legacy/tutorial.pt", "zip/tied.pt"];
    let each = saves.map(|name| std::fs::read(fixtures::path(name)).unwrap());
    for gap in [&b"\n"[..], &[0; 4096], b"-- PK\x03\x04 and some words --", b"\x80\x02 no pickle"] {
        let bytes = each.join(gap);
        for (nth, name) in saves.iter().enumerate() {
            let options = OpenOptions::default().nth(nth + 1);
            let found = Checkpoint::from_bytes_with(bytes.clone(), &options).unwrap();
            let whole = Checkpoint::open(fixtures::path(name)).unwrap();
            assert!(compare(&found, &whole, Tolerance::default()).unwrap().is_empty(), "{name} behind {gap:?}");
        }
        let first = Checkpoint::from_bytes(bytes.clone()).unwrap();
        assert!(first.notes()[0].contains("holds 3 saves"), "{gap:?}: {:?}", first.notes());
        let report = verify_bytes(bytes, &OpenOptions::default(), true).unwrap();
        assert!(report.is_sound() && report.notes[0].contains("all are looked at"), "{gap:?}: {:?}", report.problems);
    }
}

#[test]
fn a_file_of_one_save_is_no_file_of_several() {
    for name in
        ["zip/tutorial.pt", "legacy/tutorial.pt", "legacy/plain2.pkl", "hf/sharded", "safetensors/basic.safetensors"]
    {
        let path = fixtures::path(name);
        if !path.exists() {
            continue;
        }
        assert!(Checkpoint::open(&path).unwrap().notes().is_empty(), "{name}");
        assert_eq!(Checkpoint::open_all(&path).unwrap().len(), 1, "{name}");
    }
    // What follows it need be no save.
    let folder = rekindle_testing::scratch();
    let longer = folder.path().join("longer.pt");
    for name in ["zip/tutorial.pt", "legacy/tutorial.pt"] {
        let bytes = std::fs::read(fixtures::path(name)).unwrap();
        std::fs::write(&longer, [&*bytes, b"\x80\x02 and some words"].concat()).unwrap();
        assert!(Checkpoint::open(&longer).unwrap().notes().is_empty(), "{name}");
    }
}

#[test]
fn every_save_of_a_file_is_verified() {
    for (name, ..) in truth() {
        let report = verify(path(&name), &OpenOptions::default(), true).unwrap();
        assert!(report.is_sound() && report.is_finite(), "{name}: {:?}", report.problems);
        assert!(report.notes[0].contains("all are looked at"), "{name}");
    }
    let folder = rekindle_testing::scratch();
    let damaged = folder.path().join("damaged.pt");
    let mut bytes = std::fs::read(path("zz_longer.pt")).unwrap();
    // The elements of the second are 2.0.
    let at = bytes.windows(8).position(|window| window == [0, 0, 0, 64, 0, 0, 0, 64]).unwrap();
    bytes[at] = 1;
    std::fs::write(&damaged, bytes).unwrap();
    assert!(!verify(&damaged, &OpenOptions::default(), false).unwrap().is_sound());
}
