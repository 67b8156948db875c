//! `Env`: the variables of the environment that say where caches are, which proxy to take, who one is; and what follows from them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The environment's variables. By default the process's own; a test, or a program with settings of its own, may give others.
///
/// | variable | says |
/// |---|---|
/// | `TORCH_HOME` | torch.hub's folder, in which `hub/checkpoints` holds the files; by default `$XDG_CACHE_HOME/torch`, `~/.cache/torch` |
/// | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` | the Hub's cache; by default `$HF_HOME/hub` |
/// | `HF_HOME` | by default `$XDG_CACHE_HOME/huggingface`, `~/.cache/huggingface` |
/// | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH` | the token, or a file with it; by default `$HF_HOME/token` |
/// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | no token is sent |
/// | `HF_ENDPOINT` | the Hub; by default `https://huggingface.co` |
/// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | the Hub is not asked |
/// | `REKINDLE_MIRROR` | a server that is asked in the place of `download.pytorch.org` and `download.openmmlab.com`, for `HOST/PATH` below its address |
/// | `AWS_..`, `GOOGLE_..`, `AZURE_..` | credentials and addresses of stores, as the crate `object_store` reads them (feature `cloud`) |
/// | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies, in small letters, too |
/// | `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` | certificates to trust, in the place of Mozilla's |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// `None` for the process's own.
    variables: Option<Arc<HashMap<String, String>>>,
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    /// These variables, and no others.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Env { variables: Some(Arc::new(variables)) }
    }
}

impl Env {
    /// A variable; one that is empty counts as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let value = match &self.variables {
            Some(variables) => variables.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// All variables.
    #[cfg(feature = "cloud")]
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let own = || {
            // One that is no text is none.
            let texts =
                std::env::vars_os().map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            texts.flatten().collect()
        };
        self.variables
            .as_ref()
            .map_or_else(own, |all| all.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The first of several that is there.
    #[must_use]
    pub fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether a variable says yes, in `huggingface_hub`'s words.
    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&&*value.to_ascii_uppercase()))
    }

    /// A path with `~` read, as Python's `expanduser` reads it.
    fn expanded(&self, path: &str) -> PathBuf {
        let home = || self.first(&["HOME", "USERPROFILE"]);
        match path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(['/', '\\'])) {
            Some(rest) => home().map_or_else(|| path.into(), |home| PathBuf::from(home + rest)),
            None => path.into(),
        }
    }

    /// The folder of this name among those of caches.
    fn cache(&self, name: &str) -> PathBuf {
        self.expanded(&self.get("XDG_CACHE_HOME").unwrap_or_else(|| "~/.cache".to_owned())).join(name)
    }

    /// The folder in which torch.hub keeps the files that it fetched.
    #[must_use]
    pub fn torch_checkpoints(&self) -> PathBuf {
        let home = self.get("TORCH_HOME").map_or_else(|| self.cache("torch"), |home| self.expanded(&home));
        home.join("hub").join("checkpoints")
    }

    /// The folder in which objects of stores are kept.
    #[cfg(feature = "cloud")]
    pub(crate) fn rekindle_cache(&self) -> PathBuf {
        self.cache("rekindle")
    }

    fn hf_home(&self) -> PathBuf {
        self.get("HF_HOME").map_or_else(|| self.cache("huggingface"), |home| self.expanded(&home))
    }

    /// The folder in which `huggingface_hub` keeps what it fetched.
    #[must_use]
    pub fn hub_cache(&self) -> PathBuf {
        let told = self.first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]);
        told.map_or_else(|| self.hf_home().join("hub"), |cache| self.expanded(&cache))
    }

    /// The Hub's address, without a slash at the end.
    #[must_use]
    pub fn hub_endpoint(&self) -> String {
        let told = self.get("HF_ENDPOINT").map(|endpoint| endpoint.trim_end_matches('/').to_owned());
        told.unwrap_or_else(|| "https://huggingface.co".to_owned())
    }

    /// The server that is asked for the files that names stand for, without a slash at the end.
    #[must_use]
    pub fn mirror(&self) -> Option<String> {
        self.get("REKINDLE_MIRROR").map(|mirror| mirror.trim_end_matches('/').to_owned())
    }

    /// The variable by which the Hub is not to be asked.
    #[must_use]
    pub fn hub_offline(&self) -> Option<&'static str> {
        ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| self.is_true(name))
    }

    /// The token for the Hub.
    #[cfg(feature = "fetch")]
    pub(crate) fn hub_token(&self) -> Option<String> {
        if self.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return None;
        }
        let path = || match self.get("HF_TOKEN_PATH") {
            Some(path) => self.expanded(&path),
            None => self.hf_home().join("token"),
        };
        let told = self.first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]);
        let token = told.or_else(|| std::fs::read_to_string(path()).ok())?;
        let token: String = token.chars().filter(|c| !c.is_control()).collect();
        Some(token.trim().to_owned()).filter(|token| !token.is_empty())
    }

    /// The proxy for a server.
    #[cfg(feature = "fetch")]
    pub(crate) fn proxy(&self, scheme: &str, host: &str) -> Option<String> {
        let scheme = scheme.to_ascii_uppercase();
        let of = |name: &str| self.first(&[name, &name.to_ascii_lowercase()]);
        let excepted = of("NO_PROXY").unwrap_or_default();
        if excepted.split(',').any(|entry| is_host_of(entry.trim(), host)) {
            return None;
        }
        of(&format!("{scheme}_PROXY")).or_else(|| of("ALL_PROXY"))
    }

    /// The file of certificates that are to be trusted.
    #[cfg(feature = "fetch")]
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        self.first(&["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]).map(|path| self.expanded(&path))
    }
}

/// Whether an entry of `NO_PROXY` means a host: `*`, the host, or a domain that it is in.
#[cfg(feature = "fetch")]
fn is_host_of(entry: &str, host: &str) -> bool {
    let entry = entry.split(':').next().unwrap_or_default();
    let domain = entry.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    entry == "*" || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
}

#[cfg(all(test, feature = "fetch"))]
mod tests {
    use super::*;

    #[test]
    fn caches_lie_where_torch_and_huggingface_hub_have_them() {
        let of = |variables: &[(&str, &str)]| {
            let env: Env = variables.iter().copied().collect();
            [env.torch_checkpoints(), env.hub_cache()].map(|path| path.display().to_string().replace('\\', "/"))
        };
        assert_eq!(of(&[("HOME", "/me")]), ["/me/.cache/torch/hub/checkpoints", "/me/.cache/huggingface/hub"]);
        assert_eq!(of(&[("XDG_CACHE_HOME", "/x")]), ["/x/torch/hub/checkpoints", "/x/huggingface/hub"]);
        let homes = [("HOME", "/me"), ("TORCH_HOME", "~/t"), ("HF_HOME", "~/h")];
        assert_eq!(of(&homes), ["/me/t/hub/checkpoints", "/me/h/hub"]);
        assert_eq!(of(&[("TORCH_HOME", "/t"), ("HF_HUB_CACHE", "/c")]), ["/t/hub/checkpoints", "/c"]);
    }

    #[test]
    fn a_token_is_the_variables_or_the_files_and_never_a_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-file\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        let token = |more: &[(&str, &str)]| more.iter().copied().chain([home]).collect::<Env>().hub_token();
        assert_eq!(token(&[]).unwrap(), "from-file");
        assert_eq!(token(&[("HF_TOKEN", " a\r\nb ")]).unwrap(), "ab");
        assert_eq!(token(&[("HF_TOKEN", "a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn a_proxy_is_that_of_the_scheme_but_not_for_hosts_that_are_excepted() {
        let env: Env = [
            ("https_proxy", "http://s:1"),
            ("ALL_PROXY", "http://a:1"),
            ("NO_PROXY", "one.org,.two.org, localhost:80"),
        ]
        .into_iter()
        .collect();
        let proxy = |scheme: &str, host: &str| env.proxy(scheme, host);
        assert_eq!(proxy("https", "host.org").unwrap(), "http://s:1");
        assert_eq!(proxy("http", "host.org").unwrap(), "http://a:1");
        assert_eq!(proxy("https", "anyone.org").unwrap(), "http://s:1");
        for host in ["one.org", "a.one.org", "a.two.org", "LOCALHOST"] {
            assert_eq!(proxy("https", host), None, "{host}");
        }
        let none: Env = [("NO_PROXY", "*"), ("ALL_PROXY", "http://a:1")].into_iter().collect();
        assert_eq!(none.proxy("http", "host"), None);
    }
}
