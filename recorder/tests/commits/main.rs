//! Saves are whole or not there, at whatever moment a process is killed. These tests start processes and hold locks: they have
//! a binary of their own. So do those that fetch.

#[cfg(feature = "fetch")]
mod fetch;
#[cfg(unix)]
mod kill;
#[cfg(unix)]
mod run_folders;
mod zip_commit;

use std::sync::RwLock;

/// A child that is being started holds the locks of its parent for a moment: the tests that start children share this one, and
/// the one that drops a lock has it to itself.
static STARTS: RwLock<()> = RwLock::new(());
