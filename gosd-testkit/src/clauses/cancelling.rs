//! Clause 10: calls that are dropped, at each point where a call can be.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use gosd_core::Instance;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::case::{CALL, Case, Client, GRACE, LONG_LEASE, PACE, Result, SLACK, instance, moved};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// The longest that one poll of a call with a few records may take. A call that blocks takes longer even if
/// it only waits for a spinning disk; one that only computes takes far less.
const HELD: Duration = Duration::from_millis(1);

/// Clause 10: a call that is dropped at any point leaves the record and its lease as before or as after the
/// call, and the driver goes on working.
pub async fn clause_10_a_dropped_call_is_whole_or_nothing(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(10, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    drop_everywhere(&case, &client, &other).await
}

/// Clause 10: `watch` reports what a dropped call did, and nothing that it did not do. Needs a watch.
pub async fn clause_10_watchers_see_what_dropped_calls_did(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(10, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let mut follower = Follower::start(&other).await?;
    drop_everywhere(&case, &client, &other).await?;
    follower.settle(&client, SLACK).await
}

/// Clause 10: a `register` that was dropped does not undo the `deregister` after it.
pub async fn clause_10_a_dropped_register_undoes_no_goodbye(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(10, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    for cut in cuts() {
        let [new, renewed] = [instance("mail"), instance("mail")];
        client.register(&renewed, LONG_LEASE).await?;
        for leaves in [&new, &renewed] {
            drop_at(cut, client.driver.register(leaves, LONG_LEASE)).await;
            client.deregister(leaves.id()).await?;
        }
    }
    // By now, whatever a dropped call left running has ended.
    sleep(Duration::from_secs(1)).await;
    other.expect("after `deregister` of all whose `register` was dropped", &[]).await
}

/// Clause 10: no call blocks the thread that polls it, because core could not bound such a call in time.
pub async fn clause_10_no_call_holds_the_thread(fixture: &dyn Fixture) -> Result<(), Violation> {
    const CALLS: usize = 50;
    let case = Case::new(10, fixture);
    let client = case.client().await?;
    let mail = instance("mail");
    // The fastest of many calls counts, because a busy machine may interrupt the thread in any one of them.
    let mut fastest = [Duration::MAX; 3];
    for _ in 0..CALLS {
        let driver = &client.driver;
        fastest[0] = longest_poll(driver.register(&mail, LONG_LEASE)).await.min(fastest[0]);
        fastest[1] = longest_poll(driver.list()).await.min(fastest[1]);
        fastest[2] = longest_poll(driver.deregister(mail.id())).await.min(fastest[2]);
    }
    for (name, held) in ["register", "list", "deregister"].into_iter().zip(fastest) {
        if held >= HELD {
            let expected = format!("`{name}` to hold the thread for less than {HELD:?}");
            return case.fail(expected, format!("{held:?} in the fastest of {CALLS} calls"));
        }
    }
    Ok(())
}

/// How long the longest poll of a call took, in real time.
async fn longest_poll(call: impl Future) -> Duration {
    let mut call = pin!(call);
    let mut longest = Duration::ZERO;
    let polled = poll_fn(|cx| {
        let begun = std::time::Instant::now();
        let poll = call.as_mut().poll(cx).map(drop);
        longest = longest.max(begun.elapsed());
        poll
    });
    // Other tests check the result of the call.
    let _ = timeout(CALL, polled).await;
    longest
}

/// The point at which a call is dropped.
#[derive(Clone, Copy)]
enum Cut {
    /// After so many polls that were pending, which is one of the call's own steps.
    Polls(u32),
    /// After other tasks had so many turns, which is a moment independent of the call's steps.
    Turns(u32),
}

fn cuts() -> impl Iterator<Item = Cut> {
    let turns = (0..12).map(|n| Cut::Turns(1 << n));
    (1..12).map(Cut::Polls).chain(turns)
}

/// One round of dropped calls: each record as it was, and as it may have become.
struct Round {
    new: Instance,
    before: Instance,
    after: Instance,
    leaves: Instance,
}

async fn drop_everywhere(case: &Case<'_>, client: &Client, other: &Client) -> Result<()> {
    let lease = case.lease();
    let mut rounds = Vec::new();
    for cut in cuts() {
        let before = instance("mail").with_metadata("version", "before");
        let after = moved(&before, "http://10.0.0.8:25").with_metadata("version", "after");
        let new = instance("mail").with_metadata("version", "new");
        let leaves = instance("mail").with_metadata("version", "leaves");
        client.register(&before, LONG_LEASE).await?;
        client.register(&leaves, LONG_LEASE).await?;
        let driver = &client.driver;
        drop_at(cut, driver.register(&new, lease)).await;
        drop_at(cut, driver.register(&after, lease)).await;
        drop_at(cut, driver.deregister(leaves.id())).await;
        drop_at(cut, driver.list()).await;
        rounds.push(Round { new, before, after, leaves });
        expect_whole(case, other, &rounds).await?;
    }
    let works = instance("works");
    client.register(&works, LONG_LEASE).await?;
    if client.view().await?.get(works.id()) != Some(&works) {
        return case.fail("the driver to work after dropped calls", "a `list` without the newest");
    }
    expect_leases(case, other, &rounds).await
}

async fn drop_at(cut: Cut, call: impl Future) {
    let call = pin!(call);
    let dropped = async {
        match cut {
            Cut::Polls(mut left) => {
                let mut call = call;
                poll_fn(|cx| {
                    left -= 1;
                    match call.as_mut().poll(cx) {
                        Poll::Pending if left > 0 => Poll::Pending,
                        _ => Poll::Ready(()),
                    }
                })
                .await;
            }
            Cut::Turns(turns) => {
                let turns = pin!(async {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                });
                if let Either::Left(_) = select(call, turns).await {}
            }
        }
    };
    // A call that neither ends nor is woken any more is dropped here.
    let _ = timeout(CALL, dropped).await;
}

/// Requires each record to be as before or as after its dropped call, and nothing in between.
async fn expect_whole(case: &Case<'_>, other: &Client, rounds: &[Round]) -> Result<()> {
    let view = other.view().await?;
    for Round { new, before, after, leaves } in rounds {
        for (call, id, may_be) in [
            ("register", new.id(), [None, Some(new)].as_slice()),
            // The lease of the old record may have run out by now.
            ("register", before.id(), &[Some(before), Some(after), None]),
            ("deregister", leaves.id(), &[Some(leaves), None]),
        ] {
            let came = view.get(id);
            if !may_be.contains(&came) {
                let expected = format!("a dropped `{call}` to leave one of {}", shown(&may_be));
                return case.fail(expected, shown(&came));
            }
        }
    }
    Ok(())
}

/// Requires each record to expire with the lease that belongs to it, the old one or the new one.
async fn expect_leases(case: &Case<'_>, other: &Client, rounds: &[Round]) -> Result<()> {
    let latest = Instant::now() + case.lease() + GRACE;
    loop {
        let asked_at = Instant::now();
        let view = other.view().await?;
        let outlived = rounds.iter().flat_map(|round| [&round.new, &round.after]);
        let mut outlived = outlived.filter(|written| view.get(written.id()) == Some(written));
        match outlived.next() {
            None => return expect_whole(case, other, rounds).await,
            Some(written) if asked_at > latest => {
                let expected = "what a dropped `register` wrote to have its lease, and run out";
                return case.fail(expected, format!("{written:?} still listed"));
            }
            Some(_) => sleep(PACE).await,
        }
    }
}
