//! Several processes that want the same file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use rekindle_recorder::source::{Env, FetchOptions, fetch};
use rekindle_testing::server::{Reply, Server};

use super::{Home, body, named, names};
use crate::STARTS;

const SOURCE: &str = "REKINDLE_TEST_FETCH_SOURCE";
/// Whether the hash in a file's name is of no matter.
const UNCHECKED: &str = "REKINDLE_TEST_FETCH_UNCHECKED";
const PROCESSES: usize = 8;

/// Whether this process is one of those that a test started.
pub(super) fn is_one_of_several() -> bool {
    std::env::var_os(SOURCE).is_some()
}

/// Fetches in so many processes at once, each of which runs the test `name`; whether this is one of them.
pub(super) fn at_once(name: &str, source: &str, variables: &[(String, String)]) -> bool {
    if let Ok(source) = std::env::var(SOURCE) {
        // This is a child.
        let options = FetchOptions::default().env(Env::default()).check_hash(std::env::var_os(UNCHECKED).is_none());
        let fetched = fetch(source, &options).unwrap();
        println!("moved {}", fetched.moved);
        return true;
    }
    let _starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(SOURCE, source)
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .env_remove("HTTP_PROXY")
                .env_remove("http_proxy")
                .env_remove("ALL_PROXY")
                .env_remove("all_proxy")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    false
}

#[test]
fn eight_processes_at_once_fetch_what_a_name_stands_for_once() {
    let name = "fetch::several::eight_processes_at_once_fetch_what_a_name_stands_for_once";
    if is_one_of_several() {
        at_once(name, "", &[]);
        return;
    }
    for scheme in super::schemes::SCHEMES {
        let (mirror, home) = (super::schemes::mirror(None), Home::new());
        let variables = home.variables(&[("REKINDLE_MIRROR", &mirror.url("/")), (UNCHECKED, "1")]);
        at_once(name, scheme.source, &variables);
        assert_eq!(mirror.asked().len(), 1, "{}", scheme.source);
        assert_eq!(home.names(), [scheme.name], "{}", scheme.source);
    }
}

#[test]
fn eight_processes_at_once_fetch_a_file_once() {
    let bytes = body(3_000_000);
    let server = Server::of_file(bytes.clone());
    let home = Home::new();
    let name = named("net", &bytes);
    if at_once("fetch::several::eight_processes_at_once_fetch_a_file_once", &server.url(&name), &home.variables(&[])) {
        return;
    }
    assert_eq!(server.asked().len(), 1);
    assert_eq!(home.names(), [&name[1..]]);
    assert_eq!(fs::read(home.checkpoints().join(&name[1..])).unwrap(), bytes);
}

#[test]
fn eight_processes_go_on_where_the_first_was_cut() {
    let bytes = body(3_000_000);
    let (plain, times) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| {
        let reply = Reply::file(asked, &plain, "\"one\"");
        if times.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(2_000_000) } else { reply }
    });
    let home = Home::new();
    if at_once(
        "fetch::several::eight_processes_go_on_where_the_first_was_cut",
        &server.url("/net.pt"),
        &home.variables(&[]),
    ) {
        return;
    }
    let ranges: Vec<_> = server.asked().iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=2000000-".to_owned())]);
    assert_eq!(fs::read(home.checkpoints().join("net.pt")).unwrap(), bytes);
    assert_eq!(names(&home.checkpoints()), ["net.pt"]);
}

#[test]
fn eight_processes_at_once_fetch_from_the_hub_once() {
    let hub = super::hub::small();
    let home = Home::new();
    let variables = home.variables(&[("HF_ENDPOINT", &hub.server.url(""))]);
    let name = "fetch::several::eight_processes_at_once_fetch_from_the_hub_once";
    if at_once(name, "hf://org/net/model.safetensors", &variables) {
        return;
    }
    assert_eq!(hub.downloads(), 1);
    let cache = home.0.path().join("hf/hub/models--org--net");
    assert_eq!(names(&cache.join("blobs")).len(), 1);
    assert!(Path::new(&cache).join("refs/main").exists());
}
