//! Small runs over a network of two layers, each a file of a section of the fixtures beside what PyTorch itself did next.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::Checkpoint;
use rekindle_testing::fixtures;

use crate::command;

/// A section of the fixtures that has `batches.pt` and `truth.json`.
pub(crate) struct Section(pub(crate) &'static str);

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Section {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        fixtures::path(self.0).join(name)
    }

    pub(crate) fn resume(&self, name: &str, arguments: &[&str], folder: &Path) -> Output {
        let batches = self.file("batches.pt");
        let fixed = [Path::new("resume"), &self.file(name), Path::new("--batches"), &batches].map(Path::to_path_buf);
        let one = ["--model", "mlp", "--config", "sizes=5,8,3"];
        let told: Vec<&str> = ["--log", "log.jsonl", "--overwrite"]
            .into_iter()
            .chain(if name == "pair.pt" || arguments.contains(&"--model") { vec![] } else { one.to_vec() })
            .collect();
        let all = fixed.into_iter().chain(told.iter().chain(arguments).map(PathBuf::from));
        command(all).current_dir(folder).output().unwrap()
    }

    /// Runs it, and compares losses, rates and weights with PyTorch's; gives what was written and what was said.
    pub(crate) fn goes_on(&self, name: &str, arguments: &[&str], weights: &str, save: &str) -> (Checkpoint, String) {
        let folder = tempfile::tempdir().unwrap();
        let output = self.resume(name, &[arguments, &["--save", save]].concat(), folder.path());
        let said = text(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let truth = &fixtures::json(&format!("{}/truth.json", self.0))[name.split('.').next().unwrap()];
        let log = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
        let log: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (losses, rates) = (truth["losses"].as_array().unwrap(), truth["rates"].as_array().unwrap());
        assert_eq!(log.len(), losses.len(), "{name}");
        for ((line, loss), rates) in log.iter().zip(losses).zip(rates) {
            let (ours, theirs) = (line["loss"].as_f64().unwrap(), loss.as_f64().unwrap());
            assert!((ours - theirs).abs() <= 1e-6, "{name}: {ours} {theirs}");
            assert_eq!(&line["lr"], rates, "{name}");
        }
        let after = Checkpoint::open(folder.path().join(save)).unwrap();
        for (tensor, expected) in truth["weights"].as_object().unwrap() {
            let path = if weights.is_empty() { tensor.clone() } else { format!("{weights}.{tensor}") };
            let ours = after.get::<rekindle::Tensor>(&path).unwrap();
            // Half a unit in the last place of weights that are written in half precision.
            let limit = if ours.dtype() == rekindle::recorder::DType::Float16 { 2.5e-4 } else { 1e-5 };
            let theirs: Vec<f64> = expected.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            let ours = ours.to_f64_vec().unwrap();
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= limit), "{name}: {path}");
        }
        (after, said)
    }
}
