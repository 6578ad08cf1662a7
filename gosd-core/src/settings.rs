use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Error, Result};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// How a client behaves; the defaults are right for nearly everybody.
///
/// Every field has a setter of the same name. Ranges are judged when a client is built.
///
/// ```
/// use std::time::Duration;
/// use gosd_core::Settings;
///
/// let settings = Settings::default().lease_ttl(Duration::from_secs(30));
/// assert_eq!(settings.lease_ttl, Duration::from_secs(30));
/// assert_eq!(settings.try_refresh_amount, 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Attempts to reach the database before `start` goes standalone, and within one `refresh`:
    /// 1 to 1,000, by default 3.
    pub try_refresh_amount: u32,
    /// How many times [`try_find_service_delay`](Self::try_find_service_delay) `next` waits for a
    /// service: 0 to 1,000,000, by default 5.
    pub try_find_service_amount: u32,
    /// At most a day, by default 3 s. `next` waits this, times the amount, at most.
    pub try_find_service_delay: Duration,
    /// How long an instance outlives its last heartbeat: 2 s to a day, by default 15 s. All
    /// clients of a namespace use one value.
    pub lease_ttl: Duration,
    /// How often `list` is polled for drivers without `watch`, and a twelfth of how often for the
    /// others, as insurance: 10 ms to a day, by default 5 s.
    pub refresh_interval: Duration,
    /// Without contact for longer, lookups fail with [`Stale`](crate::ErrorKind::Stale): at most
    /// 366 days, by default never.
    pub max_stale: Option<Duration>,
    /// A file that keeps the last good view, for starts while the backend is down; by default none.
    ///
    /// One file for each registry. What a client of another registry wrote is not served, as far as
    /// the drivers can be told apart: by their name and their [identity](crate::Driver::identity).
    pub snapshot_path: Option<PathBuf>,
    /// The bound of one driver call: 10 ms to a day, by default 5 s.
    pub timeout: Duration,
    /// How many requests in a row have to fail, as reported, until an instance is left out of the
    /// rotation of this client: 0 to 1,000, by default 3; 0 is never.
    pub eject_after: u32,
    /// For how long it is left out, doubled each further time up to a minute: 1 s to a day, by
    /// default 5 s.
    pub eject_for: Duration,
    /// For how long a client that ends on a signal serves on after its goodbye, so that those who have
    /// not heard of it yet still reach it: at most an hour, by default 1 s; 0 is not at all.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            try_refresh_amount: 3,
            try_find_service_amount: 5,
            try_find_service_delay: Duration::from_secs(3),
            lease_ttl: Duration::from_secs(15),
            refresh_interval: Duration::from_secs(5),
            max_stale: None,
            snapshot_path: None,
            timeout: Duration::from_secs(5),
            eject_after: 3,
            eject_for: Duration::from_secs(5),
            drain: Duration::from_secs(1),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        #[doc = concat!("Sets [`", stringify!($name), "`](field@Self::", stringify!($name), ").")]
        #[must_use]
        pub fn $name(mut self, value: $type) -> Self {
            self.$name = value.into();
            self
        }
    )*};
}

impl Settings {
    setters! {
        try_refresh_amount: u32,
        try_find_service_amount: u32,
        try_find_service_delay: Duration,
        lease_ttl: Duration,
        refresh_interval: Duration,
        max_stale: Duration,
        snapshot_path: PathBuf,
        timeout: Duration,
        eject_after: u32,
        eject_for: Duration,
        drain: Duration,
    }

    /// Judges every value by its range.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the field, the value and the range.
    pub fn check(&self) -> Result<()> {
        let least = Duration::from_millis(10);
        within("try_refresh_amount", self.try_refresh_amount, 1..=1_000)?;
        within("try_find_service_amount", self.try_find_service_amount, 0..=1_000_000)?;
        within("try_find_service_delay", self.try_find_service_delay, Duration::ZERO..=DAY)?;
        within("lease_ttl", self.lease_ttl, Duration::from_secs(2)..=DAY)?;
        within("refresh_interval", self.refresh_interval, least..=DAY)?;
        within("timeout", self.timeout, least..=DAY)?;
        within("eject_after", self.eject_after, 0..=1_000)?;
        within("eject_for", self.eject_for, Duration::from_secs(1)..=DAY)?;
        within("drain", self.drain, Duration::ZERO..=HOUR)?;
        if let Some(max_stale) = self.max_stale {
            within("max_stale", max_stale, Duration::ZERO..=YEAR)?;
        }
        Ok(())
    }

    /// How long `next` waits in all.
    pub(crate) fn find_timeout(&self) -> Duration {
        self.try_find_service_delay.saturating_mul(self.try_find_service_amount).min(YEAR)
    }
}

fn within<T: Copy + PartialOrd + std::fmt::Debug>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err(Error::config(format!("the setting {name} is {value:?}; expected {low:?} to {high:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        Settings::default().check().unwrap();
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let ms = Duration::from_millis;
        for (name, settings) in [
            ("try_refresh_amount", Settings::default().try_refresh_amount(0)),
            ("try_find_service_amount", Settings::default().try_find_service_amount(1_000_001)),
            ("try_find_service_delay", Settings::default().try_find_service_delay(DAY + ms(1))),
            ("lease_ttl", Settings::default().lease_ttl(ms(1_999))),
            ("refresh_interval", Settings::default().refresh_interval(ms(9))),
            ("max_stale", Settings::default().max_stale(YEAR + ms(1))),
            ("timeout", Settings::default().timeout(ms(0))),
            ("eject_after", Settings::default().eject_after(1_001)),
            ("eject_for", Settings::default().eject_for(ms(999))),
            ("drain", Settings::default().drain(HOUR + ms(1))),
        ] {
            let error = settings.check().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
