//! Where an argument becomes a path: sources on servers are fetched here, with a bar on a terminal; paths stay as they are.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rekindle::models::Network;
use rekindle::recorder::Result;
use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::source::{FetchEvent, FetchOptions, Fetched, Watch, fetch, zoo};
use rekindle::{Checkpoint, Progress};

use super::answer::note;

/// The path on this machine of what an argument names; `-` stays what it is.
pub(super) fn here(source: &Path) -> Result<PathBuf> {
    fetched(source, FetchOptions::default()).map(|fetched| fetched.path)
}

/// The same of a path that starts from a folder.
pub(super) fn here_from(folder: &Path, source: &Path) -> Result<PathBuf> {
    if is_remote(source) { here(source) } else { Ok(folder.join(source)) }
}

/// Whether it is written as a source that is no path.
pub(super) fn is_remote(source: &Path) -> bool {
    source.to_str().is_some_and(|source| source.contains("://"))
}

/// Fetches what an argument names, and says what a user should know of it.
pub(super) fn fetched(source: &Path, options: FetchOptions) -> Result<Fetched> {
    let bar = Bar::new();
    let shown = bar.clone();
    let fetched = fetch(source, &options.watch(Watch::new(move |event| shown.show(event))));
    bar.0.finish_and_clear();
    let fetched = fetched?;
    fetched.notes.iter().for_each(|said| note(said));
    Ok(fetched)
}

/// Opens what an argument names where it is: of a source on a server no more comes than is looked at, where that can be.
pub(super) fn opened(source: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    let bar = Bar::new();
    let shown = bar.clone();
    let watch = FetchOptions::default().watch(Watch::new(move |event| shown.show(event)));
    let opened = Checkpoint::open_source(source, options, &watch);
    bar.0.finish_and_clear();
    opened
}

/// The network by hand that weights of torchvision's are of: `torchvision://resnet18` names it, too.
pub(super) fn network_of(source: &Path) -> Option<String> {
    let name = source.to_str()?.strip_prefix("torchvision://")?;
    let network = zoo::torchvision_weights(name).ok()?.network;
    Network::names().find(|known| *known == network).map(str::to_owned)
}

/// How far a fetch is, on a terminal.
#[derive(Clone)]
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        // Nothing is drawn before something comes.
        let bar = ProgressBar::hidden();
        if let Ok(style) =
            ProgressStyle::with_template("{msg}  {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
        {
            bar.set_style(style);
        }
        Bar(bar)
    }

    fn appear(&self) {
        if Progress::is_shown() {
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn show(&self, event: &FetchEvent<'_>) {
        let bar = &self.0;
        match event {
            FetchEvent::Waiting { name, .. } => {
                self.appear();
                bar.set_message(format!("{name}: waiting for whoever fetches it"));
                bar.tick();
            }
            FetchEvent::Begin { name, at, total, .. } => {
                self.appear();
                bar.set_message((*name).to_owned());
                total.map_or_else(|| bar.unset_length(), |total| bar.set_length(total));
                bar.set_position(*at);
                bar.reset_eta();
            }
            FetchEvent::At(bytes) => bar.set_position(*bytes),
            FetchEvent::Again { why, pause, .. } => {
                let seconds = pause.as_secs_f64();
                bar.suspend(|| note(&format!("{why}; it is tried again in {seconds:.1} s")));
            }
            _ => {}
        }
    }
}
