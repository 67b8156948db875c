//! The arguments of `rekindle resume`, and what one run and several are made with.

use std::path::PathBuf;

use rekindle::Checkpoint;
use rekindle::models::Network;
use rekindle::recorder::{Error, ErrorKind};
use rekindle::train::run::{Plan, ResumeOptions, Run};

use crate::cli::answer::Anything;
use crate::cli::named;
use crate::cli::plan::ask;
use crate::cli::settings::Settings;

const EXAMPLE: &str = "Example:\n  rekindle resume examples/digits/run.pt\n\n\
    A rekindle.toml beside the checkpoint may hold the same settings; flags win over it. The folder of --run by itself goes on as it was \
    started: rekindle resume DIR.";

/// The arguments of `rekindle resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE, after_long_help = named::listed(EXAMPLE))]
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
pub(in crate::cli) struct Resume {
    /// The checkpoint to go on from
    pub(in crate::cli) checkpoint: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) settings: Settings,
    /// Replace OUT and the log if they exist
    #[arg(long)]
    pub(in crate::cli) overwrite: bool,
    /// Only print what would be done, as `rekindle plan` does
    #[arg(long)]
    pub(in crate::cli) plan: bool,
    /// Print the summary as one JSON document
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// At which step the run stands from which steps are counted, where that is not the checkpoint's.
    #[arg(skip)]
    pub(in crate::cli) made: Option<i64>,
    /// Whether it is the command that a run's folder keeps.
    #[arg(skip)]
    pub(in crate::cli) restored: bool,
}

/// The plan of a run; `None` where it cannot be made before something is told, which is printed.
pub(in crate::cli) fn planned(
    checkpoint: &Checkpoint,
    network: &Network,
    options: ResumeOptions,
    json: bool,
) -> Anything<Option<Plan>> {
    unless_open(Run::plan(checkpoint, network, options).map_err(Into::into), json)
}

/// What was done; `None` where something has to be told first, which is printed.
pub(in crate::cli) fn unless_open<T>(done: Anything<T>, json: bool) -> Anything<Option<T>> {
    let error = match done {
        Ok(done) => return Ok(Some(done)),
        Err(error) => error,
    };
    let kind = error.downcast_ref::<Error>().map(Error::kind);
    match kind.or(error.downcast_ref::<rekindle::Error>().and_then(rekindle::Error::kind)) {
        Some(ErrorKind::Open(questions)) => ask(&*error, questions, json).map(|()| None),
        _ => Err(error),
    }
}

/// Does it while the network draws from the run's generator: dropout drops what PyTorch's drops.
pub(in crate::cli) fn drawing<T>(run: &mut Run<Network>, act: impl FnOnce(&mut Run<Network>) -> T) -> T {
    let Some(shared) = run.model().generator().cloned() else { return act(run) };
    let swap = |run: &mut Run<Network>| {
        let mut own = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::swap(&mut *run.generator_mut(), &mut *own);
    };
    swap(run);
    let done = act(run);
    swap(run);
    done
}
