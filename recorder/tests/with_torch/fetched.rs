//! torch.hub and `huggingface_hub` find what was fetched here, and what they fetched is found here. The servers are on the loopback.

use std::path::Path;

use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::container::Format;
use rekindle_recorder::source::{Env, FetchOptions, Fetched, fetch};
use rekindle_recorder::{Checkpoint, StateDict, Tensor};
use rekindle_testing::Torch;
use rekindle_testing::hub::{Hub, sha256};
use rekindle_testing::server::Server;

/// A state dict as a file of this format.
fn bytes(format: Format) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net");
    let dict = StateDict::from_iter([("fc.weight", Tensor::from_vec(&[2], vec![0.5_f32, -0.5]).unwrap())]);
    Checkpoint::from(dict).save_with(&path, &SaveOptions::default().format(format)).unwrap();
    std::fs::read(path).unwrap()
}

fn fetch_in(home: &Path, hub: &Hub, source: &str) -> Fetched {
    let (home, endpoint) = (home.display().to_string(), hub.server.url(""));
    let variables = [("TORCH_HOME", &*home), ("HF_HOME", &*home), ("HF_ENDPOINT", &*endpoint)];
    fetch(source, &FetchOptions::default().env(Env::from_iter(variables))).unwrap()
}

#[test]
fn caches_are_shared_with_torch_hub_and_huggingface_hub_in_both_directions() {
    let Some(torch) = Torch::find() else { return };
    let (zip, safe) = (bytes(Format::ZIP), bytes(Format::SAFETENSORS));
    let files = || vec![("config.json", b"{}\n".to_vec(), false), ("model.safetensors", safe.clone(), true)];
    let sources = |server: &Server| server.url(&format!("/net-{}.pth", &sha256(&zip)[..8]));
    let of_hub = ["hf://org/net/config.json", "hf://org/net/model.safetensors"];

    // Here first: Python has to do without the servers, which count what they are asked.
    let (home, server, hub) = (tempfile::tempdir().unwrap(), Server::of_file(zip.clone()), Hub::of(files(), None));
    let url = sources(&server);
    fetch_in(home.path(), &hub, &url);
    of_hub.iter().for_each(|source| assert!(fetch_in(home.path(), &hub, source).moved > 0));
    let asked = (server.asked().len(), hub.downloads());
    let printed = torch.run("fetched.py", [&*home.path().to_string_lossy(), &hub.server.url(""), &url, "offline"]);
    assert_eq!(printed.trim(), "found fc.weight, config.json, model.safetensors");
    assert_eq!((server.asked().len(), hub.downloads()), asked);

    // Python first.
    let (home, server, hub) = (tempfile::tempdir().unwrap(), Server::of_file(zip.clone()), Hub::of(files(), None));
    let url = sources(&server);
    torch.run("fetched.py", [&*home.path().to_string_lossy(), &hub.server.url(""), &url, "online"]);
    assert_eq!((server.asked().len(), hub.downloads()), (1, 1));
    let moved: u64 = of_hub.into_iter().chain([&*url]).map(|source| fetch_in(home.path(), &hub, source).moved).sum();
    assert_eq!((moved, server.asked().len(), hub.downloads()), (0, 1, 1));
}
