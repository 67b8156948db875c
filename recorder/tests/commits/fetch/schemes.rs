//! The sources that are names, end to end: a mirror on the loopback has the files that they stand for, and a small Hub those of
//! `hf://`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rekindle_recorder::Checkpoint;
use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::source::fetch;
use rekindle_testing::server::{Reply, Server};

use super::{Home, body, sentence};

/// A name, the place of its file at a mirror, and the file's name in the cache.
pub(super) struct Scheme {
    pub(super) source: &'static str,
    path: &'static str,
    pub(super) name: &'static str,
}

const RESNET18: &str = "/download.pytorch.org/models/resnet18-f37072fd.pth";
const CAFFE: &str = "/download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth";
const VGG11: &str = "/download.openmmlab.com/mmclassification/v0/vgg/vgg11_batch256_imagenet_20210208-4271cd6c.pth";

pub(super) const SCHEMES: [Scheme; 9] = [
    Scheme { source: "torchvision://resnet18", path: RESNET18, name: "resnet18-f37072fd.pth" },
    Scheme { source: "torchvision://resnet18/DEFAULT", path: RESNET18, name: "resnet18-f37072fd.pth" },
    Scheme { source: "modelzoo://resnet18", path: RESNET18, name: "resnet18-f37072fd.pth" },
    Scheme { source: "pytorch://models/resnet18-f37072fd.pth", path: RESNET18, name: "resnet18-f37072fd.pth" },
    Scheme { source: "pytorch://download.pytorch.org/a/b.pth", path: "/download.pytorch.org/a/b.pth", name: "b.pth" },
    Scheme { source: "https://download.pytorch.org/a/b.pth?x", path: "/download.pytorch.org/a/b.pth?x", name: "b.pth" },
    Scheme { source: "open-mmlab://resnet50_caffe", path: CAFFE, name: "resnet50_caffe-788b5fa3.pth" },
    Scheme { source: "openmmlab://resnet50_caffe", path: CAFFE, name: "resnet50_caffe-788b5fa3.pth" },
    Scheme { source: "mmcls://vgg11", path: VGG11, name: "vgg11_batch256_imagenet_20210208-4271cd6c.pth" },
];

const LENGTH: usize = 300_000;

/// A mirror with the same bytes at every path below one of the servers that it is of; its first answer may break off.
pub(super) fn mirror(cut: Option<usize>) -> Server {
    let bytes = body(LENGTH);
    let is_first = Arc::new(AtomicBool::new(true));
    Server::start(move |asked| {
        if !["/download.pytorch.org/", "/download.openmmlab.com/"].iter().any(|host| asked.path.starts_with(host)) {
            return Reply::status(404);
        }
        let reply = Reply::file(asked, &bytes, "\"one\"");
        match cut {
            Some(at) if is_first.swap(false, Ordering::SeqCst) => reply.cut(at),
            _ => reply,
        }
    })
}

#[test]
fn what_a_name_stands_for_is_fetched_once_and_gone_on_with_after_a_break() {
    for Scheme { source, path, name } in SCHEMES {
        let (server, home) = (mirror(None), Home::new());
        let options = home.options_with(&[("REKINDLE_MIRROR", &server.url(""))]).check_hash(false);
        let first = fetch(source, &options).unwrap();
        assert_eq!((first.moved, first.path), (LENGTH as u64, home.checkpoints().join(name)), "{source}");
        assert_eq!(fetch(source, &options).unwrap().moved, 0, "{source}");
        assert_eq!(server.asked().iter().map(|asked| &*asked.path).collect::<Vec<_>>(), [path]);
        for at in [1, 100_000, LENGTH - 1] {
            let (server, home) = (mirror(Some(at)), Home::new());
            let options = home.options_with(&[("REKINDLE_MIRROR", &server.url("/"))]).check_hash(false);
            let said = sentence(fetch(source, &options.clone().retries(0)));
            assert!(said.contains(&format!("broke off after {at} bytes of {LENGTH}")), "{said}");
            let rest = fetch(source, &options).unwrap();
            assert_eq!((rest.moved, fs::read(&rest.path).unwrap()), ((LENGTH - at) as u64, body(LENGTH)), "{source}");
            assert_eq!(home.names(), [name], "{source}");
        }
    }
}

#[test]
fn a_mirror_with_other_bytes_than_a_names_is_refused_and_leaves_nothing() {
    let (server, home) = (mirror(None), Home::new());
    let options = home.options_with(&[("REKINDLE_MIRROR", &server.url(""))]);
    for (source, hash) in [("torchvision://resnet18", "f37072fd"), ("open-mmlab://resnet50_caffe", "788b5fa3")] {
        let said = sentence(fetch(source, &options));
        assert!(said.contains(&format!("{hash} is expected: these are not the bytes that were meant")), "{said}");
        assert!(home.names().is_empty());
    }
    // What was taken from the cache is not asked for.
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_a_mirror_lacks_is_said_of_the_mirror() {
    let (server, home) = (Server::start(|_| Reply::status(404)), Home::new());
    let mirror = server.url("").replace("http://", "http://me:secret@");
    let options = home.options_with(&[("REKINDLE_MIRROR", &mirror)]);
    for Scheme { source, path, .. } in SCHEMES {
        let place = format!("{}{path}", server.url(""));
        let opened = Checkpoint::open_source(source, &OpenOptions::default(), &options).unwrap_err().to_string();
        for said in [sentence(fetch(source, &options)), opened] {
            assert!(said.contains("404 Not Found") && said.contains("REKINDLE_MIRROR"), "{said}");
            assert!(said.contains(&place) && !said.contains("secret"), "{said}");
        }
    }
}

#[test]
fn a_mirror_gets_neither_the_users_name_nor_a_token() {
    let (server, home) = (mirror(None), Home::new());
    let options = home.options_with(&[("REKINDLE_MIRROR", &server.url("")), ("HF_TOKEN", "hf_secret")]);
    fetch("https://me:secret@download.pytorch.org/a/b.pth", &options).unwrap();
    // Files of other servers are not asked for there.
    let other = Server::of_file("bytes");
    fetch(other.url("/c.pth"), &options).unwrap();
    assert_eq!((server.asked().len(), other.asked().len()), (1, 1));
    assert_eq!(server.asked()[0].header("authorization"), None);
    let wrong = home.options_with(&[("REKINDLE_MIRROR", "ftp://host")]);
    let said = sentence(fetch("torchvision://resnet50", &wrong));
    assert!(said.contains("'ftp://'"), "{said}");
}

#[test]
fn the_hub_is_asked_once_and_gone_on_with_after_a_break() {
    let bytes = super::hub::weights("fc.weight");
    for source in ["hf://org/net", "hf://org/net@main", "hf://org/net/model.safetensors", "hf://models/org/net@main"] {
        for at in [None, Some(1), Some(bytes.len() - 1)] {
            let (hub, home) = (super::hub::small(), Home::new());
            let options = home.options_with(&[("HF_ENDPOINT", &hub.server.url(""))]);
            if let Some(at) = at {
                hub.break_once(at);
                let said = sentence(fetch(source, &options.clone().retries(0)));
                assert!(said.contains(&format!("broke off after {at} bytes")), "{said}");
            }
            let fetched = fetch(source, &options).unwrap();
            assert_eq!(fs::read(&fetched.path).unwrap(), bytes, "{source}");
            let sent = (hub.cdn.sent(), hub.downloads());
            assert_eq!(fetch(source, &options).unwrap().moved, 0, "{source}");
            assert_eq!((hub.cdn.sent(), hub.downloads()), sent, "{source}");
        }
    }
}

#[test]
fn a_name_is_opened_where_its_file_is() {
    let zip = {
        let dict = rekindle_recorder::StateDict::from_iter([(
            "fc.weight",
            rekindle_recorder::Tensor::from_vec(&[2], vec![0.5_f32, -0.5]).unwrap(),
        )]);
        Checkpoint::from(dict).to_bytes().unwrap()
    };
    let server = Server::start(move |asked| Reply::file(asked, &zip, "\"one\""));
    let home = Home::new();
    let options = home.options_with(&[("REKINDLE_MIRROR", &server.url(""))]);
    let checkpoint = Checkpoint::open_source("torchvision://resnet18", &OpenOptions::default(), &options).unwrap();
    assert_eq!(checkpoint.model_state_dict().unwrap().len(), 1);
    assert!(server.asked().iter().all(|asked| asked.header("range").is_some()) && home.names().is_empty());
}
