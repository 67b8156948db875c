//! What verbs answer, and how it is said: answers on standard output, notes and errors on standard error.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rekindle::Progress;
use rekindle::recorder::{ErrorKind, printable, printable_lines};
use serde::Serialize;
use serde_json::Value as Json;

use super::flags::in_flags;
use super::source::here;

/// What fails in one sentence.
pub(super) type Anything<T> = Result<T, Box<dyn std::error::Error>>;

/// What a verb answers: `true` is yes (exit status 0), `false` no (1), an error that it could not be done (2).
pub(super) type Answer = Anything<bool>;

/// Lines for a terminal, a name or a value of a file's in each: whatever would be more than a line, move the cursor or not be seen
/// is escaped here.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn add(&mut self, line: impl Display) {
        self.0 += &printable(&line.to_string());
        self.0.push('\n');
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

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

/// Writes an answer to standard output, as a terminal may see it. A reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), std::io::Error> {
    print_exactly(&printable_lines(text))
}

/// Writes a document to standard output. What a terminal should not see is spelled as JSON's escapes, which mean the same.
pub(super) fn print_json(document: &impl Serialize) -> Anything<()> {
    let text = serde_json::to_string_pretty(document)?;
    let mut shown = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match printable(c.encode_utf8(&mut [0; 4])) {
            Cow::Owned(_) if c != '\n' => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    // Writing to a string cannot fail.
                    let _ = write!(shown, "\\u{unit:04x}");
                });
            }
            _ => shown.push(c),
        }
    }
    shown.push('\n');
    Ok(print_exactly(&shown)?)
}

fn print_exactly(text: &str) -> Result<(), std::io::Error> {
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
        match here(path).and_then(|path| say(&path)) {
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
    if json {
        print_json(&documents)?;
    } else {
        print(&text)?;
    }
    let last = if answer { failures.pop() } else { None };
    for failure in failures {
        tell(&format!("rekindle: {}", printable(&failure)));
    }
    last.map_or(Ok(answer), |last| Err(last.into()))
}

/// What a user should know, on standard error.
pub(super) fn note(note: &str) {
    tell(&format!("note: {}", printable(&in_flags(note))));
}

/// Lines on standard error, as a terminal may see them.
pub(super) fn tell(lines: &str) {
    eprintln!("{}", printable_lines(lines));
}

/// A bar for so many things, on a terminal.
pub(super) fn bar(count: u64, things: &str) -> Anything<ProgressBar> {
    let bar = ProgressBar::new(count);
    if !Progress::is_shown() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = format!("{{wide_bar}} {{pos}}/{{len}} {things}  {{elapsed}}  {{msg}}");
    bar.set_style(ProgressStyle::with_template(&template)?);
    Ok(bar)
}

/// Refuses to replace a file that is there, before any work.
pub(super) fn new_file(path: &Path, overwrite: bool) -> Anything<()> {
    if path.exists() && !overwrite {
        let sentence = format!("{}: the file exists already; pass --overwrite to replace it", path.display());
        return Err(usage(sentence));
    }
    Ok(())
}

/// One sentence for a mistake in the arguments that the parser cannot see.
pub(super) fn usage(sentence: impl Into<String>) -> Box<dyn std::error::Error> {
    sentence.into().into()
}
