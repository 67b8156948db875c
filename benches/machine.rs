//! Which machine this is, what day, and how busy it is.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The first line that a program prints.
fn said(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}

/// Cores, processor, system and compiler, in a line.
pub(crate) fn machine(threads: usize) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, model)| model.trim()));
    let has = |flag: &str| info.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|one| one == flag));
    let vectors = [("avx512f", "AVX-512"), ("avx2", "AVX2")].into_iter().find(|(flag, _)| has(flag));
    let vectors = vectors.map(|(_, name)| format!(", {name}")).unwrap_or_default();
    let compiler = said("rustc", "--version").unwrap_or_else(|| "an unknown rustc".to_owned());
    let compiler = compiler.split(" (").next().unwrap_or_default();
    format!(
        "{threads} cores of {}{vectors}; {}; {compiler}",
        model.unwrap_or(std::env::consts::ARCH),
        std::env::consts::OS
    )
}

/// How many processes wanted to run in the last minute, on average.
pub(crate) fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some(text.split(' ').next()?.to_owned())
}

/// Today, `2026-11-29`, in UTC.
pub(crate) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // H. Hinnant, "chrono-Compatible Low-Level Date Algorithms": days of eras of 400 years that begin in March.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}
