//! The watch of a `Faulty` driver, which fails, hangs and ends as its script says.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::{self, BoxStream};
use gosd_core::{Driver, Event, Result};
use tokio::time::sleep;

use super::script::{Shared, UnderWay};
use super::{Fault, Operation, scripted};

/// One stream of a `Faulty`.
struct Watching<'a> {
    driver: &'a dyn Driver,
    shared: &'a Shared,
    /// The services that the stream is about; `None` for all.
    services: Option<BTreeSet<String>>,
    inner: BoxStream<'a, Result<Event>>,
    /// Whether the inner stream has yielded its snapshot.
    begun: bool,
    /// Whether the reader has received an `Err`, and the stream continues without a gap afterwards.
    resumes: bool,
    /// The fault that the stream took from the queue, and the count of clearings at that time.
    taken: Option<(Fault, u64)>,
    /// The count of endings at the time when the stream was opened.
    ended: u64,
    _under_way: UnderWay,
}

pub(super) fn open<'a>(
    driver: &'a dyn Driver,
    shared: &'a Arc<Shared>,
    services: Option<&BTreeSet<String>>,
) -> Option<BoxStream<'a, Result<Event>>> {
    let watching = Watching {
        driver,
        shared,
        services: services.cloned(),
        inner: opened(driver, services)?,
        begun: false,
        resumes: false,
        taken: None,
        ended: shared.with(Operation::Watch, |script| script.ended),
        _under_way: shared.begin(Operation::Watch),
    };
    Some(Box::pin(stream::unfold(watching, async |mut watching| {
        let item = watching.next().await?;
        Some((item, watching))
    })))
}

fn opened<'a>(
    driver: &'a dyn Driver,
    services: Option<&BTreeSet<String>>,
) -> Option<BoxStream<'a, Result<Event>>> {
    match services {
        None => driver.watch(),
        Some(services) => driver.watch_services(services),
    }
}

impl Watching<'_> {
    async fn next(&mut self) -> Option<Result<Event>> {
        let mut changed = self.shared.changed();
        loop {
            changed.borrow_and_update();
            let (fault, ended) = self.shared.with(Operation::Watch, |script| {
                if self.taken.is_none_or(|(_, cleared)| cleared != script.cleared) {
                    self.taken = script.in_line.pop_front().map(|fault| (fault, script.cleared));
                }
                (self.taken.map(|(fault, _)| fault).or(script.standing), script.ended)
            });
            if ended != self.ended {
                return None;
            }
            match fault {
                None | Some(Fault::Delay(_)) => {}
                Some(Fault::Fail(kind)) => {
                    (self.taken, self.resumes) = (None, self.begun);
                    return Some(Err(scripted(kind)));
                }
                Some(Fault::FailAfter(kind)) => {
                    (self.taken, self.resumes, self.begun) = (None, false, false);
                    self.inner = opened(self.driver, self.services.as_ref())?;
                    return Some(Err(scripted(kind)));
                }
                Some(Fault::Hang | Fault::HangAfter) => {
                    // This cannot fail: `shared` holds the sender.
                    let _ = changed.changed().await;
                    continue;
                }
            }
            if self.resumes {
                self.resumes = false;
                return Some(Ok(Event::Resumed));
            }
            // A change of the script is handled first, so that no item passes a new fault.
            if let Either::Right((item, _)) =
                select(pin!(changed.changed()), self.inner.next()).await
            {
                (self.taken, self.begun) = (None, true);
                if let Some(Fault::Delay(delay)) = fault {
                    sleep(delay).await;
                }
                return item;
            }
        }
    }
}
