//! The settings of a client, their ranges and defaults.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Error, Result};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// The range of a setting. The table below is the only place that has it.
struct Range {
    name: &'static str,
    limits: Limits,
}

/// The least, the most, and the value of some settings.
enum Limits {
    Amount(u32, u32, fn(&Settings) -> u32),
    Time(Duration, Duration, fn(&Settings) -> Option<Duration>),
}

const RANGES: [Range; 10] = {
    use Limits::{Amount, Time};

    const MOMENT: Duration = Duration::from_millis(10);
    [
        range("try_refresh_amount", Amount(1, 1_000, |it| it.try_refresh_amount)),
        range("try_find_service_amount", Amount(0, 1_000_000, |it| it.try_find_service_amount)),
        range(
            "try_find_service_delay",
            Time(Duration::ZERO, DAY, |it| Some(it.try_find_service_delay)),
        ),
        range("lease_ttl", Time(Duration::from_secs(2), DAY, |it| Some(it.lease_ttl))),
        range("refresh_interval", Time(MOMENT, DAY, |it| Some(it.refresh_interval))),
        range("timeout", Time(MOMENT, DAY, |it| Some(it.timeout))),
        range("max_stale", Time(Duration::ZERO, YEAR, |it| it.max_stale)),
        range("eject_after", Amount(0, 1_000, |it| it.eject_after)),
        range("eject_for", Time(Duration::from_secs(1), DAY, |it| Some(it.eject_for))),
        range("drain", Time(Duration::ZERO, HOUR, |it| Some(it.drain))),
    ]
};

const fn range(name: &'static str, limits: Limits) -> Range {
    Range { name, limits }
}

/// How a client behaves; the defaults are right for nearly everybody.
///
/// Every field has a setter of the same name. Ranges are checked when a client is built.
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
    /// One wait of `next`: at most a day, by default 3 s. In all, `next` waits at most this times
    /// [`try_find_service_amount`](Self::try_find_service_amount).
    pub try_find_service_delay: Duration,
    /// How long an instance outlives its last heartbeat: 2 s to a day, by default 15 s. All
    /// clients of a namespace use one value.
    pub lease_ttl: Duration,
    /// How often `list` is polled for drivers without `watch`: 10 ms to a day, by default 5 s. Drivers
    /// with `watch` are read twelve times less often, as an insurance.
    pub refresh_interval: Duration,
    /// Without contact for longer, lookups fail with [`Stale`](crate::ErrorKind::Stale): at most
    /// 366 days, by default never.
    pub max_stale: Option<Duration>,
    /// A file that keeps the last good view, for starts while the backend is down, or one of the two of
    /// [`Both`](crate::Both); by default none.
    ///
    /// One file for each registry. What a client of another registry wrote is not served, as far as
    /// the drivers can be told apart: by their name and their [identity](crate::Driver::identity).
    pub snapshot_path: Option<PathBuf>,
    /// The bound of one driver call: 10 ms to a day, by default 5 s, and no longer than the lease
    /// unless it is the default.
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
    /// Whether the client watches only the services that it is asked for; by default it watches all.
    ///
    /// In a large fleet that saves the most of what a watch costs, where the driver can watch single
    /// services, as that of the registry server (`http`) can. With any other driver nothing changes. A
    /// service is asked for by [`pick`](crate::Client::pick), [`next`](crate::Client::next),
    /// [`turn`](crate::Client::turn), [`service`](crate::Client::service),
    /// [`service_where`](crate::Client::service_where), [`instances`](crate::Client::instances) or
    /// [`add_local`](crate::Client::add_local), and stays so. What changes:
    ///
    /// - The first `pick` of a service yields `None`, and so do those that follow until the backend has
    ///   answered, mostly within some 50 ms. [`Client::service`](crate::Client::service), called when the
    ///   program starts, asks beforehand.
    /// - `next` and `turn` wait for that answer, and longer than they otherwise may if it takes longer, up to
    ///   [`timeout`](field@Self::timeout). Without it they fail with
    ///   [`Unavailable`](crate::ErrorKind::Unavailable), and never with
    ///   [`NotFound`](crate::ErrorKind::NotFound).
    /// - [`services`](crate::Client::services), [`changes`](crate::Client::changes) and
    ///   [`deregister_url`](crate::Client::deregister_url) have the client watch everything from then on,
    ///   and so do more than 256 services, the own one and `gosd.drain` among them.
    /// - [`stats`](crate::Client::stats) counts, and the file of
    ///   [`snapshot_path`](field@Self::snapshot_path) keeps, what is watched.
    ///
    /// The own service is always watched.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use gosd_core::{Client, Memory};
    /// use gosd_core::Settings;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let driver = Arc::new(Memory::new());
    /// # let mail = Client::builder(driver.clone()).register("mail", "http://10.0.0.7:25").start().await?;
    /// let settings = Settings::default().watch_on_demand(true);
    /// let client = Client::builder(driver).settings(settings).start().await?;
    /// assert_eq!(client.next("mail").await?.url(), "http://10.0.0.7:25");
    /// # Ok::<(), gosd_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub watch_on_demand: bool,
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
            watch_on_demand: false,
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
        watch_on_demand: bool,
    }

    /// Checks every value by its range, and the timeout by the lease.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the fields, their values and the range.
    pub fn check(&self) -> Result<()> {
        for Range { name, limits } in &RANGES {
            match *limits {
                Limits::Amount(least, most, of) => within(name, of(self), least..=most)?,
                Limits::Time(least, most, of) => {
                    if let Some(value) = of(self) {
                        within(name, value, least..=most)?;
                    }
                }
            }
        }
        let Self { timeout, lease_ttl, .. } = self;
        // The default fits every lease, because a heartbeat is also bounded by a part of the lease.
        if timeout > lease_ttl && *timeout > Self::default().timeout {
            return Err(Error::config(format!(
                "the setting timeout is {timeout:?} and lease_ttl is {lease_ttl:?}; expected a timeout \
                 within the lease, which would run out while a call is waited for"
            )));
        }
        Ok(())
    }

    /// The range of a setting as text, for a user who gives a whole number; times are in seconds.
    #[doc(hidden)]
    pub fn range_in_words(name: &str) -> Option<String> {
        let range = RANGES.iter().find(|range| range.name == name)?;
        Some(match range.limits {
            Limits::Amount(least, most, _) => format!("{least} to {most}"),
            Limits::Time(least, most, _) => {
                let least = least.as_secs() + u64::from(least.subsec_nanos() > 0);
                format!("{least} to {} (seconds)", most.as_secs())
            }
        })
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
    fn a_timeout_fits_into_the_lease() {
        let secs = Duration::from_secs;
        for (lease, timeout) in [(2, 5), (2, 1), (20, 20), (60, 60), (15, 5)] {
            Settings::default().lease_ttl(secs(lease)).timeout(secs(timeout)).check().unwrap();
        }
        for (lease, timeout) in [(2, 6), (2, 86_400), (20, 21)] {
            let settings = Settings::default().lease_ttl(secs(lease)).timeout(secs(timeout));
            let error = settings.check().unwrap_err().to_string();
            for part in ["timeout", "lease_ttl", &format!("{lease}s"), &format!("{timeout}s")] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn an_error_names_the_setting_that_is_out_of_range() {
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
