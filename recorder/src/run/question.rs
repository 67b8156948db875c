//! What a checkpoint leaves open: a question, and the choices that answer it.

use std::fmt;

use crate::printable::printable;

/// Something that a run has to be told before its first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is open, and why.
    pub what: String,
    /// The answers, each of which the library takes.
    pub choices: Vec<Choice>,
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What it means.
    pub says: String,
    /// The option of the library that says it, as it is called: `ResumeOptions::seed(1)`.
    pub option: String,
}

impl Question {
    /// A question without choices yet.
    pub fn new(what: impl Into<String>) -> Self {
        Question { what: what.into(), choices: Vec::new() }
    }

    /// With another choice.
    #[must_use]
    pub fn or(mut self, option: impl Into<String>, says: impl Into<String>) -> Self {
        self.choices.push(Choice { says: says.into(), option: option.into() });
        self
    }
}

/// One sentence: what is open, and the options in backticks.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.what))?;
        self.choices.iter().enumerate().try_for_each(|(i, Choice { says, option })| {
            write!(f, "{} `{}` {}", if i == 0 { ": say" } else { ", or" }, printable(option), printable(says))
        })
    }
}
