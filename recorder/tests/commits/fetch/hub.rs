//! The Hugging Face Hub, which is a small one on the loopback: files in git, large ones elsewhere, branches that move, tokens; and
//! the cache that `huggingface_hub` would find.

use std::fs;
use std::path::PathBuf;

use rekindle_recorder::source::{Fetched, fetch};
use rekindle_recorder::{Checkpoint, Result, StateDict, Tensor};
use rekindle_testing::hub::{COMMIT, Hub, NEXT, git_blob, sha256};
use rekindle_testing::server::{Reply, Server};

use super::{Home, names, sentence};

const CONFIG: &[u8] = b"{\"n_layer\": 2}\n";
const TOKEN: &str = "hf_secret";

pub(super) fn weights(name: &str) -> Vec<u8> {
    let dict = StateDict::from_iter([(name.to_owned(), Tensor::from_vec(&[2], vec![0.5_f32, -0.5]).unwrap())]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Checkpoint::from(dict).save(&path).unwrap();
    fs::read(path).unwrap()
}

/// A Hub with two files.
pub(super) fn small() -> Hub {
    Hub::of(vec![("config.json", CONFIG.to_vec(), false), ("model.safetensors", weights("fc.weight"), true)], None)
}

fn fetch_from(hub: &Hub, home: &Home, source: &str) -> Result<Fetched> {
    fetch_with(hub, home, source, &[])
}

fn fetch_with(hub: &Hub, home: &Home, source: &str, more: &[(&str, &str)]) -> Result<Fetched> {
    let endpoint = hub.server.url("/");
    let variables: Vec<_> = [("HF_ENDPOINT", &*endpoint)].into_iter().chain(more.iter().copied()).collect();
    fetch(source, &home.options_with(&variables))
}

fn cache(home: &Home) -> PathBuf {
    home.0.path().join("hf/hub/models--org--net")
}

#[test]
fn files_lie_as_huggingface_hub_lays_them_out() {
    let (hub, home) = (small(), Home::new());
    let fetched = fetch_from(&hub, &home, "hf://org/net/model.safetensors").unwrap();
    let config = fetch_from(&hub, &home, "hf://org/net/config.json").unwrap();
    let bytes = weights("fc.weight");
    let folder = cache(&home);
    assert_eq!(fetched.path, folder.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!((fs::read(&fetched.path).unwrap(), fetched.moved), (bytes.clone(), bytes.len() as u64));
    assert_eq!(fs::read(&config.path).unwrap(), CONFIG);
    assert_eq!(names(&folder), ["blobs", "refs", "snapshots"]);
    let mut blobs = [sha256(&bytes), git_blob(CONFIG)];
    blobs.sort();
    assert_eq!(names(&folder.join("blobs")), blobs);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(fs::read_link(&fetched.path).unwrap(), PathBuf::from("../../blobs").join(sha256(&bytes)));
    let root = home.0.path().join("hf/hub");
    assert_eq!(names(&root), [".locks", "CACHEDIR.TAG", "models--org--net"]);
    assert!(names(&root.join(".locks/models--org--net")).contains(&format!("{}.lock", sha256(&bytes))));
    // From the cache: the Hub is only asked whether the branch has moved on.
    assert_eq!(fetch_from(&hub, &home, "hf://org/net@main/model.safetensors").unwrap().moved, 0);
    assert_eq!((hub.downloads(), hub.server.asked().last().unwrap().method.as_str()), (1, "HEAD"));
    // For a commit nobody is asked.
    let asked = hub.server.asked().len();
    assert_eq!(fetch_from(&hub, &home, &format!("hf://org/net@{COMMIT}/config.json")).unwrap().moved, 0);
    assert_eq!(hub.server.asked().len(), asked);
}

#[test]
fn what_huggingface_hub_fetched_is_not_fetched_again() {
    let (hub, home) = (small(), Home::new());
    let bytes = weights("fc.weight");
    let folder = cache(&home);
    // The blob is there, of another commit.
    fs::create_dir_all(folder.join("blobs")).unwrap();
    fs::write(folder.join("blobs").join(sha256(&bytes)), &bytes).unwrap();
    let fetched = fetch_from(&hub, &home, "hf://org/net/model.safetensors").unwrap();
    assert_eq!((fs::read(&fetched.path).unwrap(), fetched.moved, hub.downloads()), (bytes, 0, 0));
}

#[test]
fn a_branch_that_moves_on_has_another_snapshot_of_the_same_blob() {
    let (hub, home) = (small(), Home::new());
    fetch_from(&hub, &home, "hf://org/net/model.safetensors").unwrap();
    hub.move_on();
    let fetched = fetch_from(&hub, &home, "hf://org/net/model.safetensors").unwrap();
    assert_eq!((fetched.path, fetched.moved), (cache(&home).join("snapshots").join(NEXT).join("model.safetensors"), 0));
    assert_eq!(fs::read_to_string(cache(&home).join("refs/main")).unwrap(), NEXT);
    assert_eq!(names(&cache(&home).join("snapshots")), [COMMIT, NEXT]);
    // A revision with slashes is a folder of refs.
    fetch_from(&hub, &home, "hf://org/net@refs/pr/7/config.json").unwrap();
    assert_eq!(fs::read_to_string(cache(&home).join("refs/refs/pr/7")).unwrap(), NEXT);
}

#[test]
fn a_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let hub = Hub::of(vec![("model.safetensors", weights("w"), true)], Some(TOKEN));
    let home = Home::new();
    let said = sentence(fetch_from(&hub, &home, "hf://org/net/model.safetensors"));
    assert!(said.starts_with("hf://org/net/model.safetensors: the server answered 401 Unauthorized;"), "{said}");
    assert!(said.contains("HF_TOKEN"), "{said}");
    fetch_with(&hub, &home, "hf://org/net/model.safetensors", &[("HF_TOKEN", TOKEN)]).unwrap();
    assert_eq!(hub.downloads(), 1);
    assert!(hub.cdn.asked().iter().all(|asked| asked.header("authorization").is_none()));
    // Files of other servers are not asked for with it.
    let other = Server::of_file("bytes");
    fetch(other.url("/net.pt"), &home.options_with(&[("HF_TOKEN", TOKEN)])).unwrap();
    assert_eq!(other.asked()[0].header("authorization"), None);
}

#[test]
fn without_the_hub_the_last_snapshot_has_to_do() {
    let (hub, home) = (small(), Home::new());
    let offline = [("HF_HUB_OFFLINE", "1")];
    let said = sentence(fetch_with(&hub, &home, "hf://org/net/model.safetensors", &offline));
    assert!(said.contains("it is not in the cache") && said.contains("HF_HUB_OFFLINE is set"), "{said}");
    let said = sentence(fetch_with(&hub, &home, "hf://org/net", &offline));
    assert!(said.contains("HF_HUB_OFFLINE is set"), "{said}");
    let path = fetch_from(&hub, &home, "hf://org/net").unwrap().path;
    let asked = hub.server.asked().len();
    for source in ["hf://org/net/model.safetensors", "hf://org/net"] {
        let fetched = fetch_with(&hub, &home, source, &offline).unwrap();
        assert_eq!((fetched.path, fetched.moved), (path.clone(), 0), "{source}");
    }
    assert_eq!(hub.server.asked().len(), asked);
    // A Hub that is down is no reason to fail, and is said.
    let down = Server::start(|_| Reply::status(503));
    let options = home.options_with(&[("HF_ENDPOINT", &down.url(""))]);
    let fetched = fetch("hf://org/net/model.safetensors", &options).unwrap();
    assert_eq!(fetched.path, path);
    assert!(
        fetched.notes[0].contains("503") && fetched.notes[0].contains("taken from the cache"),
        "{:?}",
        fetched.notes
    );
}

#[test]
fn a_repository_is_its_index_with_its_shards_or_its_only_checkpoint() {
    let index = serde_json::json!({"metadata": {}, "weight_map": {
        "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
    }});
    let hub = Hub::of(
        vec![
            ("README.md", b"#".to_vec(), false),
            ("config.json", CONFIG.to_vec(), false),
            ("model-00001-of-00002.safetensors", weights("a"), true),
            ("model-00002-of-00002.safetensors", weights("b"), true),
            ("model.safetensors.index.json", index.to_string().into_bytes(), false),
            ("pytorch_model.bin", b"other".to_vec(), true),
        ],
        None,
    );
    let home = Home::new();
    let fetched = fetch_from(&hub, &home, "hf://org/net").unwrap();
    let snapshot = cache(&home).join("snapshots").join(COMMIT);
    assert_eq!(fetched.path, snapshot.join("model.safetensors.index.json"));
    let expected = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(names(&snapshot), expected);
    let checkpoint = Checkpoint::open(&fetched.path).unwrap();
    assert_eq!(checkpoint.get::<Tensor>("b").unwrap().to_vec::<f32>().unwrap(), [0.5, -0.5]);
    assert_eq!(fetch_from(&hub, &home, "hf://org/net").unwrap().moved, 0);
    assert_eq!(hub.downloads(), 2);

    let hub = Hub::of(vec![("a.txt", vec![1], false), ("net.ckpt", vec![2], false)], None);
    let home = Home::new();
    assert!(fetch_from(&hub, &home, "hf://org/net").unwrap().path.ends_with("net.ckpt"));
    let hub = Hub::of(vec![("a.pt", vec![1], false), ("b.pt", vec![2], false)], None);
    let said = sentence(fetch_from(&hub, &Home::new(), "hf://org/net"));
    assert!(said.contains("several files that may be meant: a.pt, b.pt; name one: hf://ORG/REPO/FILE"), "{said}");
    let hub = Hub::of(vec![("a.txt", vec![1], false)], None);
    assert!(sentence(fetch_from(&hub, &Home::new(), "hf://org/net")).contains("has no weights that are known here"));
    let said = sentence(fetch("hf://org/net", &Home::new().options().sha256("00")));
    assert!(said.contains("a hash is of one file, and this is a repository; name the file"), "{said}");
}

#[test]
fn a_renamed_repository_is_followed_and_a_missing_file_or_branch_is_said() {
    let (hub, home) = (small(), Home::new());
    assert!(fetch_from(&hub, &home, "hf://org/old/model.safetensors").unwrap().path.ends_with("model.safetensors"));
    for source in ["hf://org/net/none.pt", "hf://org/net@none/model.safetensors", "hf://org/none/model.safetensors"] {
        let said = sentence(fetch_from(&hub, &home, source));
        assert!(said.starts_with(&format!("{source}: the server answered 404 Not Found;")), "{said}");
    }
    let no_hub = Server::of_file("page");
    let options = home.options_with(&[("HF_ENDPOINT", &no_hub.url(""))]);
    let said = sentence(fetch("hf://other/net/model.safetensors", &options));
    assert!(said.contains("X-Repo-Commit") && said.contains("HF_ENDPOINT"), "{said}");
}

#[test]
fn bytes_that_are_not_the_hubs_leave_nothing_behind() {
    let (home, bytes) = (Home::new(), weights("w"));
    let etag = format!("\"{}\"", sha256(&bytes));
    let wrong = Server::start(move |asked| Reply::file(asked, b"wrong", &etag).header("X-Repo-Commit", COMMIT));
    let options = home.options_with(&[("HF_ENDPOINT", &wrong.url(""))]);
    let said = sentence(fetch("hf://org/net/model.safetensors", &options));
    assert!(said.contains("the file's SHA-256 is"), "{said}");
    assert!(names(&cache(&home).join("blobs")).is_empty());
    assert!(names(&cache(&home).join("snapshots").join(COMMIT)).is_empty());
    // Nor do names that lead out of the cache.
    let evil = Server::start(|asked| Reply::file(asked, b"x", "\"../../x\"").header("X-Repo-Commit", "../../../y"));
    let options = home.options_with(&[("HF_ENDPOINT", &evil.url(""))]);
    assert!(sentence(fetch("hf://org/net/model.safetensors", &options)).contains("its commit or its ETag is none"));
}

#[test]
fn a_folder_of_ones_own_takes_the_files_of_a_repository() {
    let (hub, home) = (small(), Home::new());
    let dir = home.0.path().join("mine");
    let options = home.options_with(&[("HF_ENDPOINT", &hub.server.url(""))]).dir(&dir);
    let fetched = fetch("hf://org/net", &options).unwrap();
    assert_eq!(fetched.path, dir.join("model.safetensors"));
    assert_eq!(names(&dir), ["config.json", "model.safetensors"]);
    assert!(!cache(&home).exists());
    assert_eq!(fetch("hf://org/net", &options).unwrap().moved, 0);
    let offline = options.clone().offline(true);
    assert_eq!(fetch("hf://org/net/config.json", &offline).unwrap().path, dir.join("config.json"));
    assert!(sentence(fetch("hf://org/net/other.json", &offline)).contains("it is not in the cache"));
    fs::write(dir.join("config.json"), "mine").unwrap();
    assert!(sentence(fetch("hf://org/net", &options)).contains("`FetchOptions::force(true)`"));
}
