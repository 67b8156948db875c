//! `Client`: one question to a server and its answer, with redirects, proxies, timeouts and credentials that stay with the server
//! they are for. Nothing is asked twice here: `patience.rs`.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ureq::http::{HeaderMap, Method, Request};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use super::address::decoded;
use super::error::FetchError;
use super::options::FetchOptions;
use super::patience::{Failure, retry_after};
use super::url::Url;
use crate::{IoResultExt as _, Result, ResultExt as _, base64};

/// As many redirects are followed as browsers do about.
const REDIRECTS: usize = 20;

/// Who asks.
const AGENT: &str = concat!("rekindle/", env!("CARGO_PKG_VERSION"));

pub(super) struct Client {
    pub(super) options: FetchOptions,
    tls: TlsConfig,
    /// One for each proxy: they keep connections for the next question.
    agents: Mutex<HashMap<Option<String>, Agent>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

/// A question.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: Vec<(&'static str, String)>,
    /// A token for the server, and for no other that it redirects to.
    pub(super) token: Option<&'a str>,
    /// Which answers of 400 and more are no failure.
    pub(super) takes: &'a [u16],
    /// Whether a redirect is an answer.
    pub(super) stops: fn(&HeaderMap) -> bool,
}

impl<'a> Ask<'a> {
    pub(super) fn get(url: &'a Url) -> Self {
        Ask { method: Method::GET, url, headers: Vec::new(), token: None, takes: &[], stops: |_| false }
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Who answered.
    pub(super) host: String,
    pub(super) body: ureq::Body,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body, where it has no more bytes than this.
    pub(super) fn read(self, limit: u64) -> std::result::Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let host = self.host;
        let mut reader = self.body.into_reader().take(limit + 1);
        reader.read_to_end(&mut bytes).map_err(|error| failed(&host, ureq::Error::from(error)))?;
        if bytes.len() as u64 > limit {
            return Err(FetchError::TooLarge { bytes: limit + 1, at_least: true, limit }.into());
        }
        Ok(bytes)
    }
}

impl Client {
    pub(super) fn new(options: &FetchOptions) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = options.env.certificates() {
            let pem = std::fs::read(&path).doing("cannot read the certificates").in_file(&path)?;
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                let reason = "there are no certificates in it, which SSL_CERT_FILE or the like names".to_owned();
                return Err(FetchError::Address { reason }).in_file(&path);
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
        }
        Ok(Client { options: options.clone(), tls: tls.build(), agents: Mutex::default() })
    }

    /// Asks, and follows redirects.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> std::result::Result<Answer, Failure> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.ask_once(ask, &url)?;
            let location = answer.header("location").map(str::to_owned);
            match (answer.status, location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) if !(ask.stops)(&answer.headers) => {
                    let next = url.join(&location)?;
                    // A name and a password in a redirect are not those of the user.
                    let user = if next.same_origin(ask.url) { ask.url.user.clone() } else { None };
                    url = Url { user, ..next };
                }
                (300..=399, Some(_)) => return Ok(answer),
                (status @ 300..=399, None) => {
                    let reason = format!("a redirect ({status}) to nowhere");
                    return Err(FetchError::Protocol { host: answer.host, reason }.into());
                }
                (status, _) if status < 400 || ask.takes.contains(&status) => return Ok(answer),
                (status, _) => return Err(refused(status, &answer)),
            }
        }
        Err(FetchError::Redirects { limit: REDIRECTS }.into())
    }

    fn ask_once(&self, ask: &Ask<'_>, url: &Url) -> std::result::Result<Answer, Failure> {
        let host = url.authority.clone();
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(url.text())
            // The bytes as they are: they are counted, resumed and hashed.
            .header("accept-encoding", "identity")
            .header("user-agent", AGENT);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if url.same_origin(ask.url) {
            let basic =
                || url.user.as_deref().map(|user| format!("Basic {}", base64::encoded(decoded(user).as_bytes(), true)));
            if let Some(credentials) = ask.token.map(|token| format!("Bearer {token}")).or_else(basic) {
                request = request.header("authorization", credentials);
            }
        }
        let request = request.body(()).map_err(|error| {
            Failure::from(FetchError::Address { reason: format!("it cannot be asked for: {error}") })
        })?;
        let agent = self.agent(url)?;
        let (head, body) = agent.run(request).map_err(|error| failed(&host, error))?.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, host, body })
    }

    /// Sends a question as it is, and gives the answer as it is.
    #[cfg(feature = "cloud")]
    pub(super) fn send(
        &self,
        head: ureq::http::request::Parts,
        body: &[u8],
    ) -> std::result::Result<ureq::http::Response<ureq::Body>, Failure> {
        let url = Url::parse(&head.uri.to_string())?;
        let agent = self.agent(&url)?;
        let sent = if body.is_empty() {
            agent.run(Request::from_parts(head, ()))
        } else {
            agent.run(Request::from_parts(head, body))
        };
        sent.map_err(|error| failed(&url.authority, error))
    }

    fn agent(&self, url: &Url) -> std::result::Result<Agent, FetchError> {
        let proxy = self.options.env.proxy(&url.scheme, url.host());
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&proxy) {
            return Ok(agent.clone());
        }
        let timeout = Some(self.options.timeout);
        let parsed = proxy.as_deref().map(Proxy::new).transpose().map_err(|_| FetchError::Address {
            reason: format!("the proxy for it, which {}_PROXY names, is no address", url.scheme.to_ascii_uppercase()),
        })?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(self.tls.clone())
            .proxy(parsed)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .build();
        let agent = Agent::new_with_config(config);
        agents.insert(proxy, agent.clone());
        Ok(agent)
    }
}

/// An answer of 400 or more.
fn refused(status: u16, answer: &Answer) -> Failure {
    let named = ureq::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = named.map(|name| format!(" {name}")).unwrap_or_default();
    let after = answer.header("retry-after").and_then(|value| retry_after(value, SystemTime::now()));
    let may_pass = matches!(status, 408 | 429 | 500 | 502 | 503 | 504);
    Failure { error: FetchError::Status { status, reason }, may_pass, after }
}

/// What a client's error says.
pub(super) fn failed(host: &str, error: ureq::Error) -> Failure {
    use std::io::ErrorKind as Kind;
    let host = host.to_owned();
    let lasting = |reason: String| Failure::from(FetchError::Connection { host: host.clone(), reason });
    match error {
        ureq::Error::Timeout(_) => Failure { error: FetchError::TimedOut { host }, may_pass: true, after: None },
        // The body's reader wraps errors of its own kind.
        ureq::Error::Io(error) if matches!(error.kind(), Kind::TimedOut | Kind::WouldBlock) => {
            Failure { error: FetchError::TimedOut { host }, may_pass: true, after: None }
        }
        ureq::Error::Io(error) if error.kind() == Kind::InvalidData => lasting(error.to_string()),
        ureq::Error::Io(error) => {
            let reason = error.to_string();
            Failure { error: FetchError::Connection { host, reason }, may_pass: true, after: None }
        }
        ureq::Error::HostNotFound => lasting("there is no such host".to_owned()),
        ureq::Error::ConnectProxyFailed(reason) => lasting(format!("the proxy refuses: {reason}")),
        ureq::Error::Protocol(error) => FetchError::Protocol { host, reason: error.to_string() }.into(),
        ureq::Error::LargeResponseHeader(..) => {
            FetchError::Protocol { host, reason: "its header does not end".to_owned() }.into()
        }
        error => lasting(error.to_string()),
    }
}
