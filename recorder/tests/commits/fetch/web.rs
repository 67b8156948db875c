//! Files on servers: names, caches, redirects, credentials, refusals.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rekindle_recorder::ErrorKind;
use rekindle_recorder::source::{FetchError, FetchEvent, Watch, fetch};
use rekindle_testing::hub::sha256;
use rekindle_testing::server::{Reply, Server};

use super::{Home, body, named, names, sentence};

#[test]
fn a_file_is_moved_once_and_lies_where_torch_hub_looks_for_it() {
    let (home, bytes) = (Home::new(), body(300_000));
    let server = Server::of_file(bytes.clone());
    let path = named("net", &bytes);
    let first = home.fetch(&server.url(&path)).unwrap();
    assert_eq!((first.path.clone(), first.moved), (home.checkpoints().join(&path[1..]), 300_000));
    assert_eq!(fs::read(&first.path).unwrap(), bytes);
    assert_eq!(home.names(), [&path[1..]]);
    let again = home.fetch(&server.url(&path)).unwrap();
    assert_eq!((again.path, again.moved, again.notes), (first.path, 0, Vec::new()));
    assert_eq!(server.asked().len(), 1);
    assert_eq!(server.asked()[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn what_torch_hub_fetched_is_found_and_said_where_only_its_name_tells() {
    let home = Home::new();
    fs::create_dir_all(home.checkpoints()).unwrap();
    let there = home.checkpoints().join("model.pth");
    fs::write(&there, "theirs").unwrap();
    let server = Server::of_file("ours");
    let fetched = home.fetch(&server.url("/a/model.pth?x=1")).unwrap();
    assert_eq!((fetched.path.clone(), fetched.moved), (there.clone(), 0));
    assert!(fetched.notes[0].contains("is taken for this file by its name"), "{:?}", fetched.notes);
    assert!(server.asked().is_empty());
    // Where its hash is given, another file of that name is not taken.
    let options = home.options().sha256(sha256(b"ours"));
    assert_eq!(fetch(server.url("/a/model.pth"), &options).unwrap().moved, 4);
    assert_eq!(fs::read(&there).unwrap(), b"ours");
    assert_eq!(fetch(server.url("/a/model.pth"), &options).unwrap().moved, 0);
    // By force it is fetched anew.
    assert_eq!(fetch(server.url("/a/model.pth"), &options.force(true)).unwrap().moved, 4);
}

#[test]
fn a_wrong_hash_leaves_nothing_behind() {
    let (home, bytes) = (Home::new(), body(5000));
    let server = Server::of_file(bytes.clone());
    let said = sentence(home.fetch(&server.url("/net-0123abcd.pth")));
    assert!(
        said.contains("/net-0123abcd.pth: the file's SHA-256 is ") && said.contains("0123abcd is expected"),
        "{said}"
    );
    let options = home.options().sha256("00ff");
    let error = fetch(server.url(&named("net", &bytes)), &options).unwrap_err();
    let ErrorKind::Fetch(kind) = error.kind() else { panic!("{error}") };
    assert!(matches!(&**kind, FetchError::Hash { expected, .. } if expected == "00ff"), "{error}");
    assert!(home.names().is_empty());
    assert_eq!(fetch(server.url("/net-0123abcd.pth"), &home.options().check_hash(false)).unwrap().moved, 5000);
}

#[test]
fn a_folder_of_ones_own_takes_the_file_and_keeps_another_of_its_name() {
    let home = Home::new();
    let server = Server::of_file("ours");
    let dir = home.0.path().join("weights");
    let options = home.options().dir(&dir).sha256(sha256(b"ours"));
    assert_eq!(fetch(server.url("/net.pt"), &options).unwrap().path, dir.join("net.pt"));
    assert!(home.names().is_empty());
    fs::write(dir.join("net.pt"), "mine").unwrap();
    let said = sentence(fetch(server.url("/net.pt"), &options));
    assert!(said.contains("`FetchOptions::force(true)`"), "{said}");
    assert_eq!(fs::read(dir.join("net.pt")).unwrap(), b"mine");
    fetch(server.url("/net.pt"), &options.force(true)).unwrap();
    assert_eq!((fs::read(dir.join("net.pt")).unwrap(), names(&dir)), (b"ours".to_vec(), vec!["net.pt".to_owned()]));
}

#[test]
fn redirects_are_followed_and_credentials_never_to_another_host() {
    let home = Home::new();
    let other = Server::of_file("bytes");
    let to = other.url("/far/net.pt");
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/net.pt" => Reply::redirect("/a/one"),
        "/a/one" => Reply::redirect("two"),
        "/a/two" => Reply::redirect(&to),
        _ => Reply::status(404),
    });
    let source = server.url("/net.pt").replace("http://", "http://me:p%40ss@");
    let fetched = home.fetch(&source).unwrap();
    assert_eq!(fetched.path, home.checkpoints().join("net.pt"));
    let asked = server.asked();
    assert_eq!(asked.iter().map(|asked| &*asked.path).collect::<Vec<_>>(), ["/net.pt", "/a/one", "/a/two"]);
    // me:p@ss
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Basic bWU6cEBzcw==")));
    assert_eq!((other.asked().len(), other.asked()[0].header("authorization")), (1, None));
}

#[test]
fn redirects_without_an_end_and_to_files_of_this_machine_are_refused() {
    let home = Home::new();
    let around = Server::start(|_| Reply::redirect("/net.pt"));
    assert!(sentence(home.fetch(&around.url("/net.pt"))).contains("redirect more than 20 times"));
    assert_eq!(around.asked().len(), 21);
    let inwards = Server::start(|_| Reply::redirect("file:///etc/passwd"));
    assert!(sentence(home.fetch(&inwards.url("/net.pt"))).contains("no sources of the kind 'file://'"));
    let nowhere = Server::start(|_| Reply::status(302));
    assert!(sentence(home.fetch(&nowhere.url("/net.pt"))).contains("a redirect (302) to nowhere"));
}

#[test]
fn a_refusal_is_asked_once_and_its_sentence_says_what_to_do() {
    for (status, said) in [
        (401, "the server answered 401 Unauthorized; it wants a token with access"),
        (403, "the server answered 403 Forbidden; it wants a token with access"),
        (404, "the server answered 404 Not Found; look at the address: nothing is there"),
        (400, "the server answered 400 Bad Request; try it again later"),
    ] {
        let home = Home::new();
        let server = Server::start(move |_| Reply::status(status));
        let source = server.url("/net.pt?token=x").replace("http://", "http://me:secret@");
        let shown = server.url("/net.pt?token=x");
        assert!(sentence(home.fetch(&source)).starts_with(&format!("{shown}: {said}")));
        assert_eq!((server.asked().len(), home.names().len()), (1, 0));
    }
}

#[test]
fn a_busy_server_is_asked_again_and_its_wish_is_kept_to() {
    for status in [429, 500, 502, 503, 504] {
        let home = Home::new();
        let times = AtomicUsize::new(0);
        let server = Server::start(move |asked| match times.fetch_add(1, Ordering::SeqCst) {
            0..3 => Reply::status(status).header("Retry-After", "0"),
            _ => Reply::file(asked, b"bytes", "\"one\""),
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let watch = Watch::new(move |event| {
            if let FetchEvent::Again { why, pause, .. } = event {
                told.lock().unwrap().push(((*why).to_owned(), *pause));
            }
        });
        // The pause of its own would be felt.
        let options = home.options().pause(Duration::from_hours(1)).watch(watch);
        assert_eq!(fetch(server.url("/net.pt"), &options).unwrap().moved, 5);
        assert_eq!(server.asked().len(), 4);
        let seen = seen.lock().unwrap();
        assert!(
            seen.len() == 3 && seen.iter().all(|(why, pause)| why.contains(&status.to_string()) && pause.is_zero())
        );
    }
    let home = Home::new();
    let server = Server::start(|_| Reply::status(503));
    assert!(sentence(home.fetch(&server.url("/net.pt"))).contains("503 Service Unavailable; try it again later"));
    assert_eq!(server.asked().len(), 5, "once, and four times again");
    let server = Server::start(|_| Reply::status(429).header("Retry-After", "86400"));
    assert!(sentence(home.fetch(&server.url("/net.pt"))).contains("429 and asks to wait 86400 s"));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_body_that_is_packed_all_the_same_is_unpacked_and_others_are_refused() {
    let (home, bytes) = (Home::new(), body(100_000));
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    let packed = packed.finish().unwrap();
    let (half, times) = (packed.len() / 2, AtomicUsize::new(0));
    let server = Server::start(move |_| {
        let reply = Reply::bytes(packed.clone()).header("Content-Encoding", "gzip").header("ETag", "\"one\"");
        if times.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(half) } else { reply }
    });
    let fetched = home.fetch(&server.url(&named("net", &bytes))).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    // Half of what is unpacked is no range of what is packed.
    assert!(server.asked().len() == 2 && server.asked().iter().all(|asked| asked.header("range").is_none()));
    let server = Server::start(|_| Reply::bytes("x").header("Content-Encoding", "br"));
    assert!(sentence(home.fetch(&server.url("/net.pt"))).contains("a body in the encoding 'br'"));
}

#[test]
fn more_than_the_limit_is_not_taken_whatever_the_server_says() {
    let home = Home::new();
    let options = home.options().limit(1000);
    let server = Server::of_file(body(1001));
    let said = sentence(fetch(server.url("/net.pt"), &options));
    assert!(said.contains("the file has 1001 bytes, and the limit is 1000; raise `FetchOptions::limit`"), "{said}");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![0; 1 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let server = Server::start(move |_| Reply::bytes(bomb.clone()).header("Content-Encoding", "gzip"));
    assert!(sentence(fetch(server.url("/net.pt"), &options.limit(4096))).contains("the file has at least "));
    assert!(home.names().is_empty());
    assert_eq!(fetch(Server::of_file(body(1000)).url("/net.pt"), &home.options().limit(1000)).unwrap().moved, 1000);
}

#[test]
fn without_the_network_what_is_there_has_to_do() {
    let home = Home::new();
    let server = Server::of_file("bytes");
    let options = home.options().offline(true);
    let said = sentence(fetch(server.url("/net.pt"), &options));
    assert!(said.contains("it is not in the cache") && said.contains("net.pt"), "{said}");
    assert!(server.asked().is_empty());
    home.fetch(&server.url("/net.pt")).unwrap();
    assert_eq!(fetch(server.url("/net.pt"), &options).unwrap().moved, 0);
}

#[test]
fn a_proxy_is_asked_in_the_servers_place() {
    let home = Home::new();
    let proxy = Server::start(|_| Reply::status(407));
    let options = home.options_with(&[("HTTP_PROXY", &proxy.url("")), ("NO_PROXY", "excepted.test")]);
    let said = sentence(fetch("http://host.test/net.pt", &options));
    assert!(said.contains("the proxy refuses"), "{said}");
    let asked = proxy.asked();
    assert_eq!((&*asked[0].method, &*asked[0].path), ("CONNECT", "host.test:80"));
    let wrong = home.options_with(&[("http_proxy", "::")]);
    assert!(sentence(fetch("http://host.test/net.pt", &wrong)).contains("HTTP_PROXY names, is no address"));
}

#[test]
fn an_address_without_a_file_and_certificates_that_are_none_are_said() {
    let home = Home::new();
    let server = Server::of_file("bytes");
    assert!(sentence(home.fetch(&server.url("/"))).contains("the address names no file"));
    assert!(sentence(home.fetch(&server.url("/a/.."))).contains("the address names no file"));
    assert!(sentence(home.fetch("http:///a.pt")).contains("this is no address of a server"));
    let pem = home.0.path().join("ca.pem");
    fs::write(&pem, "no certificate").unwrap();
    let options = home.options_with(&[("SSL_CERT_FILE", pem.to_str().unwrap())]);
    assert!(sentence(fetch(server.url("/net.pt"), &options)).contains("ca.pem: there are no certificates in it"));
    assert!(server.asked().is_empty());
}
