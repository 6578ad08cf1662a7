//! Drivers that mishandle lost contact, against clauses 6 and 9.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use gosd_core::{Event, Result};
use tokio::time::sleep;

use super::{Items, Mutant, Sound, items};

/// Claims after every outage that nothing was missed, even if the data was lost meanwhile.
#[derive(Default)]
pub(crate) struct ResumesAfterALoss;

impl Mutant for ResumesAfterALoss {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mut has_resumed = false;
        let keep = move |item: &Result<Event>| {
            let hide = has_resumed && matches!(item, Ok(Event::Reset(_)));
            has_resumed = matches!(item, Ok(Event::Resumed));
            ready(!hide)
        };
        items(sound).filter(keep).boxed()
    }
}

/// Sleeps in the watch after each failure, although backing off is core's task.
#[derive(Default)]
pub(crate) struct SleepsToBackOff;

impl Mutant for SleepsToBackOff {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let late = async |item: Result<Event>| {
            if item.is_err() {
                sleep(Duration::from_secs(4)).await;
            }
            item
        };
        items(sound).then(late).boxed()
    }
}

/// Notices a dead connection after 14 s.
#[derive(Default)]
pub(crate) struct NoticesLate;

impl Mutant for NoticesLate {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mut is_up = true;
        let late = move |item: Result<Event>| {
            let was_up = std::mem::replace(&mut is_up, item.is_ok());
            let wait = if was_up && item.is_err() { 14 } else { 0 };
            async move {
                sleep(Duration::from_secs(wait)).await;
                item
            }
        };
        items(sound).then(late).boxed()
    }
}

/// Resumes without a snapshot when its watch was opened without contact.
#[derive(Default)]
pub(crate) struct ResumesBeforeTheSnapshot;

impl Mutant for ResumesBeforeTheSnapshot {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let (mut is_first, mut was_lost) = (true, false);
        let forget = move |item: Result<Event>| {
            was_lost |= is_first && item.is_err();
            match item {
                Ok(Event::Reset(_)) if std::mem::take(&mut is_first) && was_lost => {
                    Ok(Event::Resumed)
                }
                other => other,
            }
        };
        items(sound).map(forget).boxed()
    }
}

/// Begins a watch with what it has cached, which without contact is nothing.
#[derive(Default)]
pub(crate) struct EmptyWithoutContact;

impl Mutant for EmptyWithoutContact {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mut is_first = true;
        let begin = move |item| match item {
            Err(_) if std::mem::take(&mut is_first) => Ok(Event::Reset(Vec::new())),
            other => {
                is_first = false;
                other
            }
        };
        items(sound).map(begin).boxed()
    }
}
