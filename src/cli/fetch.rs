//! `rekindle fetch`: a source on a server becomes a file of this machine.

use std::path::PathBuf;

use rekindle::recorder::container::hf::parse_size;
use rekindle::recorder::source::FetchOptions;
use serde_json::json;

use super::answer::{Answer, print, print_json, usage};
use super::source::fetched;

/// The arguments of `rekindle fetch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rekindle fetch torchvision://resnet18\n  rekindle fetch hf://ORG/REPO@main\n  \
    rekindle fetch https://host/net.pth --sha256 f37072fd --dir weights\n\n\
    Sources: https://HOST/FILE, torchvision://NAME[/WEIGHTS], pytorch://PATH, open-mmlab://NAME, mmcls://NAME, \
    hf://ORG/REPO[@REV][/FILE]. The other verbs take them wherever they take a checkpoint. Files lie in torch.hub's cache \
    (TORCH_HOME) or in the Hub's (HF_HOME), and are not fetched twice.")]
pub(super) struct Fetch {
    /// What to fetch
    source: PathBuf,
    /// What the file's SHA-256 is, or begins with
    #[arg(long, value_name = "H")]
    sha256: Option<String>,
    /// The folder that it goes to, in the place of the cache
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
    /// Fetch it anew though it is there
    #[arg(long)]
    force: bool,
    /// How large it may be, such as 500MB; 512 GiB by default
    #[arg(long, value_name = "N")]
    limit: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(super) fn run(&self) -> Answer {
        let mut options = FetchOptions::default().force(self.force);
        options.sha256.clone_from(&self.sha256);
        options.dir.clone_from(&self.dir);
        if let Some(limit) = &self.limit {
            options = options.limit(parse_size(limit)?);
        }
        let fetched = fetched(&self.source, options)?;
        let path = fetched.path.display();
        if !fetched.path.exists() {
            return Err(usage(format!("{path}: there is no such file")));
        }
        if self.json {
            let source = self.source.display().to_string();
            print_json(&json!({"source": source, "path": path.to_string(), "moved": fetched.moved}))?;
        } else {
            print(&format!("{path}\n"))?;
        }
        Ok(true)
    }
}
