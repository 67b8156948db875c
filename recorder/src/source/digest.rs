//! What a file's hash has to be, and what it is.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::error::FetchError;

/// What a file's hash has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Its SHA-256 begins so.
    Sha256(String),
    /// As git names a file's content: the SHA-1 of `blob`, its length and itself.
    GitBlob(String),
}

impl Expected {
    /// A SHA-256, or what it begins with.
    pub(super) fn sha256(text: &str) -> Result<Self, FetchError> {
        let hash = text.trim().to_ascii_lowercase();
        if hash.is_empty() || hash.len() > 64 || !is_hex(&hash) {
            let reason = format!("'{text}' is no SHA-256: up to 64 hexadecimal digits are expected");
            return Err(FetchError::Address { reason });
        }
        Ok(Expected::Sha256(hash))
    }

    /// What the Hub's `ETag` of a file says: a SHA-256 of what lies in large file storage, git's name of all else.
    pub(super) fn of_hub_etag(etag: &str) -> Option<Self> {
        match etag.len() {
            64 if is_hex(etag) => Some(Expected::Sha256(etag.to_owned())),
            40 if is_hex(etag) => Some(Expected::GitBlob(etag.to_owned())),
            _ => None,
        }
    }

    /// Compares it with a file.
    pub(super) fn check(&self, file: &File) -> std::io::Result<Result<(), FetchError>> {
        let length = file.metadata()?.len();
        let (algorithm, expected, found) = match self {
            Expected::Sha256(expected) => ("SHA-256", expected, hash(file, Sha256::new())?),
            Expected::GitBlob(expected) => {
                let head = format!("blob {length}\0");
                ("git blob SHA-1", expected, hash(file, Sha1::new_with_prefix(head))?)
            }
        };
        Ok(if found.starts_with(&**expected) {
            Ok(())
        } else {
            Err(FetchError::Hash { algorithm, expected: expected.clone(), found })
        })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The whole of a file, in hexadecimal digits.
fn hash<D: sha2::Digest>(mut file: &File, mut digest: D) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => digest.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum_and_git() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello\n").unwrap();
        let fits = |expected: Expected| expected.check(&file).unwrap();
        // printf 'hello\n' | sha256sum; | git hash-object --stdin
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(fits(Expected::sha256(sha).unwrap()), Ok(()));
        assert_eq!(fits(Expected::sha256(" 5891B5B5").unwrap()), Ok(()));
        assert_eq!(fits(Expected::of_hub_etag("ce013625030ba8dba906f756967f9e9ca394464a").unwrap()), Ok(()));
        assert!(fits(Expected::of_hub_etag(&"0".repeat(40)).unwrap()).is_err());
        let error = fits(Expected::sha256("5891b5b6").unwrap()).unwrap_err().to_string();
        assert!(
            error.starts_with("the file's SHA-256 is 5891b5b5") && error.contains("5891b5b6 is expected"),
            "{error}"
        );
        assert!(Expected::sha256("xyz").is_err() && Expected::sha256("").is_err());
        assert_eq!(Expected::of_hub_etag("abc"), None);
    }
}
