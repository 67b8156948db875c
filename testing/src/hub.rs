//! `Hub`: a small Hugging Face Hub on the loopback, with one repository, `org/net`: files in git, large ones on another server.

use std::sync::{Arc, Mutex, PoisonError};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::server::{Asked, Reply, Server};

/// The commit that `main` is at, at first.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The one that it may move on to.
pub const NEXT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// What the Hub has: a file's name, its bytes, and whether it is a large one.
pub type Files = Vec<(&'static str, Vec<u8>, bool)>;

/// The Hub; it goes with this.
#[derive(Debug)]
pub struct Hub {
    /// What is asked.
    pub server: Server,
    /// Where large files are.
    pub cdn: Arc<Server>,
    main: Arc<Mutex<&'static str>>,
    cut: Arc<Mutex<Option<usize>>>,
}

impl Hub {
    /// With these files; whoever has another token than this, where there is one, is refused.
    pub fn of(files: Files, token: Option<&'static str>) -> Self {
        let main = Arc::new(Mutex::new(COMMIT));
        let files = Arc::new(files);
        let large = Arc::clone(&files);
        let cut: Arc<Mutex<Option<usize>>> = Arc::default();
        let once = Arc::clone(&cut);
        let cdn = Arc::new(Server::start(move |asked| {
            let file = large.iter().find(|(name, ..)| asked.path.starts_with(&format!("/cdn/{name}?")));
            let reply = file.map_or_else(|| Reply::status(404), |(_, bytes, _)| Reply::file(asked, bytes, "\"cdn\""));
            match once.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(at) => reply.cut(at),
                None => reply,
            }
        }));
        let (head, to) = (Arc::clone(&main), Arc::clone(&cdn));
        let server = Server::start(move |asked| {
            if token.is_some_and(|token| asked.header("authorization") != Some(&format!("Bearer {token}"))) {
                return Reply::status(401);
            }
            answer(asked, &files, *head.lock().unwrap_or_else(PoisonError::into_inner), &to)
        });
        Hub { server, cdn, main, cut }
    }

    /// The branch moves on.
    pub fn move_on(&self) {
        *self.main.lock().unwrap_or_else(PoisonError::into_inner) = NEXT;
    }

    /// The next answer with a large file breaks off after so many bytes.
    pub fn break_once(&self, at: usize) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// How often a large file was sent.
    pub fn downloads(&self) -> usize {
        self.cdn.asked().iter().filter(|asked| asked.method == "GET").count()
    }
}

fn answer(asked: &Asked, files: &Files, main: &str, cdn: &Server) -> Reply {
    if let Some(revision) = asked.path.strip_prefix("/api/models/org/net/revision/") {
        let commit = if revision == "main" { main } else { revision };
        let siblings: Vec<_> = files.iter().map(|(name, ..)| serde_json::json!({"rfilename": name})).collect();
        return Reply::bytes(serde_json::json!({"sha": commit, "siblings": siblings}).to_string());
    }
    // A repository that was renamed.
    if let Some(rest) = asked.path.strip_prefix("/org/old/") {
        return Reply::redirect(&format!("/org/net/{rest}"));
    }
    let Some((revision, name)) = asked.path.strip_prefix("/org/net/resolve/").and_then(|rest| rest.split_once('/'))
    else {
        return Reply::status(404);
    };
    let commit = match revision {
        "main" | "refs%2Fpr%2F7" => main,
        COMMIT | NEXT => revision,
        _ => return Reply::status(404),
    };
    let Some((_, bytes, large)) = files.iter().find(|(known, ..)| *known == name) else {
        return Reply::status(404).header("X-Repo-Commit", commit);
    };
    if *large {
        let to = cdn.url(&format!("/cdn/{name}?signature=x"));
        let etag = format!("\"{}\"", sha256(bytes));
        let reply = Reply::redirect(&to).header("X-Linked-Etag", &etag).header("ETag", "\"another\"");
        return reply.header("X-Linked-Size", &bytes.len().to_string()).header("X-Repo-Commit", commit);
    }
    Reply::file(asked, bytes, &format!("\"{}\"", git_blob(bytes))).header("X-Repo-Commit", commit)
}

/// As `git hash-object` names it.
pub fn git_blob(bytes: &[u8]) -> String {
    let mut digest = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    digest.update(bytes);
    hex(&digest.finalize())
}

/// As `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
