//! `rekindle devices`: what can compute here.

use super::answer::{Answer, print};

/// The arguments of `rekindle devices`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle devices")]
pub(super) struct Devices {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(&self) -> Answer {
        let names = rekindle::devices();
        if self.json {
            print(&format!("{}\n", serde_json::json!({ "devices": names })))?;
        } else {
            print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        }
        Ok(true)
    }
}
