//! `Patience`: how often something is tried again, and how long is waited in between.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::FetchError;
use super::options::{FetchEvent, FetchOptions};

/// Something that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: FetchError,
    /// Whether it may be otherwise a moment later.
    pub(super) may_pass: bool,
    /// How long the server asks to wait.
    pub(super) after: Option<Duration>,
}

impl From<FetchError> for Failure {
    /// One that is not tried again.
    fn from(error: FetchError) -> Self {
        Failure { error, may_pass: false, after: None }
    }
}

/// Longer than this is not waited, whatever a server asks for.
const LONGEST: Duration = Duration::from_mins(5);

/// So many bytes count as a success: what fails after them fails for the first time.
const SUCCESS: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Patience<'a> {
    options: &'a FetchOptions,
    failures: u32,
    since: u64,
}

impl<'a> Patience<'a> {
    pub(super) fn new(options: &'a FetchOptions) -> Self {
        Patience { options, failures: 0, since: 0 }
    }

    /// So many bytes came.
    pub(super) fn saw(&mut self, bytes: u64) {
        self.since += bytes;
        if self.since >= SUCCESS {
            (self.failures, self.since) = (0, 0);
        }
    }

    /// Waits, or gives up with the error.
    pub(super) fn fails(&mut self, failure: Failure) -> Result<(), FetchError> {
        let pause = self.pause(&failure)?;
        self.failures += 1;
        self.since = 0;
        let why = failure.error.to_string();
        self.options.tell(FetchEvent::Again { why: &why, pause });
        std::thread::sleep(pause);
        Ok(())
    }

    fn pause(&self, failure: &Failure) -> Result<Duration, FetchError> {
        if !failure.may_pass || self.failures >= self.options.retries {
            return Err(failure.error.clone());
        }
        let own = self.options.pause.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        match (failure.after, &failure.error) {
            (Some(wait), FetchError::Status { status, .. }) if wait > LONGEST => {
                Err(FetchError::Busy { status: *status, wait })
            }
            (after, _) => Ok(after.unwrap_or(own)),
        }
    }

    /// Does something that may be done again.
    pub(super) fn with<T>(
        options: &'a FetchOptions,
        mut act: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, FetchError> {
        let mut patience = Patience::new(options);
        loop {
            match act() {
                Ok(done) => return Ok(done),
                Err(failure) => patience.fails(failure)?,
            }
        }
    }
}

/// How long a `Retry-After` asks to wait: seconds, or a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = UNIX_EPOCH + Duration::from_secs(http_date(value.trim())?);
    Some(date.duration_since(now).unwrap_or_default())
}

/// The second of a date such as `Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110, "IMF-fixdate").
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time = parts.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|n| *n < 61));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days since 1970, by the rule of the Gregorian calendar, the year beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)? * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(after: Option<u64>) -> Failure {
        let error = FetchError::Status { status: 429, reason: String::new() };
        Failure { error, may_pass: true, after: after.map(Duration::from_secs) }
    }

    #[test]
    fn pauses_double_and_what_the_server_asks_for_counts_up_to_five_minutes() {
        let options = FetchOptions::default();
        let at = |failures, after| Patience { options: &options, failures, since: 0 }.pause(&busy(after));
        let millis = |ms| Ok(Duration::from_millis(ms));
        assert_eq!([at(0, None), at(1, None), at(3, None)], [millis(500), millis(1000), millis(4000)]);
        assert_eq!(at(0, Some(7)), millis(7000));
        assert_eq!(at(0, Some(3600)).unwrap_err().to_string(), "the server answered 429 and asks to wait 3600 s");
        assert!(at(4, None).is_err(), "after four pauses it is given up");
        let lasting = Failure::from(FetchError::Redirects { limit: 1 });
        assert!(Patience::new(&options).pause(&lasting).is_err());
    }

    #[test]
    fn a_mebibyte_in_between_makes_a_failure_the_first_one() {
        let options = FetchOptions::default().pause(Duration::ZERO).retries(1);
        let mut patience = Patience::new(&options);
        patience.fails(busy(None)).unwrap();
        patience.saw(SUCCESS);
        patience.fails(busy(None)).unwrap();
        patience.saw(SUCCESS - 1);
        assert!(patience.fails(busy(None)).is_err());
    }

    #[test]
    fn a_date_to_wait_for_is_read_as_http_writes_it() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_470); // 2015-10-21 07:27:50
        let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(10));
        assert_eq!(wait("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800 - 1_445_412_470));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!((wait("12"), wait("soon"), wait("Wed, 21 Okt 2015 07:28:00 GMT")), (Some(12), None, None));
    }
}
