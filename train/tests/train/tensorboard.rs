//! Event files: those of TensorBoard's own writers are read (tests/fixtures/tensorboard), and what is written here is read again.

use rekindle_testing::fixtures;
use rekindle_train::tensorboard::{EventWriter, Scalar, read_events};

#[test]
fn events_of_pytorch_s_writer_are_read_as_tensorboard_reads_them() {
    let truth = fixtures::json("tensorboard/events.json");
    for name in ["old", "new"] {
        let found = read_events(fixtures::path(&format!("tensorboard/{name}.tfevents"))).unwrap();
        let expected: Vec<Scalar> = truth[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|scalar| Scalar {
                tag: scalar[0].as_str().unwrap().to_owned(),
                step: scalar[1].as_u64().unwrap(),
                time: scalar[2].as_f64().unwrap(),
                value: scalar[3].as_f64().unwrap(),
            })
            .collect();
        assert_eq!(expected.len(), 12);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_is_written_has_the_bytes_of_pytorch_s_writer() {
    let theirs = std::fs::read(fixtures::path("tensorboard/old.tfevents")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create(folder.path()).unwrap();
    let first = std::fs::metadata(events.path()).unwrap().len();
    for step in 0..6_u32 {
        let time = 1.7e9 + f64::from(step);
        events.scalar_at("loss", 2.5 / f64::from(step + 1), u64::from(step), time).unwrap();
        events
            .scalar_at("lr/group 0", 1e-3 * 0.9_f64.powi(i32::try_from(step).unwrap()), u64::from(step) * 1000, time)
            .unwrap();
    }
    events.flush().unwrap();
    let ours = std::fs::read(events.path()).unwrap();
    let scalars = &ours[usize::try_from(first).unwrap()..];
    assert!(theirs.windows(scalars.len()).any(|window| window == scalars));
    assert_eq!(read_events(events.path()).unwrap().len(), 12);
}

#[test]
fn two_runs_write_two_files_and_a_record_that_is_not_whole_ends_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create(folder.path().join("runs/one")).unwrap();
    let other = EventWriter::create(folder.path().join("runs/one")).unwrap();
    assert_ne!(events.path(), other.path());
    events.scalar("loss", f64::NAN, 1).unwrap();
    events.scalar("loss", 0.5, u64::MAX).unwrap();
    events.flush().unwrap();
    let whole = std::fs::read(events.path()).unwrap();
    let cut = folder.path().join("cut");
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(read_events(&cut).unwrap().len(), 1);
    for (at, says) in [(0, "no event file"), (whole.len() - 6, "its checksum is wrong")] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&cut, &damaged).unwrap();
        let error = read_events(&cut).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    std::fs::write(&cut, b"").unwrap();
    assert!(read_events(&cut).is_err());
}
