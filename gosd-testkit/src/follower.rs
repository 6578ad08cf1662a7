//! A reader of a driver's `watch` that folds its items into a view, as core does.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gosd_core::{Error, Event, Instance, InstanceId};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::Violation;
use crate::case::{Client, PACE, Result, SLACK, View, difference, view_of};

/// How many items one follower reads at most. No test makes as many changes.
const ITEMS: u32 = 100_000;
/// How often a stream may end before the kit calls it broken. Core opens a stream that ended again each time.
const ENDINGS: u32 = 100;

pub(crate) struct Follower<'a> {
    client: &'a Client,
    /// The services that the watch is about; `None` for all.
    services: Option<BTreeSet<String>>,
    stream: BoxStream<'a, gosd_core::Result<Event>>,
    /// The instances that the items so far add up to.
    pub(crate) view: View,
    /// Instances that live all the time: once one is in the view, no item may remove it.
    must_stay: BTreeSet<InstanceId>,
    /// Whether the test expects an `Err`.
    may_lose_contact: bool,
    state: State,
    /// Whether the stream that is open has yielded a `Reset`.
    has_snapshot: bool,
    items: u32,
    endings: u32,
}

#[derive(PartialEq)]
enum State {
    Opened,
    Following,
    Lost,
}

pub(crate) enum Item {
    Event(Event),
    Lost(Error),
}

impl<'a> Follower<'a> {
    pub(crate) fn open(client: &'a Client) -> Result<Self> {
        Self::open_with(client, None)
    }

    fn open_with(client: &'a Client, services: Option<&BTreeSet<String>>) -> Result<Self> {
        Ok(Self {
            client,
            services: services.cloned(),
            stream: open(client, services)?,
            view: View::new(),
            must_stay: BTreeSet::new(),
            may_lose_contact: false,
            state: State::Opened,
            has_snapshot: false,
            items: 0,
            endings: 0,
        })
    }

    /// From now on an `Err` is no violation.
    pub(crate) fn expect_outage(&mut self) {
        self.may_lose_contact = true;
    }

    /// From now on no item may remove any of these instances from the view.
    pub(crate) fn must_keep<'b>(&mut self, living: impl IntoIterator<Item = &'b Instance>) {
        self.must_stay = living.into_iter().map(|instance| instance.id().clone()).collect();
    }

    /// Opens a watch and reads its snapshot.
    pub(crate) async fn start(client: &'a Client) -> Result<Self> {
        Self::open(client)?.begun().await
    }

    /// Opens a watch of these services and reads its snapshot.
    pub(crate) async fn start_with(
        client: &'a Client,
        services: &BTreeSet<String>,
    ) -> Result<Self> {
        Self::open_with(client, Some(services))?.begun().await
    }

    async fn begun(self) -> Result<Self> {
        let mut follower = self;
        match follower.next(Instant::now() + SLACK * 2).await? {
            Some(_) => Ok(follower),
            None => follower.fail("a new `watch` to yield a `Reset`", "nothing"),
        }
    }

    /// The next item, folded into the view; `None` if no item came in time.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Option<Item>> {
        loop {
            // A stream that yields an `Err` whenever it is polled would never reach the deadline.
            if self.state == State::Lost && Instant::now() > deadline {
                return Ok(None);
            }
            let Ok(item) = timeout_at(deadline, self.stream.next()).await else { return Ok(None) };
            self.items += 1;
            match item {
                _ if self.items > ITEMS => {
                    return self.fail("an end of the items", format!("{ITEMS} of them"));
                }
                Some(Ok(event)) => {
                    self.fold(&event)?;
                    return Ok(Some(Item::Event(event)));
                }
                Some(Err(error)) if self.may_lose_contact => {
                    self.state = State::Lost;
                    return Ok(Some(Item::Lost(error)));
                }
                Some(Err(error)) => {
                    return self.fail("no loss of contact, for nothing was cut", shown(&error));
                }
                None if self.endings == ENDINGS => {
                    return self.fail("a `watch` that lasts", format!("{ENDINGS} ends in a row"));
                }
                None => {
                    self.endings += 1;
                    self.stream = open(self.client, self.services.as_ref())?;
                    (self.state, self.has_snapshot) = (State::Opened, false);
                }
            }
        }
    }

    fn fold(&mut self, event: &Event) -> Result<()> {
        // This holds even if an `Err` came first.
        if !self.has_snapshot && !matches!(event, Event::Reset(_)) {
            return self.fail("a new `watch` to yield a `Reset` first", shown(event));
        }
        self.has_snapshot = true;
        let before: Vec<_> = self.living().cloned().collect();
        if self.state != State::Lost && *event == Event::Resumed {
            return self.fail("`Resumed` only after an `Err`", shown(event));
        }
        self.state = State::Following;
        match event {
            Event::Reset(all) => {
                let mut view = view_of(all.iter().cloned());
                if view.len() < all.len() {
                    return self.fail("each instance once in a `Reset`", shown(event));
                }
                view.retain(|_, instance| self.is_asked(instance));
                self.view = view;
            }
            Event::Put(instance) if self.is_asked(instance) => {
                self.view.insert(instance.id().clone(), instance.clone());
            }
            // It belongs to another service now.
            Event::Put(instance) => {
                self.view.remove(instance.id());
            }
            Event::Remove(id) | Event::Expire(id) => {
                self.view.remove(id);
            }
            Event::Resumed => {}
            _ => return self.fail("an event that this version of the kit knows", shown(event)),
        }
        match before.iter().find(|id| !self.view.contains_key(*id)) {
            None => Ok(()),
            Some(id) => {
                let expected = format!("no item that takes away {id:?}, which lives");
                self.fail(expected, shown(event))
            }
        }
    }

    /// The instances of the view that must stay.
    fn living(&self) -> impl Iterator<Item = &InstanceId> {
        self.must_stay.iter().filter(|id| self.view.contains_key(*id))
    }

    pub(crate) fn has_snapshot(&self) -> bool {
        self.has_snapshot
    }

    pub(crate) fn has<'b>(&self, all: impl IntoIterator<Item = &'b Instance>) -> bool {
        all.into_iter().all(|instance| self.view.contains_key(instance.id()))
    }

    /// Reads items until `end`, and accepts any.
    pub(crate) async fn read_until(&mut self, end: Instant) -> Result<()> {
        while let Some(item) = self.next(end).await? {
            if let Item::Lost(_) = item {
                sleep(PACE).await;
            }
        }
        Ok(())
    }

    /// Reads until the view equals the `list` of another client.
    pub(crate) async fn settle(&mut self, other: &Client, within: Duration) -> Result<()> {
        let give_up = Instant::now() + within;
        loop {
            let asked_at = Instant::now();
            while asked_at.elapsed() < SLACK {
                match self.next(Instant::now() + PACE).await? {
                    None => break,
                    Some(Item::Event(_)) => {}
                    // The reader pauses after an `Err`, as core does.
                    Some(Item::Lost(_)) => sleep(PACE).await,
                }
            }
            let mut expected = other.view().await?;
            expected.retain(|_, instance| self.is_asked(instance));
            let Some(came) = difference(&expected, &self.view) else { return Ok(()) };
            if asked_at > give_up {
                let expected = "the items of `watch` to add up to what `list` says";
                return self.fail(expected, format!("after {within:?}: {came}"));
            }
        }
    }

    /// Reads until an instance is in the view like this.
    pub(crate) async fn until_put(&mut self, instance: &Instance) -> Result<()> {
        let deadline = Instant::now() + SLACK;
        while self.view.get(instance.id()) != Some(instance) {
            if self.next(deadline).await?.is_none() {
                let expected = format!("the `Put` of {instance:?}");
                return self.fail(expected, format!("nothing within {SLACK:?}"));
            }
        }
        Ok(())
    }

    /// Whether the watch is about the service of an instance.
    fn is_asked(&self, instance: &Instance) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(instance.service()))
    }

    /// Reads until an instance has left the view, and returns the event that removed it.
    pub(crate) async fn until_gone(&mut self, id: &InstanceId, by: Instant) -> Result<Event> {
        while let Some(item) = self.next(by).await? {
            match item {
                Item::Event(event) if !self.view.contains_key(id) => return Ok(event),
                Item::Event(_) => {}
                Item::Lost(_) => sleep(PACE).await,
            }
        }
        self.fail(format!("an event that says that {id:?} has gone"), "nothing in time")
    }

    /// Reads until the lease of an instance has ended, unless it is out of the view already.
    pub(crate) async fn until_expired(&mut self, id: &InstanceId, by: Instant) -> Result<()> {
        if !self.view.contains_key(id) {
            return Ok(());
        }
        match self.until_gone(id, by).await? {
            Event::Expire(_) | Event::Reset(_) => Ok(()),
            event => self
                .fail("the end of a lease as `Expire`, for `Remove` is a goodbye", shown(&event)),
        }
    }

    /// Reads until an `Err` comes.
    pub(crate) async fn until_lost(&mut self, within: Duration) -> Result<Error> {
        let deadline = Instant::now() + within;
        while let Some(item) = self.next(deadline).await? {
            if let Item::Lost(error) = item {
                return Ok(error);
            }
        }
        self.fail(
            format!("an `Err` within {within:?} of the loss of contact"),
            "no item, or only events",
        )
    }

    /// Reads until an item comes that is no `Err`.
    pub(crate) async fn until_event(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while let Some(item) = self.next(deadline).await? {
            match item {
                Item::Event(_) => return Ok(()),
                Item::Lost(_) => sleep(PACE).await,
            }
        }
        let expected = format!("`watch` to go on within {within:?} once there is contact");
        self.fail(expected, "nothing, or only `Err` items")
    }

    /// Requires silence, or further `Err` items, for this long.
    pub(crate) async fn stay_lost(&mut self, within: Duration) -> Result<()> {
        let watch = async {
            loop {
                match self.next(Instant::now() + within).await? {
                    Some(Item::Event(event)) => {
                        return self.fail("no event without contact", shown(&event));
                    }
                    Some(Item::Lost(_)) => sleep(PACE).await,
                    None => return Ok(()),
                }
            }
        };
        timeout(within, watch).await.unwrap_or(Ok(()))
    }

    pub(crate) fn fail<T>(
        &self,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Result<T> {
        Err(Violation::new(self.client.clause, expected, came))
    }
}

/// An item as text for a message, cut to a readable length.
pub(crate) fn shown(item: &impl Debug) -> String {
    const MAX: usize = 400;
    let text = format!("{item:?}");
    match text.char_indices().nth(MAX) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn open<'a>(
    client: &'a Client,
    services: Option<&BTreeSet<String>>,
) -> Result<BoxStream<'a, gosd_core::Result<Event>>> {
    match services {
        None => {
            let watch = client.driver.watch();
            watch.ok_or_else(|| Violation::not_offered(client.clause, "watch"))
        }
        Some(services) => client.driver.watch_services(services).ok_or_else(|| {
            let expected = "`watch_services` of a driver that is tested `with: [services]`";
            Violation::new(client.clause, expected, "`None`")
        }),
    }
}
