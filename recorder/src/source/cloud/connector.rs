//! What `object_store` asks goes over the client of all other sources, with its proxies, certificates and timeouts.

use std::fmt;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;

use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use ureq::http::HeaderMap;

use crate::source::error::FetchError;
use crate::source::http::Client;
use crate::source::patience::Failure;

/// Makes clients for stores.
#[derive(Debug)]
pub(super) struct Connector(Arc<Client>);

impl Connector {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Connector(Arc::clone(client))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|allows| allows == "true");
        Ok(HttpClient::new(Service { client: Arc::clone(&self.0), allows_http }))
    }
}

/// Asks, and waits for the whole answer: a store is asked for no more than is wanted at once.
struct Service {
    client: Arc<Client>,
    /// Whether a server may be asked without encryption (`AWS_ALLOW_HTTP`).
    allows_http: bool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service(..)")
    }
}

impl Service {
    fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let is_plain = head.uri.scheme_str() == Some("http");
        if is_plain && !self.allows_http {
            let reason = "it is asked by http://, which AWS_ALLOW_HTTP=true or the like allows".to_owned();
            return Err(HttpError::new(HttpErrorKind::Unknown, FetchError::Address { reason }));
        }
        let longest = longest(&head.headers);
        let body = match body.as_bytes() {
            Some(bytes) => bytes.clone(),
            // Only what is written has such bodies.
            None => bytes::Bytes::new(),
        };
        let answer = self.client.send(head, &body).map_err(failed)?;
        let (head, body) = answer.into_parts();
        let mut bytes = Vec::new();
        let mut body = body.into_reader().take(longest + 1);
        body.read_to_end(&mut bytes).map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        if bytes.len() as u64 > longest {
            let error = FetchError::TooLarge { bytes: longest + 1, at_least: true, limit: longest };
            return Err(HttpError::new(HttpErrorKind::Unknown, error));
        }
        Ok(HttpResponse::from_parts(head, bytes.into()))
    }
}

/// How many bytes an answer may have: those of the range that is asked for, or what a refusal or credentials take.
fn longest(headers: &HeaderMap) -> u64 {
    const PLAIN: u64 = 1 << 20;
    let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let number = |text: &str| text.parse::<u64>().ok();
    let length = range.and_then(|(from, last)| number(last)?.checked_sub(number(from)?)?.checked_add(1));
    length.unwrap_or(0).clamp(PLAIN, u64::MAX - 1)
}

fn failed(failure: Failure) -> HttpError {
    let kind = match &failure.error {
        FetchError::TimedOut { .. } => HttpErrorKind::Timeout,
        FetchError::Connection { .. } if failure.may_pass => HttpErrorKind::Connect,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, failure.error)
}

impl HttpService for Service {
    fn call<'service, 'answer>(
        &'service self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'answer>>
    where
        'service: 'answer,
        Self: 'answer,
    {
        Box::pin(std::future::ready(self.ask(request)))
    }
}
