//! How much memory another process has at most while it takes a turn, as Linux tells it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes beyond what the process had before its first turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its own: pages of mapped files do not count, which the system takes back when it needs them. Looked at each millisecond.
    pub(crate) own: u64,
    /// All that was resident at once, mapped files too. Exact.
    pub(crate) resident: u64,
}

/// A process that is looked at.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    process: Option<u32>,
    before: Memory,
    most: Option<Memory>,
}

/// Whoever looks at it while it takes a turn.
pub(crate) struct Watching {
    done: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

const PAGE: u64 = 4096;

fn file(process: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/{name}"))
}

/// What is its own.
fn own(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(file(process, "statm")).ok()?;
    let mut numbers = text.split_whitespace().skip(1).map_while(|number| number.parse::<u64>().ok());
    let (resident, shared) = (numbers.next()?, numbers.next()?);
    Some(resident.saturating_sub(shared) * PAGE)
}

/// A line of its status, such as `VmHWM`, the most that was resident.
fn status(process: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file(process, "status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

impl Watch {
    /// A process, from now on. Without Linux's `/proc` nothing is told.
    pub(crate) fn of(process: u32) -> Self {
        // The most is counted anew.
        let anew = std::fs::write(file(process, "clear_refs"), "5").is_ok();
        let before = || Some(Memory { own: own(process)?, resident: status(process, "VmRSS")? });
        match before().filter(|_| anew) {
            Some(before) => Watch { process: Some(process), before, most: Some(Memory::default()) },
            None => Watch::default(),
        }
    }

    pub(crate) fn begin(&self) -> Watching {
        let (done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = self.process.map(|process| {
            let (done, most) = (Arc::clone(&done), Arc::clone(&most));
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(own(process).unwrap_or(0), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        });
        Watching { done, most, thread }
    }

    pub(crate) fn end(&mut self, watching: Watching) {
        watching.done.store(true, Ordering::Relaxed);
        if let Some(thread) = watching.thread {
            // It only reads.
            drop(thread.join());
        }
        if let (Some(process), Some(most)) = (self.process, &mut self.most) {
            let own = watching.most.load(Ordering::Relaxed).saturating_sub(self.before.own);
            let resident = status(process, "VmHWM").unwrap_or(0).saturating_sub(self.before.resident);
            *most = Memory { own: most.own.max(own), resident: most.resident.max(resident) };
        }
    }

    pub(crate) fn most(&self) -> Option<Memory> {
        self.most
    }
}
