//! `Server`: an HTTP server on the loopback that answers what a test says, right or wrong, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, `HEAD`, `CONNECT`, ...
    pub method: String,
    /// The path with its query; the host and port of a `CONNECT`.
    pub path: String,
    /// Names in small letters.
    headers: Vec<(String, String)>,
}

impl Asked {
    /// A header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Asked {
    /// The same without a header, as by a server that does not know it.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let headers = self.headers.iter().filter(|(known, _)| known != name).cloned().collect();
        Asked { headers, ..self.clone() }
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: Option<u64>,
    cut: Option<usize>,
    silent: bool,
}

impl Reply {
    /// This status, and nothing.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Reply { status, ..Reply::default() }
    }

    /// 200 with these bytes.
    #[must_use]
    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Reply { status: 200, body: body.into(), ..Reply::default() }
    }

    /// To another place.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        Reply::status(302).header("Location", location)
    }

    /// A file as a good server gives it: whole, or the range that is asked for where `If-Range` is its `ETag`.
    #[must_use]
    pub fn file(asked: &Asked, body: &[u8], etag: &str) -> Self {
        Reply::of_file(asked, body.len(), etag, |range| body[range].to_vec())
    }

    /// The same of a file of so many bytes, which need not be anywhere: `read` gives those of a range.
    #[must_use]
    pub fn of_file(asked: &Asked, length: usize, etag: &str, read: impl Fn(Range<usize>) -> Vec<u8>) -> Self {
        let head = Reply::status(200).header("ETag", etag).header("Accept-Ranges", "bytes");
        let range = asked.header("range").and_then(|range| range.strip_prefix("bytes="));
        let same = asked.header("if-range").is_none_or(|known| known == etag);
        let parts = range.filter(|_| same).and_then(|range| range.split_once('-'));
        let part = parts.and_then(|(from, to)| match (from.parse::<usize>(), to.parse::<usize>()) {
            (Ok(from), to) => Some((from, to.map_or(length, |to| length.min(to + 1)))),
            (Err(_), Ok(last)) => Some((length.saturating_sub(last), length)),
            _ => None,
        });
        match part {
            _ if asked.method == "HEAD" => head.saying(length as u64),
            None => Reply { body: read(0..length), ..head },
            Some((from, _)) if from >= length => {
                Reply::status(416).header("Content-Range", &format!("bytes */{length}"))
            }
            Some((from, to)) => {
                let range = format!("bytes {from}-{}/{length}", to - 1);
                Reply { status: 206, body: read(from..to), ..head }.header("Content-Range", &range)
            }
        }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a `Content-Length` that is not that of the body.
    #[must_use]
    pub fn saying(self, length: u64) -> Self {
        Reply { length: Some(length), ..self }
    }

    /// The connection is closed after so many bytes of the body.
    #[must_use]
    pub fn cut(self, at: usize) -> Self {
        Reply { cut: Some(at), ..self }
    }

    /// Behind the bytes that it sends, it says nothing more until the server goes.
    #[must_use]
    pub fn silent(self) -> Self {
        Reply { silent: true, ..self }
    }
}

/// The server; it goes with this.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
    gone: Arc<AtomicBool>,
}

impl Server {
    /// Answers every question by calling this, each in a thread of its own.
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server { address, asked: Arc::default(), sent: Arc::default(), gone: Arc::default() };
        let (asked, gone, answer) = (Arc::clone(&server.asked), Arc::clone(&server.gone), Arc::new(answer));
        let sent = Arc::clone(&server.sent);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                let (asked, gone, answer) = (Arc::clone(&asked), Arc::clone(&gone), Arc::clone(&answer));
                let sent = Arc::clone(&sent);
                std::thread::spawn(move || {
                    let Some(question) = read(&stream) else { return };
                    asked.lock().unwrap_or_else(PoisonError::into_inner).push(question.clone());
                    let reply = answer(&question);
                    if question.method != "HEAD" {
                        sent.fetch_add(reply.body.len() as u64, Ordering::SeqCst);
                    }
                    // A client that has gone away is no matter.
                    let _ = write(&stream, &question, &reply, &gone);
                });
            }
        });
        server
    }

    /// A server with one file at every path, as a good one gives it.
    pub fn of_file(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Server::start(move |asked| Reply::file(asked, &body, "\"one\""))
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Server {
    /// How many bytes of bodies it was about to send so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some(Asked { method, path, headers })
}

fn write(mut stream: &TcpStream, asked: &Asked, reply: &Reply, gone: &AtomicBool) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {} Whatever\r\nConnection: close\r\n", reply.status)?;
    write!(stream, "Content-Length: {}\r\n", reply.length.unwrap_or(reply.body.len() as u64))?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    if asked.method != "HEAD" {
        let end = reply.cut.map_or(reply.body.len(), |cut| cut.min(reply.body.len()));
        stream.write_all(&reply.body[..end])?;
    }
    stream.flush()?;
    while reply.silent && !gone.load(Ordering::SeqCst) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}
