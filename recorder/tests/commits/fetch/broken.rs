//! Connections that break, servers that lie or say nothing: what came is gone on with, and is never taken for the whole.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rekindle_recorder::source::fetch;
use rekindle_testing::server::{Asked, Reply, Server};

use super::{Home, body, named, sentence};

/// A good server, whose first answer breaks off after so many bytes.
fn breaks(bytes: &[u8], at: usize) -> Server {
    let (bytes, times) = (bytes.to_vec(), AtomicUsize::new(0));
    Server::start(move |asked| {
        let reply = Reply::file(asked, &bytes, "\"one\"");
        if times.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(at) } else { reply }
    })
}

fn ranges(asked: &[Asked]) -> Vec<Option<&str>> {
    asked.iter().map(|asked| asked.header("range")).collect()
}

#[test]
fn after_a_break_at_any_byte_the_rest_is_fetched_and_no_byte_twice() {
    let bytes = body(97);
    for at in 0..bytes.len() {
        let home = Home::new();
        let server = breaks(&bytes, at);
        let fetched = home.fetch(&server.url("/net.pt")).unwrap();
        assert_eq!((fs::read(&fetched.path).unwrap(), fetched.moved), (bytes.clone(), 97), "cut at {at}");
        let rest = format!("bytes={at}-");
        assert_eq!(ranges(&server.asked()), [None, Some(&*rest).filter(|_| at > 0)], "cut at {at}");
        assert_eq!(home.names(), ["net.pt"], "cut at {at}");
    }
}

#[test]
fn what_came_before_a_process_gave_up_is_gone_on_with_by_the_next() {
    let bytes = body(200_000);
    for at in [1, 65_536, 199_999] {
        let home = Home::new();
        let server = breaks(&bytes, at);
        let said = sentence(fetch(server.url("/net.pt"), &home.options().retries(0)));
        assert!(said.contains(&format!("broke off after {at} bytes of 200000; try it again; it goes on")), "{said}");
        assert_eq!(home.names(), ["net.pt.partial", "net.pt.partial.etag"]);
        let fetched = home.fetch(&server.url("/net.pt")).unwrap();
        assert_eq!((fs::read(&fetched.path).unwrap(), fetched.moved), (bytes.clone(), 200_000 - at as u64));
        assert_eq!(server.asked()[1].header("if-range"), Some("\"one\""));
        assert_eq!(home.names(), ["net.pt"]);
    }
}

#[test]
fn a_file_that_changed_in_between_is_fetched_from_its_beginning() {
    let (home, old, new) = (Home::new(), body(5000), vec![7; 4000]);
    let server = breaks(&old, 3000);
    sentence(fetch(server.url("/net.pt"), &home.options().retries(0)));
    drop(server);
    let bytes = new.clone();
    let server = Server::start(move |asked| Reply::file(asked, &bytes, "\"two\""));
    let fetched = home.fetch(&server.url("/net.pt")).unwrap();
    assert_eq!((fs::read(&fetched.path).unwrap(), fetched.moved), (new, 4000));
}

#[test]
fn bytes_of_which_nothing_says_what_they_are_are_not_gone_on_with() {
    // No ETag, no date, no hash.
    let (bytes, times) = (body(5000), AtomicUsize::new(0));
    let plain = bytes.clone();
    let server = Server::start(move |_| {
        let reply = Reply::bytes(plain.clone());
        if times.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(3000) } else { reply }
    });
    let home = Home::new();
    assert_eq!(home.fetch(&server.url("/net.pt")).unwrap().moved, 8000);
    assert_eq!(ranges(&server.asked()), [None, None]);
    let server = Server::start({
        let bytes = bytes.clone();
        move |_| Reply::bytes(bytes.clone()).cut(3000)
    });
    let home = Home::new();
    sentence(home.fetch(&server.url("/net.pt")));
    assert!(home.names().is_empty(), "what nobody can go on with is not kept");
}

#[test]
fn a_server_without_ranges_gives_the_whole_again() {
    let (home, bytes) = (Home::new(), body(5000));
    let (plain, times) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| {
        let reply = Reply::bytes(plain.clone()).header("ETag", "\"one\"");
        if times.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(3000) } else { reply }
    });
    let fetched = home.fetch(&server.url("/net.pt")).unwrap();
    assert_eq!((fs::read(&fetched.path).unwrap(), fetched.moved), (bytes, 8000));
    assert_eq!(ranges(&server.asked()), [None, Some("bytes=3000-")]);
}

#[test]
fn a_range_that_is_not_the_one_asked_for_is_not_taken() {
    let (home, bytes) = (Home::new(), body(5000));
    let (plain, times) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::file(asked, &plain, "\"one\"").cut(3000),
        1 => Reply::status(206).header("Content-Range", "bytes 0-4999/5000"),
        _ => Reply::file(asked, &plain, "\"one\""),
    });
    assert_eq!(fs::read(home.fetch(&server.url("/net.pt")).unwrap().path).unwrap(), bytes);
    assert_eq!(ranges(&server.asked()), [None, Some("bytes=3000-"), None]);
}

#[test]
fn a_partial_file_of_other_bytes_does_not_spoil_one_whose_hash_is_known() {
    let (home, bytes) = (Home::new(), body(5000));
    let name = named("net", &bytes);
    fs::create_dir_all(home.checkpoints()).unwrap();
    fs::write(home.checkpoints().join(format!("{}.partial", &name[1..])), [1; 1000]).unwrap();
    let server = Server::of_file(bytes.clone());
    let fetched = home.fetch(&server.url(&name)).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), bytes);
    assert_eq!(ranges(&server.asked()), [Some("bytes=1000-"), None]);
    // One that is whole already only wants its name.
    let home = Home::new();
    fs::create_dir_all(home.checkpoints()).unwrap();
    fs::write(home.checkpoints().join(format!("{}.partial", &name[1..])), &bytes).unwrap();
    assert_eq!(home.fetch(&server.url(&name)).unwrap().moved, 0);
    assert_eq!(home.names(), [&name[1..]]);
}

#[test]
fn a_length_that_is_a_lie_is_no_whole_file() {
    // Too long: there is no more than it sends.
    let (home, bytes) = (Home::new(), body(5000));
    let plain = bytes.clone();
    let server = Server::start(move |_| Reply::bytes(plain.clone()).saying(6000));
    let said = sentence(home.fetch(&server.url("/net.pt")));
    assert!(said.contains("broke off after 5000 bytes of 6000"), "{said}");
    assert!(home.names().is_empty());
    // Too short: the hash tells.
    let plain = bytes.clone();
    let server = Server::start(move |_| Reply::bytes(plain.clone()).saying(4000));
    let said = sentence(home.fetch(&server.url(&named("net", &bytes))));
    assert!(said.contains("is expected: these are not the bytes that were meant"), "{said}");
    assert!(home.names().is_empty());
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_what_came_is_kept() {
    let (home, bytes) = (Home::new(), body(5000));
    let plain = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &plain, "\"one\"").cut(3000).silent());
    let options = home.options().retries(0).timeout(Duration::from_millis(200));
    let said = sentence(fetch(server.url("/net.pt"), &options));
    assert!(said.contains("sent nothing for too long; try it again; it goes on where it stopped"), "{said}");
    let partial = fs::read(home.checkpoints().join("net.pt.partial")).unwrap_or_default();
    assert!(bytes.starts_with(&partial));
}

#[test]
fn a_host_that_is_not_there_is_said() {
    let home = Home::new();
    // Of all ports the one that nobody listens at.
    let said = sentence(home.fetch("http://127.0.0.1:1/net.pt"));
    assert!(said.contains("there is no connection to 127.0.0.1:1: "), "{said}");
    assert!(home.names().is_empty());
}
