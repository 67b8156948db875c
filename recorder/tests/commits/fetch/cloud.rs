//! Objects in a store that speaks as S3 does, on the loopback: opened where they are, fetched once, gone on with after a break.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::source::{FetchOptions, fetch};
use rekindle_recorder::{Checkpoint, StateDict, Tensor};
use rekindle_testing::server::{Asked, Reply, Server};

use super::several::at_once;
use super::{Home, body, names, sentence};

const SOURCE: &str = "s3://bucket/runs/net.pt";

/// An object, and what becomes of the answers.
#[derive(Default)]
struct Store {
    bytes: Mutex<Vec<u8>>,
    changed: AtomicBool,
    /// So many of the answers with its bytes break off in the middle.
    breaks: AtomicUsize,
}

impl Store {
    fn of(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Store { bytes: Mutex::new(bytes), ..Store::default() })
    }

    fn serve(self: &Arc<Self>) -> Server {
        let this = Arc::clone(self);
        Server::start(move |asked| this.answer(asked))
    }

    fn answer(&self, asked: &Asked) -> Reply {
        if !asked.header("authorization").is_some_and(|it| it.starts_with("AWS4-HMAC-SHA256 Credential=me/")) {
            return Reply::status(403);
        }
        if asked.path != "/bucket/runs/net.pt" {
            return Reply::status(404);
        }
        let etag = if self.changed.load(Ordering::SeqCst) { "\"two\"" } else { "\"one\"" };
        if asked.header("if-match").is_some_and(|known| known != etag) {
            return Reply::status(412);
        }
        let reply = Reply::file(asked, &self.bytes.lock().unwrap(), etag);
        let reply = reply.header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");
        let breaks = |left: usize| left.checked_sub(1);
        let is_broken =
            asked.method == "GET" && self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, breaks).is_ok();
        if is_broken { reply.cut(1000) } else { reply }
    }
}

fn variables(server: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", server.url("")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "me".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_REGION", "eu-central-1".to_owned()),
    ]
}

fn options(home: &Home, server: &Server) -> FetchOptions {
    let cache = home.0.path().display().to_string();
    let variables = variables(server);
    let more: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    home.options_with(&[&more[..], &[("XDG_CACHE_HOME", &cache)]].concat())
}

fn gets(server: &Server) -> usize {
    server.asked().iter().filter(|asked| asked.method == "GET").count()
}

fn network() -> Vec<u8> {
    let weight = |i: u8| Tensor::from_vec(&[512, 512], vec![f32::from(i); 512 * 512]).unwrap();
    let dict: StateDict = (0_u8..16).map(|i| (format!("layer{i}.weight"), weight(i))).collect();
    Checkpoint::from(dict).to_bytes().unwrap()
}

#[test]
fn looking_into_an_object_moves_kilobytes_and_one_tensor_moves_itself() {
    let (home, store) = (Home::new(), Store::of(network()));
    let server = store.serve();
    let options = options(&home, &server);
    let open = || Checkpoint::open_source(SOURCE, &OpenOptions::default(), &options);
    let checkpoint = open().unwrap();
    assert_eq!(Inspection::of(&checkpoint, false).unwrap().tensors.len(), 16);
    assert_eq!(checkpoint.path().unwrap().to_str(), Some(SOURCE));
    assert!(server.sent() < 256 << 10, "{}", server.sent());
    let before = server.sent();
    let number = |name: &str| -> rekindle_recorder::Result<f32> {
        Ok(checkpoint.model_state_dict()?.get(name).unwrap().to_vec::<f32>()?[0])
    };
    assert_eq!(number("layer9.weight").unwrap(), 9.0);
    assert!((1 << 20..(1 << 20) + 4096).contains(&(server.sent() - before)));
    store.changed.store(true, Ordering::SeqCst);
    let said = number("layer3.weight").unwrap_err().to_string();
    let expected = "the file on s3://bucket is not the one any more that was opened; open it again";
    assert!(said.starts_with(SOURCE) && said.contains(expected), "{said}");
}

#[test]
fn an_object_is_fetched_once_in_each_of_its_versions() {
    let (home, store) = (Home::new(), Store::of(network()));
    let server = store.serve();
    let options = options(&home, &server);
    let bytes = network();
    let first = fetch(SOURCE, &options).unwrap();
    let path = home.0.path().join("rekindle/s3/bucket/runs/net.pt");
    assert_eq!((first.moved, &first.path), (bytes.len() as u64, &path));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(names(path.parent().unwrap()), [".net.pt.etag", "net.pt"]);
    let asked = gets(&server);
    assert_eq!((fetch(SOURCE, &options).unwrap().moved, gets(&server)), (0, asked));
    let checkpoint = Checkpoint::open_source(SOURCE, &OpenOptions::default(), &options).unwrap();
    assert_eq!((checkpoint.path(), gets(&server)), (Some(&*path), asked));
    *store.bytes.lock().unwrap() = body(5000);
    store.changed.store(true, Ordering::SeqCst);
    assert_eq!((fetch(SOURCE, &options).unwrap().moved, fs::read(&path).unwrap()), (5000, body(5000)));
    // Without the store what is there has to do.
    let all = server.asked().len();
    assert_eq!(fetch(SOURCE, &options.clone().offline(true)).unwrap().moved, 0);
    assert_eq!(server.asked().len(), all);
    let mine = home.0.path().join("mine");
    assert_eq!(fetch(SOURCE, &options.clone().dir(&mine)).unwrap().moved, 5000);
    assert_eq!(names(&mine), ["net.pt"]);
}

#[test]
fn after_a_break_an_object_is_gone_on_with_and_no_piece_comes_twice() {
    let (home, bytes) = (Home::new(), body(20 << 20));
    let store = Store::of(bytes.clone());
    let server = store.serve();
    let options = options(&home, &server);
    // It is asked again at once.
    store.breaks.store(1, Ordering::SeqCst);
    assert_eq!(fetch(SOURCE, &options).unwrap().moved, bytes.len() as u64);
    assert_eq!(gets(&server), 4);
    // Whoever gave up left what had come.
    let home = Home::new();
    let options = self::options(&home, &server);
    let (partial, folder) = ("net.pt.partial", home.0.path().join("rekindle/s3/bucket/runs"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(partial), &bytes[..9 << 20]).unwrap();
    fs::write(folder.join("net.pt.partial.etag"), "\"one\"").unwrap();
    store.breaks.store(1, Ordering::SeqCst);
    let said = sentence(fetch(SOURCE, &options.clone().retries(0)));
    assert!(said.starts_with(SOURCE), "{said}");
    assert_eq!(names(&folder), [partial, "net.pt.partial.etag"]);
    let fetched = fetch(SOURCE, &options).unwrap();
    assert_eq!((fetched.moved, fs::read(&fetched.path).unwrap()), (11 << 20, bytes.clone()));
    // What is of another version is not gone on with.
    fs::remove_file(&fetched.path).unwrap();
    fs::write(folder.join(partial), [1; 5000]).unwrap();
    fs::write(folder.join("net.pt.partial.etag"), "\"zero\"").unwrap();
    assert_eq!(fs::read(fetch(SOURCE, &options).unwrap().path).unwrap(), bytes);
}

#[test]
fn what_a_store_refuses_is_a_sentence_and_leaves_nothing() {
    let (home, store) = (Home::new(), Store::of(body(5000)));
    let server = store.serve();
    let options = options(&home, &server);
    let said = sentence(fetch("s3://bucket/other.pt", &options));
    assert!(said.starts_with("s3://bucket/other.pt: the server answered 404 Not Found"), "{said}");
    let said = sentence(fetch(SOURCE, &options.clone().sha256("00")));
    assert!(said.contains("00 is expected: these are not the bytes that were meant"), "{said}");
    assert!(names(&home.0.path().join("rekindle/s3/bucket/runs")).is_empty());
    let said = sentence(fetch(SOURCE, &options.clone().limit(4999)));
    assert!(said.contains("the file has 5000 bytes, and the limit is 4999"), "{said}");
    let of = |change: &dyn Fn(&mut Vec<(&str, String)>)| {
        let mut all = variables(&server);
        change(&mut all);
        let more: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, &**value)).collect();
        sentence(fetch(SOURCE, &home.options_with(&more)))
    };
    let said = of(&|all| all[2].1 = "you".to_owned());
    assert!(said.contains("AWS_ACCESS_KEY_ID") && !said.contains("secret"), "{said}");
    let said = of(&|all| drop(all.remove(1)));
    assert!(said.contains("AWS_ALLOW_HTTP"), "{said}");
    for wrong in ["s3://bucket", "s3://bucket/", "s3:///key", "gs://b/../key", "az://container/folder/"] {
        let said = sentence(fetch(wrong, &options));
        assert!(said.contains("://BUCKET/KEY"), "{said}");
    }
}

#[test]
fn eight_processes_at_once_fetch_an_object_once() {
    let (home, store) = (Home::new(), Store::of(body(3_000_000)));
    let server = store.serve();
    let cache = home.0.path().display().to_string();
    let mut variables: Vec<_> = variables(&server).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    variables.push(("XDG_CACHE_HOME".to_owned(), cache));
    if at_once("fetch::cloud::eight_processes_at_once_fetch_an_object_once", SOURCE, &variables) {
        return;
    }
    assert_eq!(gets(&server), 1);
    assert_eq!(fs::read(home.0.path().join("rekindle/s3/bucket/runs/net.pt")).unwrap(), body(3_000_000));
}

#[test]
fn objects_of_google_and_azure_are_opened_and_fetched_as_those_of_s3_are() {
    let bytes = network();
    let plain = bytes.clone();
    let server = Server::start(move |asked| {
        let is_it = ["/bucket/runs%2Fnet%2Ept", "/bucket/runs/net.pt"].contains(&&*asked.path);
        let reply = if is_it { Reply::file(asked, &plain, "\"one\"") } else { Reply::status(404) };
        reply.header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
    });
    let url = server.url("");
    let google: &[(&str, &str)] =
        &[("GOOGLE_BASE_URL", &url), ("GOOGLE_SKIP_SIGNATURE", "true"), ("GOOGLE_ALLOW_HTTP", "true")];
    let azure: &[(&str, &str)] = &[
        ("AZURE_STORAGE_ENDPOINT", &url),
        ("AZURE_STORAGE_ACCOUNT_NAME", "me"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
        ("AZURE_ALLOW_HTTP", "true"),
    ];
    for (scheme, variables) in [("gs", google), ("az", azure)] {
        let home = Home::new();
        let cache = home.0.path().display().to_string();
        let options = home.options_with(&[variables, &[("XDG_CACHE_HOME", &cache)]].concat());
        let source = format!("{scheme}://bucket/runs/net.pt");
        let before = server.sent();
        let checkpoint = Checkpoint::open_source(&source, &OpenOptions::default(), &options).unwrap();
        assert_eq!(checkpoint.model_state_dict().unwrap().len(), 16);
        assert!(server.sent() - before < 256 << 10);
        assert_eq!(fetch(&source, &options).unwrap().moved, bytes.len() as u64);
        assert_eq!(fetch(&source, &options).unwrap().moved, 0);
        let said = sentence(fetch(format!("{scheme}://bucket/other.pt"), &options));
        assert!(said.contains("404 Not Found"), "{said}");
    }
}
