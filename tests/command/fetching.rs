//! Sources on servers, wherever the command takes a checkpoint. The servers are on the loopback.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use rekindle::bridge::ModuleStateDict as _;
use rekindle::models::{Config, Network};
use rekindle::{Checkpoint, StateDict, Tensor};
use rekindle_testing::server::{Reply, Server};
use serde_json::Value as Json;

use crate::{command, refusal, run_pt};

/// Caches that go away.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().unwrap())
    }

    fn rekindle(&self, arguments: &[&str]) -> Output {
        let mut command = command(arguments);
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"] {
            command.env_remove(name);
        }
        command.env("TORCH_HOME", self.0.path()).current_dir(self.0.path()).output().unwrap()
    }

    fn cached(&self, name: &str) -> PathBuf {
        self.0.path().join("hub/checkpoints").join(name)
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn fetch_prints_where_the_file_is_and_moves_it_once() {
    let (home, bytes) = (Home::new(), std::fs::read(run_pt()).unwrap());
    let server = Server::of_file(bytes.clone());
    let url = server.url("/run.pt");
    assert_eq!(stdout(&home.rekindle(&["fetch", &url])), format!("{}\n", home.cached("run.pt").display()));
    assert_eq!(std::fs::read(home.cached("run.pt")).unwrap(), bytes);
    let again = home.rekindle(&["fetch", &url, "--json"]);
    let document: Json = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&document["moved"], &document["source"]), (&0.into(), &url.clone().into()));
    // Only its name tells that it is this file.
    assert!(String::from_utf8(again.stderr).unwrap().contains("is taken for this file by its name"));
    assert_eq!(server.asked().len(), 1);
    let mine = home.rekindle(&["fetch", &url, "--dir", "mine", "--json"]);
    let document: Json = serde_json::from_str(&stdout(&mine)).unwrap();
    assert_eq!((&document["moved"], document["path"].as_str()), (&bytes.len().into(), Some("mine/run.pt")));
    assert_eq!(home.rekindle(&["fetch", "mine/run.pt"]).status.code(), Some(0));
}

#[test]
fn what_cannot_be_fetched_is_one_sentence_with_flags() {
    let home = Home::new();
    let server = Server::of_file("bytes");
    let url = server.url("/net-0123abcd.pth");
    let said = refusal(&home.rekindle(&["inspect", &url]));
    assert!(said.contains(&url) && said.contains("0123abcd is expected"), "{said}");
    let said = refusal(&home.rekindle(&["fetch", &server.url("/net.pt"), "--limit", "4"]));
    assert!(said.contains("the file has 5 bytes, and the limit is 4; raise --limit"), "{said}");
    assert_eq!(home.rekindle(&["fetch", &server.url("/net.pt"), "--dir", "."]).status.code(), Some(0));
    let said = refusal(&home.rekindle(&["fetch", &server.url("/net.pt"), "--dir", ".", "--sha256", "00"]));
    assert!(said.contains("pass --force to put"), "{said}");
    for (source, expected) in [
        ("torchvision://resnet81", "did you mean 'resnet18'?"),
        ("ftp://host/run.pt", "there are no sources of the kind 'ftp://'"),
        ("nowhere.pt", "there is no such file"),
    ] {
        let said = refusal(&home.rekindle(&["fetch", source]));
        assert!(said.contains(source) && said.contains(expected), "{said}");
    }
}

#[test]
fn a_busy_server_is_asked_again_and_that_is_said() {
    let (home, times) = (Home::new(), AtomicUsize::new(0));
    let server = Server::start(move |asked| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(503).header("Retry-After", "0"),
        _ => Reply::file(asked, b"bytes", "\"one\""),
    });
    let output = home.rekindle(&["fetch", &server.url("/net.pt")]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "note: the server answered 503 Service Unavailable; it is tried again in 0.0 s\n");
}

#[test]
fn weights_of_torchvisions_name_their_network_too() {
    let home = Home::new();
    // A small one lies in the cache, in the large one's place.
    let sizes = "image_size=8,patch_size=4,num_layers=1,num_heads=2,hidden_dim=8,mlp_dim=8,num_classes=3";
    let (name, config) = Config::call(&format!("vit_b_16({sizes})")).unwrap();
    let network = Network::build(&name, &config, &rekindle::device("cpu").unwrap()).unwrap();
    let path = home.cached("vit_b_16-c867db91.pth");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Checkpoint::from(network.state_dict().unwrap()).save(path).unwrap();
    let inputs = Tensor::from_vec(&[2, 3, 8, 8], vec![0.5_f32; 384]).unwrap();
    Checkpoint::from(StateDict::from_iter([("inputs", inputs)])).save(home.0.path().join("x.safetensors")).unwrap();
    let more = ["--config", "num_heads=2", "--input", "x.safetensors", "--out", "y.npz"];
    let output = home.rekindle(&[&["predict", "torchvision://vit_b_16"][..], &more].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let outputs = Checkpoint::open(home.0.path().join("y.npz")).unwrap();
    assert_eq!(outputs.get::<Tensor>("output_0").unwrap().shape(), [2, 3]);
}

#[test]
fn inspect_looks_into_a_file_where_it_is() {
    let weight = Tensor::from_vec(&[1024, 1024], vec![0.5_f32; 1 << 20]).unwrap();
    let bytes = Checkpoint::from(StateDict::from_iter([("fc.weight", weight)])).to_bytes().unwrap();
    let (home, server) = (Home::new(), Server::of_file(bytes));
    let url = server.url("/net.pt");
    let text = stdout(&home.rekindle(&["inspect", &url]));
    assert!(text.starts_with(&format!("{url}: zip, layout bare")) && text.contains("[1024, 1024]"), "{text}");
    assert!(server.sent() < 256 << 10 && !home.cached("net.pt").exists(), "{}", server.sent());
    // All elements are read for their hashes, so that the file is fetched.
    let text = stdout(&home.rekindle(&["inspect", &url, "--hash"]));
    assert!(text.contains(&home.cached("net.pt").display().to_string()), "{text}");
    let said = home.rekindle(&["inspect", &url]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("is taken for this file by its name") && said.lines().count() == 1, "{said}");
}

#[test]
fn every_verb_takes_a_source_where_it_takes_a_checkpoint() {
    let (home, bytes) = (Home::new(), std::fs::read(run_pt()).unwrap());
    // By its name nobody takes it for another file.
    let name = "run-fixed.pt";
    let server = Server::of_file(bytes);
    let url = server.url(&format!("/{name}"));
    // Without the settings that lie beside it.
    let local = home.0.path().join("local.pt");
    std::fs::copy(run_pt(), &local).unwrap();
    let local = local.to_str().unwrap();
    let same = |before: &[&str], after: &[&str]| {
        let of = |source: &str| {
            let arguments: Vec<&str> = before.iter().copied().chain([source]).chain(after.iter().copied()).collect();
            let output = home.rekindle(&arguments);
            let text = String::from_utf8(output.stdout).unwrap();
            let paths = [home.cached(name).display().to_string(), local.to_owned()];
            (output.status.code(), paths.iter().fold(text, |text, path| text.replace(path, "PATH")))
        };
        let (of_path, of_source) = (of(local), of(&url));
        assert_eq!(of_source, of_path, "{before:?}");
        assert!(of_path.0 != Some(2) && !of_path.1.is_empty(), "{of_path:?}");
    };
    same(&["inspect"], &["--json", "--hash"]);
    same(&["verify"], &["--json"]);
    same(&["scan"], &["--json"]);
    same(&["diff", local], &[]);
    let fixed = ["--model", "digits", "--optimizer", "AdamW", "--schedule-per", "epoch"];
    let data = run_pt().with_file_name("digits.csv.gz");
    let more = ["--data", data.to_str().unwrap(), "--batch-size", "64", "--input-shape", "1,8,8", "--json"];
    same(&["plan"], &[&fixed[..], &more].concat());

    let converted = home.rekindle(&["convert", &url, "out.safetensors", "--key", "model_state_dict"]);
    assert_eq!(converted.status.code(), Some(0), "{converted:?}");
    let weights = Checkpoint::open(home.0.path().join("out.safetensors")).unwrap();
    assert_eq!(weights.get::<Tensor>("conv1.weight").unwrap().shape(), [6, 1, 3, 3]);

    let inputs = Tensor::from_vec(&[2, 1, 8, 8], vec![0.5_f32; 128]).unwrap();
    Checkpoint::from(StateDict::from_iter([("inputs", inputs)])).save(home.0.path().join("x.safetensors")).unwrap();
    for (source, out) in [(local, "a.npz"), (&*url, "b.npz")] {
        let arguments = ["predict", source, "--model", "digits", "--input", "x.safetensors", "--out", out];
        let output = home.rekindle(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let outputs = ["a.npz", "b.npz"].map(|name| std::fs::read(home.0.path().join(name)).unwrap());
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(server.asked().len(), 1, "everything after the first is from the cache");
    assert!(Path::new(&home.cached(name)).exists());
}
