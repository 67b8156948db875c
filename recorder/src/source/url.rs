//! `Url`: an address of a server, taken apart as far as a client has to, and where a redirect leads from it.

use super::error::FetchError;

/// The servers of the files that names stand for.
const MIRRORED: [&str; 2] = ["download.pytorch.org", "download.openmmlab.com"];

/// `http://` or `https://`, a host, and what to ask it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `http` or `https`.
    pub(super) scheme: String,
    /// The host with its port, where it has one.
    pub(super) authority: String,
    /// The path and the query, from the first `/` on, escaped.
    pub(super) path: String,
    /// `name:password`, where the address holds them.
    pub(super) user: Option<String>,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let wrong = || FetchError::Address { reason: "this is no address of a server".to_owned() };
        let (scheme, rest) = super::address::scheme(text).ok_or_else(wrong)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(FetchError::UnknownScheme { scheme });
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (user, authority) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user.to_owned()), host));
        if authority.is_empty() || !authority.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c)) {
            return Err(wrong());
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{}", escaped(path));
        Ok(Url { scheme, authority: authority.to_ascii_lowercase(), path, user })
    }

    /// The host without its port.
    pub(super) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    /// Whether both are of the same server, asked in the same way: only then what one may know the other may.
    pub(super) fn same_origin(&self, other: &Url) -> bool {
        self.scheme == other.scheme && self.authority == other.authority
    }

    /// Where a `Location` leads.
    pub(super) fn join(&self, location: &str) -> Result<Self, FetchError> {
        if super::address::scheme(location).is_some() {
            return Url::parse(location);
        }
        let origin = format!("{}://{}", self.scheme, self.authority);
        let path = self.path.split('?').next().unwrap_or_default();
        let text = match location {
            _ if location.starts_with("//") => format!("{}:{location}", self.scheme),
            _ if location.starts_with('/') => format!("{origin}{location}"),
            _ if location.starts_with('?') => format!("{origin}{path}{location}"),
            _ => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{origin}{folder}/{location}")
            }
        };
        Ok(Url { user: self.user.clone(), ..Url::parse(&text)? })
    }

    /// The same file at a mirror, where there is one and it is of a server that mirrors are of. A name and a password that the
    /// address holds are not for the mirror, which has its own in its address.
    pub(super) fn mirrored(self, mirror: Option<&str>) -> Result<Self, FetchError> {
        let Some(mirror) = mirror.filter(|_| MIRRORED.contains(&&*self.authority)) else { return Ok(self) };
        let Url { authority, path, .. } = self;
        Url::parse(&format!("{mirror}/{authority}{path}"))
    }

    /// As it is asked for, without the name and password.
    pub(super) fn text(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// What cannot stand in an address as it is, escaped; what is escaped stays.
fn escaped(path: &str) -> String {
    let stays = |c: u8| c.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&c);
    path.bytes().map(|c| if stays(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

/// Text as one part of a path: what is no letter, digit, `-`, `_`, `.` or `~` is escaped, and `/` where it is no part of a longer path.
pub(super) fn escape_part(text: &str, keep_slashes: bool) -> String {
    let stays = |c: u8| c.is_ascii_alphanumeric() || b"-_.~".contains(&c) || (keep_slashes && c == b'/');
    text.bytes().map(|c| if stays(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_a_browser_would_go() {
        let from = Url::parse("https://me:pw@Host.org:8443/a/b%20c?x=1#y").unwrap();
        assert_eq!((from.text().as_str(), from.user.as_deref()), ("https://host.org:8443/a/b%20c?x=1", Some("me:pw")));
        assert_eq!(from.host(), "host.org");
        for (location, to, same) in [
            ("https://other.org/z", "https://other.org/z", false),
            ("http://host.org:8443/z", "http://host.org:8443/z", false),
            ("https://host.org/z", "https://host.org/z", false),
            ("//host.org:8443/z", "https://host.org:8443/z", true),
            ("/z?y=\u{e9} ", "https://host.org:8443/z?y=%C3%A9%20", true),
            ("z", "https://host.org:8443/a/z", true),
            ("?p", "https://host.org:8443/a/b%20c?p", true),
        ] {
            let url = from.join(location).unwrap();
            assert_eq!((url.text().as_str(), url.same_origin(&from)), (to, same), "{location}");
        }
        for wrong in ["https://", "https:///a", "https://a b/c", "ftp://host/a", "host/a"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        assert!(from.join("file:///etc/passwd").is_err());
    }

    #[test]
    fn a_mirror_has_the_files_of_names_and_never_what_an_address_tells_of_its_user() {
        let at = |url: &str| Url::parse(url).unwrap().mirrored(Some("http://me:own@mirror.org:80/a")).unwrap();
        let mirrored = at("https://you:secret@download.pytorch.org/models/net.pth?x");
        assert_eq!(mirrored.text(), "http://mirror.org:80/a/download.pytorch.org/models/net.pth?x");
        assert_eq!(mirrored.user.as_deref(), Some("me:own"));
        assert_eq!(at("https://host.org/net.pth").text(), "https://host.org/net.pth");
        let url = Url::parse("https://download.pytorch.org/net.pth").unwrap();
        assert_eq!(url.clone().mirrored(None), Ok(url));
    }
}
