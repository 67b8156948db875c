//! Objects in stores that speak as S3, Google's and Azure's do, on the loopback: opened where they are, fetched once, gone on with after
//! a break.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::source::{FetchOptions, fetch};
use rekindle_recorder::{Checkpoint, StateDict, Tensor};
use rekindle_testing::server::{Asked, Reply, Server};

use super::several::{at_once, is_one_of_several};
use super::{Home, body, names, sentence};

const SOURCE: &str = "s3://bucket/runs/net.pt";

/// A kind of store.
struct Kind {
    scheme: &'static str,
    /// What names the store to the program, which is at this address.
    variables: fn(&str) -> Vec<(&'static str, String)>,
    /// How the store is asked for the object.
    path: &'static str,
    /// How a question shows who asks.
    authorization: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        scheme: "s3",
        variables: |url| {
            vec![
                ("AWS_ENDPOINT_URL", url.to_owned()),
                ("AWS_ALLOW_HTTP", "true".to_owned()),
                ("AWS_ACCESS_KEY_ID", "me".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
                ("AWS_REGION", "eu-central-1".to_owned()),
            ]
        },
        path: "/bucket/runs/net.pt",
        authorization: "AWS4-HMAC-SHA256 Credential=me/",
    },
    Kind {
        scheme: "gs",
        variables: |url| {
            vec![
                ("GOOGLE_BASE_URL", url.to_owned()),
                ("GOOGLE_SKIP_SIGNATURE", "true".to_owned()),
                ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
            ]
        },
        path: "/bucket/runs%2Fnet%2Ept",
        authorization: "",
    },
    Kind {
        scheme: "az",
        variables: |url| {
            vec![
                ("AZURE_STORAGE_ENDPOINT", url.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_NAME", "me".to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0".to_owned()),
                ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ]
        },
        path: "/bucket/runs/net.pt",
        authorization: "SharedKey me:",
    },
];

impl Kind {
    fn source(&self) -> String {
        format!("{}://bucket/runs/net.pt", self.scheme)
    }

    /// Where the cache has it.
    fn folder(&self, home: &Home) -> PathBuf {
        home.0.path().join("rekindle").join(self.scheme).join("bucket/runs")
    }

    fn options(&self, home: &Home, server: &Server) -> FetchOptions {
        let cache = home.0.path().display().to_string();
        let variables = (self.variables)(&server.url(""));
        let more: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
        home.options_with(&[&more[..], &[("XDG_CACHE_HOME", &cache)]].concat())
    }
}

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
        let who = asked.header("authorization").unwrap_or_default();
        if !KINDS
            .iter()
            .any(|kind| who.starts_with(kind.authorization) && who.is_empty() == kind.authorization.is_empty())
        {
            return Reply::status(403);
        }
        if !KINDS.iter().any(|kind| asked.path == kind.path) {
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

fn options(home: &Home, server: &Server) -> FetchOptions {
    KINDS[0].options(home, server)
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
fn an_object_of_any_store_is_fetched_once_in_each_of_its_versions() {
    let bytes = network();
    for kind in &KINDS {
        let (home, store, source) = (Home::new(), Store::of(bytes.clone()), kind.source());
        let server = store.serve();
        let options = kind.options(&home, &server);
        let opened = Checkpoint::open_source(&source, &OpenOptions::default(), &options).unwrap();
        assert_eq!(opened.model_state_dict().unwrap().len(), 16);
        assert!(server.sent() < 256 << 10, "{source}: {}", server.sent());
        let first = fetch(&source, &options).unwrap();
        let folder = kind.folder(&home);
        let path = folder.join("net.pt");
        assert_eq!((first.moved, &first.path), (bytes.len() as u64, &path));
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(names(&folder), [".net.pt.etag", "net.pt"]);
        let asked = gets(&server);
        assert_eq!((fetch(&source, &options).unwrap().moved, gets(&server)), (0, asked));
        let checkpoint = Checkpoint::open_source(&source, &OpenOptions::default(), &options).unwrap();
        assert_eq!((checkpoint.path(), gets(&server)), (Some(&*path), asked));
        *store.bytes.lock().unwrap() = body(5000);
        store.changed.store(true, Ordering::SeqCst);
        assert_eq!((fetch(&source, &options).unwrap().moved, fs::read(&path).unwrap()), (5000, body(5000)));
        // Without the store what is there has to do.
        let all = server.asked().len();
        assert_eq!(fetch(&source, &options.clone().offline(true)).unwrap().moved, 0);
        assert_eq!(server.asked().len(), all);
        let mine = home.0.path().join("mine");
        assert_eq!(fetch(&source, &options.clone().dir(&mine)).unwrap().moved, 5000);
        assert_eq!(names(&mine), ["net.pt"]);
        let said = sentence(fetch(format!("{}://bucket/other.pt", kind.scheme), &options));
        assert!(said.contains("404 Not Found"), "{said}");
    }
}

#[test]
fn after_a_break_an_object_is_gone_on_with_and_no_piece_comes_twice() {
    let bytes = body(20 << 20);
    for kind in &KINDS {
        let (home, store, source) = (Home::new(), Store::of(bytes.clone()), kind.source());
        let server = store.serve();
        // It is asked again at once.
        store.breaks.store(1, Ordering::SeqCst);
        assert_eq!(fetch(&source, &kind.options(&home, &server)).unwrap().moved, bytes.len() as u64);
        assert_eq!(gets(&server), 4);
        // Whoever gave up left what had come: to any byte.
        let (partial, partial_etag) = ("net.pt.partial", "net.pt.partial.etag");
        for there in [1, (8 << 20) - 1, 9 << 20, bytes.len() - 1001] {
            let home = Home::new();
            let (options, folder) = (kind.options(&home, &server), kind.folder(&home));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(partial), &bytes[..there]).unwrap();
            fs::write(folder.join(partial_etag), "\"one\"").unwrap();
            store.breaks.store(1, Ordering::SeqCst);
            let said = sentence(fetch(&source, &options.clone().retries(0)));
            assert!(said.starts_with(&source), "{said}");
            assert_eq!(names(&folder), [partial, partial_etag]);
            let fetched = fetch(&source, &options).unwrap();
            assert_eq!(
                (fetched.moved, fs::read(&fetched.path).unwrap()),
                ((bytes.len() - there) as u64, bytes.clone())
            );
        }
        // What is of another version is not gone on with.
        let home = Home::new();
        let (options, folder) = (kind.options(&home, &server), kind.folder(&home));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(partial), [1; 5000]).unwrap();
        fs::write(folder.join(partial_etag), "\"zero\"").unwrap();
        assert_eq!(fs::read(fetch(&source, &options).unwrap().path).unwrap(), bytes);
    }
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
        let mut all = (KINDS[0].variables)(&server.url(""));
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
    let name = "fetch::cloud::eight_processes_at_once_fetch_an_object_once";
    if is_one_of_several() {
        at_once(name, "", &[]);
        return;
    }
    for kind in &KINDS {
        let (home, store) = (Home::new(), Store::of(body(3_000_000)));
        let server = store.serve();
        let mut variables: Vec<(String, String)> =
            (kind.variables)(&server.url("")).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        variables.push(("XDG_CACHE_HOME".to_owned(), home.0.path().display().to_string()));
        at_once(name, &kind.source(), &variables);
        assert_eq!(gets(&server), 1, "{}", kind.scheme);
        assert_eq!(fs::read(kind.folder(&home).join("net.pt")).unwrap(), body(3_000_000));
    }
}
