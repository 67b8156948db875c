//! Checkpoints that are opened where they are: the directory and the pickle come, and a tensor when it is asked for.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::source::FetchOptions;
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::{Checkpoint, DType, Dict, Result, Source, StateDict, Storage, Tensor};
use rekindle_testing::hub::{COMMIT, Hub};
use rekindle_testing::server::{Reply, Server};

use super::{Home, named, names};

const MEGABYTE: usize = 1 << 20;

/// A network of so many layers of a mebibyte, each of its own number.
fn layers(count: u16) -> StateDict {
    let weight = |i: u16| Tensor::from_vec(&[512, 512], vec![f32::from(i); 512 * 512]).unwrap();
    (0..count).map(|i| (format!("layer{i}.weight"), weight(i))).collect()
}

fn bytes(dict: &StateDict, format: Format) -> Vec<u8> {
    let root = Dict::new();
    root.insert("epoch", 7);
    root.insert("model", dict.clone());
    let checkpoint = if format == Format::ZIP { Checkpoint::from(root) } else { Checkpoint::from(dict.clone()) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net");
    checkpoint.save_with(&path, &SaveOptions::default().format(format)).unwrap();
    std::fs::read(path).unwrap()
}

fn open(source: &str, fetch: &FetchOptions) -> Result<Checkpoint> {
    Checkpoint::open_source(source, &OpenOptions::default(), fetch)
}

fn sentence<T>(result: Result<T>) -> String {
    let error = result.err().expect("an error is expected").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn numbers(checkpoint: &Checkpoint, layer: u16) -> Result<Vec<f32>> {
    let dict = checkpoint.model_state_dict()?;
    dict.get(&format!("layer{layer}.weight")).unwrap().to_vec::<f32>()
}

#[test]
fn looking_into_64_mb_moves_kilobytes_and_one_tensor_moves_itself() {
    for format in [Format::ZIP, Format::SAFETENSORS] {
        let (home, bytes) = (Home::new(), bytes(&layers(64), format));
        assert!(bytes.len() > 64 * MEGABYTE);
        let server = Server::of_file(bytes.clone());
        let url = server.url(&named("net", &bytes));
        let checkpoint = open(&url, &home.options()).unwrap();
        let inspection = Inspection::of(&checkpoint, false).unwrap();
        assert_eq!((inspection.tensors.len(), inspection.bytes), (64, bytes.len() as u64));
        assert_eq!(checkpoint.path().unwrap().to_str(), Some(&*url));
        assert!(server.sent() < 256 << 10, "{format}: {} bytes", server.sent());
        let before = server.sent();
        assert_eq!(numbers(&checkpoint, 40).unwrap(), vec![40.0; 512 * 512]);
        let moved = usize::try_from(server.sent() - before).unwrap();
        assert!((MEGABYTE..MEGABYTE + 4096).contains(&moved), "{format}: {moved} bytes");
        // Twice is once.
        assert_eq!(numbers(&checkpoint, 40).unwrap(), vec![40.0; 512 * 512]);
        assert_eq!(server.sent() - before, moved as u64);
        assert!(server.asked().iter().all(|asked| asked.header("range").is_some()));
        assert!(server.asked()[1..].iter().all(|asked| asked.header("if-range") == Some("\"one\"")));
        assert!(home.names().is_empty(), "nothing goes into a cache");
    }
}

/// What was written, but for what is long, which is zeros.
#[derive(Default)]
struct Sparse {
    pieces: Vec<(usize, Vec<u8>)>,
    length: usize,
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() < 32 << 10 {
            self.pieces.push((self.length, bytes.to_vec()));
        }
        self.length += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sparse {
    fn read(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        assert!(range.len() < MEGABYTE, "{range:?} is asked for");
        let mut bytes = vec![0; range.len()];
        for (at, piece) in &self.pieces {
            let (from, to) = (range.start.max(*at), range.end.min(at + piece.len()));
            if from < to {
                bytes[from - range.start..to - range.start].copy_from_slice(&piece[from - at..to - at]);
            }
        }
        bytes
    }
}

/// So many zeros.
struct Zeros(u64);

impl Source for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self) -> Result<Bytes> {
        panic!("nobody has so much memory")
    }

    fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let zeros = vec![0; MEGABYTE];
        (0..self.0 / MEGABYTE as u64).try_for_each(|_| sink(&zeros))
    }

    fn copies(&self) -> bool {
        true
    }
}

#[test]
fn looking_into_10_gb_moves_kilobytes() {
    let length = 10_u64 << 30;
    let storage = Storage::from_source(DType::UInt8, "cpu", Zeros(length));
    let shape = vec![usize::try_from(length).unwrap()];
    let huge = Tensor::new(TensorParts::strided(DType::UInt8, shape.clone(), storage, 0, vec![1])).unwrap();
    let small = Tensor::from_vec(&[3], vec![1.0_f32, 2.0, 3.0]).unwrap();
    let dict = StateDict::from_iter([("embedding.weight", huge), ("fc.bias", small)]);
    let mut sparse = Sparse::default();
    Checkpoint::from(dict).write_to(&mut sparse, &SaveOptions::default()).unwrap();
    let total = sparse.length;
    assert!(total as u64 > length);
    let server = Server::start(move |asked| Reply::of_file(asked, total, "\"one\"", |range| sparse.read(range)));
    let home = Home::new();
    let checkpoint = open(&server.url("/huge.pt"), &home.options()).unwrap();
    let inspection = Inspection::of(&checkpoint, false).unwrap();
    assert_eq!((inspection.bytes, &inspection.tensors[0].shape), (total as u64, &shape));
    let dict = checkpoint.model_state_dict().unwrap();
    assert_eq!(dict.get("fc.bias").unwrap().to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    assert!(server.sent() < 256 << 10, "{} bytes", server.sent());
    // What is over the limit is not begun with.
    let said = sentence(open(&server.url("/huge.pt"), &home.options().limit(1 << 30)));
    assert!(said.contains(&format!("the file has {total} bytes, and the limit is {}", 1 << 30)), "{said}");
}

#[test]
fn what_is_in_a_cache_is_opened_there() {
    let (home, bytes) = (Home::new(), bytes(&layers(2), Format::ZIP));
    let server = Server::of_file(bytes.clone());
    let url = server.url(&named("net", &bytes));
    let path = home.fetch(&url).unwrap().path;
    let asked = server.asked().len();
    let checkpoint = open(&url, &home.options()).unwrap();
    assert_eq!((checkpoint.path(), numbers(&checkpoint, 1).unwrap()[0]), (Some(&*path), 1.0));
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn without_ranges_or_a_version_or_where_all_is_wanted_the_file_is_fetched_once() {
    let zip = bytes(&layers(2), Format::ZIP);
    let legacy = bytes(&layers(2), Format::LEGACY);
    let several = [zip.clone(), zip.clone()].concat();
    let plain = zip.clone();
    let no_ranges = Server::start(move |_| Reply::bytes(plain.clone()).header("ETag", "\"one\""));
    let plain = zip.clone();
    let no_version = Server::start(move |asked| {
        let end = plain.len() - 1;
        match asked.header("range") {
            Some(_) => Reply::status(206).header("Content-Range", &format!("bytes 0-65535/{end}")),
            None => Reply::bytes(plain.clone()),
        }
    });
    let sources = [
        (no_ranges, zip.len()),
        (no_version, zip.len()),
        (Server::of_file(legacy.clone()), legacy.len()),
        (Server::of_file(several.clone()), several.len()),
    ];
    for (server, length) in sources {
        let home = Home::new();
        let checkpoint = open(&server.url("/net.pt"), &home.options()).unwrap();
        assert_eq!(checkpoint.path().unwrap(), home.checkpoints().join("net.pt"));
        assert_eq!(std::fs::metadata(home.checkpoints().join("net.pt")).unwrap().len(), length as u64);
        assert_eq!(numbers(&checkpoint, 1).unwrap()[0], 1.0);
        let asked = server.asked().len();
        open(&server.url("/net.pt"), &home.options()).unwrap();
        assert_eq!(server.asked().len(), asked, "the second time it is in the cache");
    }
    // A hash is of all bytes, and a folder wants them.
    let server = Server::of_file(zip.clone());
    let home = Home::new();
    let said = sentence(open(&server.url("/net.pt"), &home.options().sha256("00")));
    assert!(said.contains("00 is expected"), "{said}");
    let mine = home.0.path().join("mine");
    open(&server.url("/net.pt"), &home.options().dir(&mine)).unwrap();
    assert_eq!(names(&mine), ["net.pt"]);
    let said = sentence(open(&server.url("/net.pt"), &home.options().offline(true)));
    assert!(said.contains("it is not in the cache"), "{said}");
}

#[test]
fn a_file_that_changes_meanwhile_is_an_error() {
    // With `If-Range`, as it should be, and by a server that does not know that header.
    for obeys in [true, false] {
        let (home, bytes, changed) = (Home::new(), bytes(&layers(3), Format::ZIP), Arc::new(AtomicBool::new(false)));
        let is_changed = Arc::clone(&changed);
        let server = Server::start(move |asked| {
            let etag = if is_changed.load(Ordering::SeqCst) { "\"two\"" } else { "\"one\"" };
            let reply = Reply::file(asked, &bytes, etag);
            if obeys { reply } else { Reply::file(&asked.without("if-range"), &bytes, etag) }
        });
        let checkpoint = open(&server.url("/net.pt"), &home.options()).unwrap();
        assert_eq!(numbers(&checkpoint, 1).unwrap()[0], 1.0);
        changed.store(true, Ordering::SeqCst);
        let said = sentence(numbers(&checkpoint, 2));
        let expected = format!("the file on {} is not the one any more that was opened; open it again", server.host());
        assert!(said.starts_with(&server.url("/net.pt: ")) && said.contains(&expected), "{said}");
        // What came before stays what it was.
        assert_eq!(numbers(&checkpoint, 1).unwrap()[0], 1.0);
        assert!(open(&server.url("/net.pt"), &home.options()).is_ok());
    }
}

#[test]
fn a_range_that_is_not_the_one_asked_for_is_an_error_and_a_break_is_gone_on_after() {
    let lies: [fn(Reply, usize) -> Reply; 3] = [
        |_, length| Reply::status(206).header("Content-Range", &format!("bytes 0-65535/{length}")),
        |_, length| Reply::bytes("x").header("Content-Range", &format!("bytes 5-5/{length}")),
        |_, length| Reply::bytes(vec![0; length]).header("ETag", "\"one\""),
    ];
    for lie in lies {
        let (home, bytes, times) = (Home::new(), bytes(&layers(3), Format::ZIP), AtomicUsize::new(0));
        let server = Server::start(move |asked| {
            let reply = Reply::file(asked, &bytes, "\"one\"");
            // The head and the end are true.
            if times.fetch_add(1, Ordering::SeqCst) < 2 { reply } else { lie(reply, bytes.len()) }
        });
        let checkpoint = open(&server.url("/net.pt"), &home.options()).unwrap();
        let said = sentence(numbers(&checkpoint, 2));
        assert!(said.contains("answered what cannot be understood: other bytes than those from "), "{said}");
    }
    let (home, bytes, times) = (Home::new(), bytes(&layers(3), Format::ZIP), AtomicUsize::new(0));
    let server = Server::start(move |asked| {
        let reply = Reply::file(asked, &bytes, "\"one\"");
        match times.fetch_add(1, Ordering::SeqCst) {
            2 => reply.cut(700_000),
            3 => Reply::status(503).header("Retry-After", "0"),
            _ => reply,
        }
    });
    let checkpoint = open(&server.url("/net.pt"), &home.options()).unwrap();
    assert_eq!(numbers(&checkpoint, 2).unwrap(), vec![2.0; 512 * 512]);
    let starts = |at: usize| {
        let range = server.asked()[at].header("range").unwrap().to_owned();
        range.strip_prefix("bytes=").unwrap().split_once('-').unwrap().0.parse::<usize>().unwrap()
    };
    assert_eq!((starts(3) - starts(2), starts(4)), (700_000, starts(3)));
}

#[test]
fn a_repository_is_opened_by_its_index_and_the_headers_of_its_shards() {
    let map = serde_json::json!({"metadata": {}, "weight_map": {
        "layer0.weight": "model-00001-of-00002.safetensors", "layer1.weight": "model-00002-of-00002.safetensors",
    }});
    let shard = |i: u16| {
        let dict: StateDict = layers(2)
            .iter()
            .filter(|(name, _)| name.starts_with(&format!("layer{i}")))
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        bytes(&dict, Format::SAFETENSORS)
    };
    let files = vec![
        ("config.json", b"{}\n".to_vec(), false),
        ("model-00001-of-00002.safetensors", shard(0), true),
        ("model-00002-of-00002.safetensors", shard(1), true),
        ("model.safetensors.index.json", map.to_string().into_bytes(), false),
    ];
    let (hub, home) = (Hub::of(files, Some("hf_secret")), Home::new());
    let options = home.options_with(&[("HF_ENDPOINT", &hub.server.url("")), ("HF_TOKEN", "hf_secret")]);
    let checkpoint = open("hf://org/net", &options).unwrap();
    assert_eq!(checkpoint.format(), Some(Format::HF));
    assert_eq!(Inspection::of(&checkpoint, false).unwrap().tensors.len(), 2);
    assert!(hub.cdn.sent() < 256 << 10, "{}", hub.cdn.sent());
    let before = hub.cdn.sent();
    assert_eq!(numbers(&checkpoint, 1).unwrap(), vec![1.0; 512 * 512]);
    assert!(hub.cdn.sent() - before < (MEGABYTE + 4096) as u64);
    assert!(hub.cdn.asked().iter().all(|asked| asked.header("authorization").is_none()));
    // The index and what lies beside it are in the cache, and a file alone is opened so, too.
    let snapshot = home.0.path().join("hf/hub/models--org--net/snapshots").join(COMMIT);
    assert_eq!(names(&snapshot), ["config.json", "model.safetensors.index.json"]);
    let one = open("hf://org/net/model-00001-of-00002.safetensors", &options).unwrap();
    assert_eq!(numbers(&one, 0).unwrap()[0], 0.0);
    // Once it is in the cache, it is opened there.
    rekindle_recorder::source::fetch("hf://org/net", &options).unwrap();
    let (asked, sent) = (hub.cdn.asked().len(), hub.cdn.sent());
    let cached = open("hf://org/net", &options).unwrap();
    assert_eq!(numbers(&cached, 1).unwrap()[0], 1.0);
    assert_eq!((hub.cdn.asked().len(), hub.cdn.sent()), (asked, sent));
}
