//! `Object`: one version of an object in a store.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig};

use super::connector::Connector;
use super::{failed, sentence};
use crate::source::address::ObjectAddress;
use crate::source::error::FetchError;
use crate::source::http::Client;
use crate::source::options::FetchOptions;
use crate::source::ranges::Parts;
use crate::{Error, IoResultExt as _, Result};

pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    key: Key,
    meta: ObjectMeta,
    /// Its `ETag`, or when it was changed.
    version: String,
    host: String,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({}, {}, {} bytes)", self.host, self.key, self.meta.size)
    }
}

/// Makes a store of its builder: the address, what the environment says of it, and how patient to be.
macro_rules! store {
    ($builder:ty, $key:ty, $prefix:literal, $client:expr, $url:expr) => {{
        let variables = $client.options.env.all().into_iter().filter(|(name, _)| name.starts_with($prefix));
        let builder = variables.fold(<$builder>::new().with_url($url), |builder, (name, value)| {
            match name.to_ascii_lowercase().parse::<$key>() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            }
        });
        let builder = builder.with_retry(retry(&$client.options)).with_http_connector(Connector::new($client));
        builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
    }};
}

fn retry(options: &FetchOptions) -> RetryConfig {
    const LONGEST: Duration = Duration::from_mins(5);
    // It wants a pause that is not nothing.
    let init_backoff = options.pause.max(Duration::from_millis(1));
    let backoff = BackoffConfig { init_backoff, max_backoff: init_backoff.max(LONGEST), base: 2.0 };
    RetryConfig { backoff, max_retries: options.retries as usize, retry_timeout: LONGEST }
}

impl Object {
    /// Asks for what the store knows of it.
    pub(super) fn find(client: &Arc<Client>, address: &ObjectAddress) -> Result<Self> {
        let ObjectAddress { scheme, bucket, key } = address;
        let host = format!("{scheme}://{bucket}");
        let store = match scheme.as_str() {
            "s3" => store!(AmazonS3Builder, AmazonS3ConfigKey, "AWS_", client, host.as_str()),
            "gs" => store!(GoogleCloudStorageBuilder, GoogleConfigKey, "GOOGLE_", client, host.as_str()),
            _ => store!(MicrosoftAzureBuilder, AzureConfigKey, "AZURE_", client, host.as_str()),
        };
        let store = store.map_err(|error| failed(&host, error))?;
        let key = Key::parse(key).map_err(|error| FetchError::Address { reason: sentence(&error) })?;
        let meta = wait(store.head(&key))?.map_err(|error| failed(&host, error))?;
        let limit = client.options.limit;
        if meta.size > limit {
            return Err(FetchError::TooLarge { bytes: meta.size, at_least: false, limit }.into());
        }
        let version = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.to_rfc3339());
        Ok(Object { store, key, meta, version, host })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

impl Parts for Object {
    fn len(&self) -> u64 {
        self.meta.size
    }

    fn fetch(&self, range: &Range<u64>) -> Result<Bytes> {
        let since = self.meta.e_tag.is_none().then_some(self.meta.last_modified);
        let options = GetOptions {
            if_match: self.meta.e_tag.clone(),
            if_unmodified_since: since,
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let read = async { self.store.get_opts(&self.key, options).await?.bytes().await };
        wait(read)?.map_err(|error| failed(&self.host, error))
    }
}

/// Waits for what a store does. It is done in a thread of its own, since whoever calls may be in a runtime's.
fn wait<T: Send>(act: impl Future<Output = T> + Send) -> Result<T> {
    let run = || -> std::io::Result<T> {
        Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(act))
    };
    let done = std::thread::scope(|scope| scope.spawn(run).join());
    match done {
        Ok(done) => done.doing("cannot ask the store"),
        Err(_) => Err(Error::from(FetchError::Store { reason: "the client of the store broke down".to_owned() })),
    }
}
