//! Processes of their own, for what a process has once: its memory, Burn's generator, the locks it holds; and the time that
//! this thread computed, which does not depend on what else the machine does.

use std::env;
use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

/// Names the test that a child process runs.
const ALONE: &str = "REKINDLE_TEST_ALONE";

/// Runs a test's body in a process that runs nothing else: this test binary once more, with this test alone. The test's name is
/// as `--list` has it. Gives whether this is the child.
pub fn alone(test: &str, body: impl FnOnce()) -> bool {
    alone_with(test, &[], body)
}

/// Whether this is the process of its own of this test.
pub fn is_alone(test: &str) -> bool {
    env::var_os(ALONE).is_some_and(|name| name == test)
}

/// The same as [`alone`] with these variables in its environment.
pub fn alone_with(test: &str, variables: &[(&str, &OsStr)], body: impl FnOnce()) -> bool {
    if is_alone(test) {
        body();
        return true;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    let command = command.args(["--exact", test, "--nocapture"]).env(ALONE, test).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "there is no test {test}");
    false
}

/// The time that a thread computed.
#[derive(Clone, Copy, Debug)]
pub struct Computed(Duration);

impl Computed {
    /// This thread's, so far.
    pub fn now() -> Self {
        Computed(now())
    }

    /// What this thread, which must be the one that called [`Computed::now`], has computed since.
    pub fn elapsed(self) -> Duration {
        now().saturating_sub(self.0)
    }
}

#[cfg(unix)]
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Where nothing tells, the time that went by.
#[cfg(not(unix))]
fn now() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
