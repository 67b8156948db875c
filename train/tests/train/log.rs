//! Logs of losses: what is written, read back and compared.

use rekindle_train::log::{Apart, LogLine, read_log, write_line};

fn line(step: u64, loss: f64) -> LogLine {
    LogLine { step, loss, lr: vec![0.1] }
}

#[test]
fn logs_are_compared_step_by_step() {
    let ours = [line(6, 1.0), line(7, 2.0), line(8, 3.0)];
    let theirs = [line(7, 2.5), line(8, 3.0), line(9, 1.0)];
    let apart = Apart::between(&ours, &theirs).unwrap();
    assert_eq!((apart.steps, apart.largest, apart.at, apart.same_lr), (2, 0.2, 7, true));
    assert_eq!(Apart::between(&ours, &[line(99, 1.0)]), None);
    assert_eq!(Apart::between(&[line(6, f64::NAN)], &theirs[..1]), None);
    assert_eq!(Apart::between(&[line(7, f64::NAN)], &theirs).unwrap().largest, f64::INFINITY);
}

#[test]
fn a_line_reads_back_to_the_last_bit() {
    let written = LogLine { step: 300, loss: f64::from(0.174_588_71_f32), lr: vec![0.001_499_999_999_999_999_6] };
    let mut out = Vec::new();
    write_line(&mut out, &written).unwrap();
    assert_eq!(serde_json::from_slice::<LogLine>(&out).unwrap(), written);
}

#[test]
fn a_loss_that_is_not_finite_is_written_as_python_writes_it_and_read_back() {
    for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut out = Vec::new();
        write_line(&mut out, &line(1, loss)).unwrap();
        std::fs::write(&path, out).unwrap();
        assert_eq!(read_log(&path).unwrap()[0].loss.to_bits(), loss.to_bits());
    }
}

#[test]
fn a_broken_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    std::fs::write(&path, "{\"step\": 1, \"loss\": 0.5, \"lr\": []}\n\n{\"step\": 2}\n").unwrap();
    let error = read_log(&path).unwrap_err().to_string();
    assert!(error.contains("log.jsonl: line 3: missing field `loss`"), "{error}");
}
