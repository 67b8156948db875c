//! What verbs answer, and how it is said: answers on standard output, notes and errors on standard error.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rekindle::recorder::ErrorKind;
use serde_json::Value as Json;

use super::flags::in_flags;

/// What fails in one sentence.
pub(super) type Anything<T> = Result<T, Box<dyn std::error::Error>>;

/// What a verb answers: `true` is yes (exit status 0), `false` no (1), an error that it could not be done (2).
pub(super) type Answer = Anything<bool>;

/// An error as one sentence. Only a report of keys is longer by itself.
pub(super) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<rekindle::recorder::Error>() {
        Some(error) => match (error.kind(), error.file()) {
            (ErrorKind::Mismatch(report), Some(file)) => format!("{}: {}", file.display(), report.summary()),
            (ErrorKind::Mismatch(report), None) => report.summary(),
            _ => error.to_string(),
        },
        None => error.to_string(),
    }
}

/// Writes an answer to standard output. A reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), std::io::Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// What a verb that takes several files says of one of them.
pub(super) struct Said {
    pub(super) document: Json,
    pub(super) text: String,
    /// What it failed at in the file.
    pub(super) failures: Vec<String>,
    pub(super) answer: bool,
}

/// The answer of a verb that takes several files: yes where it is yes for each. It is an error where it failed at one of them; a
/// no outweighs that.
pub(super) fn each(paths: &[PathBuf], json: bool, say: impl Fn(&Path) -> rekindle::recorder::Result<Said>) -> Answer {
    let (mut documents, mut text, mut failures, mut answer) = (Vec::new(), String::new(), Vec::new(), true);
    for path in paths {
        match say(path) {
            Ok(said) => {
                documents.push(said.document);
                text += &said.text;
                failures.extend(said.failures);
                answer &= said.answer;
            }
            Err(error) => {
                let error = in_flags(&error.to_string());
                documents.push(serde_json::json!({"path": path.display().to_string(), "error": error}));
                failures.push(error);
            }
        }
    }
    print(&if json { format!("{:#}\n", Json::from(documents)) } else { text })?;
    let last = if answer { failures.pop() } else { None };
    for failure in failures {
        eprintln!("rekindle: {failure}");
    }
    last.map_or(Ok(answer), |last| Err(last.into()))
}

/// What a user should know, on standard error.
pub(super) fn note(note: &str) {
    eprintln!("note: {}", in_flags(note));
}

/// One sentence for a mistake in the arguments that the parser cannot see.
pub(super) fn usage(sentence: impl Into<String>) -> Box<dyn std::error::Error> {
    sentence.into().into()
}
