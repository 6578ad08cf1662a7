//! The checker reports each event that breaks a promise, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use gosd_trials::check::{Promise, Terms, check};
use gosd_trials::history::{Event, History, Ids, Resources, When};

const CLIENTS: usize = 4;

fn terms() -> Terms {
    let (lease, refresh) = (Duration::from_secs(3), Duration::from_secs(2));
    Terms {
        clients: CLIENTS,
        lease,
        refresh,
        polls: false,
        rewound: false,
        frozen: false,
        wanders: false,
    }
}

fn ids(names: &[&str]) -> Ids {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ms(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn life(event: fn(String) -> Event, id: &str) -> Event {
    event(id.to_owned())
}

fn left(id: &str) -> Event {
    life(|id| Event::Left { id }, id)
}

fn killed(id: &str) -> Event {
    life(|id| Event::Killed { id }, id)
}

fn holds(when: When, tasks: usize) -> Event {
    Event::Holds { when, resources: Resources { tasks, sockets: tasks, memory: 1_000 } }
}

fn lookup(found: bool) -> Event {
    Event::Lookup { client: 0, service: "mail".to_owned(), found }
}

fn view(client: usize, names: &[&str]) -> Event {
    Event::View { client, ids: ids(names) }
}

/// A trial without violations: `mail-1` lives, `mail-2` left before the fault of 5 s to 10 s, and `mail-3`
/// was killed during the fault.
fn clean() -> History {
    let mut history = Vec::new();
    let mut at = |seconds: f64, event: Event| history.push((ms(seconds), event));
    at(0.0, holds(When::Empty, 1));
    for id in ["mail-1", "mail-2", "mail-3"] {
        at(0.1, Event::Started { id: id.to_owned(), service: "mail".to_owned() });
    }
    at(1.0, Event::Ready);
    at(2.0, holds(When::Steady, 9));
    at(3.0, left("mail-2"));
    at(5.0, Event::FaultBegan);
    at(6.0, killed("mail-3"));
    at(10.0, Event::FaultEnded);
    for step in 0..40 {
        let now = 0.5 + f64::from(step) * 0.5;
        let mut all = BTreeSet::from(["mail-1"]);
        if now < 3.2 {
            all.insert("mail-2");
        }
        if now < 13.0 {
            all.insert("mail-3");
        }
        let names: Vec<&str> = all.into_iter().collect();
        at(now, lookup(true));
        for client in 0..CLIENTS {
            at(now, view(client, &names));
            at(now + 0.1 * client as f64, Event::Attempt { client });
        }
        if !(5.0..10.0).contains(&now) {
            at(now, Event::Listed { ids: ids(&names) });
        }
        at(now, Event::Connected);
    }
    for client in 0..CLIENTS {
        at(5.1, Event::Contact { client, fresh: false });
        at(10.2, Event::Contact { client, fresh: true });
    }
    at(20.5, holds(When::Settled, 9));
    at(21.0, holds(When::Over, 1));
    history.sort_by_key(|(at, _)| *at);
    history
}

/// The promises that do not hold.
fn broken(history: &History, terms: &Terms) -> Vec<Promise> {
    let verdicts = check(history, terms);
    verdicts.iter().filter(|verdict| !verdict.held()).map(|verdict| verdict.promise).collect()
}

/// The promises that these additional events break.
fn broken_with(events: impl IntoIterator<Item = (f64, Event)>) -> Vec<Promise> {
    broken(&with(events), &terms())
}

/// A clean history with these additional events.
fn with(events: impl IntoIterator<Item = (f64, Event)>) -> History {
    let mut history = clean();
    history.extend(events.into_iter().map(|(at, event)| (ms(at), event)));
    history.sort_by_key(|(at, _)| *at);
    history
}

/// The promises that do not hold after each event was changed in this way.
fn broken_where(change: impl Fn(f64, &mut Event)) -> Vec<Promise> {
    let mut history = clean();
    for (at, event) in &mut history {
        change(at.as_secs_f64(), event);
    }
    broken(&history, &terms())
}

#[test]
fn a_clean_history_breaks_nothing() {
    assert_eq!(broken(&clean(), &terms()), []);
}

#[test]
fn the_figures_of_a_clean_history_are_known() {
    let figures: Vec<String> =
        check(&clean(), &terms()).into_iter().map(|verdict| verdict.figure).collect();
    let (found, gone) = ("0 of 39 failed", "0 came back");
    let (bounded, returned) = ("2.0/s, at most 3", "9 tasks, 9 sockets; then 1, 1");
    assert_eq!(figures, [found, "2.5 s", "2.3 s", gone, "0.0 s", bounded, returned]);
}

#[test]
fn a_history_of_nothing_proves_nothing() {
    use Promise::{Agreed, Found, Listed, Returned};
    assert_eq!(broken(&Vec::new(), &terms()), [Found, Agreed, Listed, Returned]);
}

#[test]
fn a_failed_lookup_breaks_found() {
    assert_eq!(broken_with([(7.0, lookup(false))]), [Promise::Found]);
    assert_eq!(broken_with([(0.9, lookup(false))]), []);
    let other = Event::Lookup { client: 0, service: "shop".to_owned(), found: false };
    assert_eq!(broken_with([(7.0, other)]), []);
}

#[test]
fn a_client_that_does_not_agree_breaks_agreed() {
    assert_eq!(broken_with([(17.0, view(2, &[]))]), [Promise::Agreed]);
    assert_eq!(broken_with([(15.0, view(2, &[]))]), []);
    let blind = broken_where(|at, event| {
        if let (Event::View { client, .. }, true) = (event, at > 12.0)
            && *client == 3
        {
            *client = 2;
        }
    });
    assert_eq!(blind, [Promise::Agreed]);
}

#[test]
fn a_backend_that_does_not_agree_breaks_agreed() {
    let stranger = Event::Listed { ids: ids(&["mail-1", "mail-9"]) };
    assert_eq!(broken_with([(17.0, stranger)]), [Promise::Agreed]);
}

#[test]
fn a_killed_instance_that_stays_breaks_dropped() {
    let kept = broken_where(|at, event| {
        if let (Event::View { client: 1, ids }, true) = (event, (10.0..16.9).contains(&at)) {
            ids.insert("mail-3".to_owned());
        }
    });
    assert_eq!(kept, [Promise::Agreed, Promise::Dropped]);
}

#[test]
fn agreement_counts_from_the_return_of_contact() {
    let late = |at: f64, event: &mut Event| {
        if let (Event::View { client: 1, ids }, true) = (event, (10.0..16.0).contains(&at)) {
            ids.insert("mail-3".to_owned());
        }
    };
    let mut history = clean();
    history.iter_mut().for_each(|(at, event)| late(at.as_secs_f64(), event));
    history.push((ms(17.0), Event::Contact { client: 1, fresh: true }));
    history.sort_by_key(|(at, _)| *at);
    assert_eq!(broken(&history, &terms()), []);
}

#[test]
fn a_death_just_after_the_fault_counts_from_the_return_of_contact_too() {
    let death = Event::Started { id: "mail-4".to_owned(), service: "mail".to_owned() };
    let mut history = clean();
    history.extend([(ms(9.0), death), (ms(10.1), killed("mail-4"))]);
    for client in 0..CLIENTS {
        history.push((ms(13.0), Event::Contact { client, fresh: true }));
    }
    history.push((ms(16.0), view(0, &["mail-1", "mail-4"])));
    history.sort_by_key(|(at, _)| *at);
    assert_eq!(broken(&history, &terms()), []);
    history.push((ms(19.1), view(0, &["mail-1", "mail-4"])));
    history.sort_by_key(|(at, _)| *at);
    assert_eq!(broken(&history, &terms()), [Promise::Agreed, Promise::Dropped, Promise::Gone]);
}

#[test]
fn an_instance_that_left_and_comes_back_breaks_gone() {
    let back = Event::Listed { ids: ids(&["mail-1", "mail-2"]) };
    assert_eq!(broken_with([(4.0, back.clone())]), [Promise::Gone]);
    assert_eq!(broken_with([(11.0, view(0, &["mail-1", "mail-2"]))]), [Promise::Gone]);
    let rewound = Terms { rewound: true, ..terms() };
    let mut history = clean();
    history.insert(0, (ms(11.0), back));
    history.sort_by_key(|(at, _)| *at);
    assert_eq!(broken(&history, &rewound), []);
}

#[test]
fn a_killed_instance_that_is_renewed_breaks_gone() {
    let back = Event::Listed { ids: ids(&["mail-1", "mail-3"]) };
    assert_eq!(broken_with([(16.9, back)]), [Promise::Agreed, Promise::Gone]);
}

#[test]
fn a_live_instance_that_is_not_listed_breaks_listed() {
    assert_eq!(
        broken_with([(17.0, Event::Listed { ids: ids(&[]) })]),
        [Promise::Agreed, Promise::Listed]
    );
    assert_eq!(broken_with([(12.0, Event::Listed { ids: ids(&[]) })]), []);
}

#[test]
fn a_client_that_calls_too_often_breaks_bounded() {
    let calls = (0..20).map(|call| (7.0 + f64::from(call) * 0.03, Event::Attempt { client: 0 }));
    assert_eq!(broken_with(calls), [Promise::Bounded]);
    let sockets = (0..70).map(|socket| (7.0 + f64::from(socket) * 0.01, Event::Connected));
    assert_eq!(broken_with(sockets), [Promise::Bounded]);
}

#[test]
fn clients_that_call_at_the_same_time_break_bounded() {
    let herd = (0..10).flat_map(|step| {
        let now = 5.2 + f64::from(step);
        (0..CLIENTS).flat_map(move |client| (0..3).map(move |_| (now, Event::Attempt { client })))
    });
    assert_eq!(broken_with(herd.clone()), [Promise::Bounded]);
    // Clients that were frozen together go on together.
    let frozen = Terms { frozen: true, ..terms() };
    assert_eq!(broken(&with(herd), &frozen), []);
}

#[test]
fn herds_are_found_across_any_boundary() {
    let herd = (0..5).flat_map(|step| {
        let now = 5.2085 + f64::from(step);
        (0..CLIENTS).flat_map(move |client| {
            (0..3).map(move |_| (now + 0.001 * client as f64, Event::Attempt { client }))
        })
    });
    assert_eq!(broken_with(herd), [Promise::Bounded]);
}

#[test]
fn clients_that_all_call_when_a_fault_is_over_break_bounded() {
    let herd = |most: usize, at: f64| {
        (0..most).map(move |client| (at + 0.0002 * client as f64, Event::Attempt { client }))
    };
    assert_eq!(broken_with(herd(CLIENTS, 10.0001)), [Promise::Bounded]);
    assert_eq!(broken_with(herd(CLIENTS / 2, 10.25)), []);
    // While a server that is down is tried again and again, a single coincidence is no herd.
    assert_eq!(broken_with(herd(CLIENTS, 8.0)), []);
    // What was due while this process stood still is done at once.
    let stalled = |at| (at, Event::Stalled { lasted: ms(0.5) });
    assert_eq!(broken_with(herd(CLIENTS, 10.0001).chain([stalled(9.999)])), []);
    assert_eq!(broken_with(herd(CLIENTS, 10.0001).chain([stalled(9.9)])), [Promise::Bounded]);
    // A server that starts again is there before the end of its start is known.
    let mut history = with(herd(CLIENTS, 8.0));
    history.push((ms(7.9), Event::FaultEnding));
    history.sort_by_key(|(at, _)| *at);
    assert_eq!(broken(&history, &terms()), [Promise::Bounded]);
}

#[test]
fn resources_that_are_not_released_break_returned() {
    for wrong in [When::Settled, When::Over] {
        let kept = broken_where(|_, event| {
            if let Event::Holds { when, resources } = event
                && *when == wrong
            {
                resources.tasks += 1;
            }
        });
        assert_eq!(kept, [Promise::Returned]);
        let grown = broken_where(|_, event| {
            if let Event::Holds { when, resources } = event
                && *when == wrong
            {
                resources.memory += 100_000;
            }
        });
        assert_eq!(grown, [Promise::Returned]);
    }
}

#[test]
fn clients_that_wander_may_have_a_connection_more() {
    let broken_by = |more: usize, wanders| {
        let mut history = clean();
        for (_, event) in &mut history {
            if let Event::Holds { when: When::Settled, resources } = event {
                resources.tasks += 2 * more;
                resources.sockets += more;
            }
        }
        broken(&history, &Terms { wanders, ..terms() })
    };
    assert_eq!(broken_by(CLIENTS, true), []);
    assert_eq!(broken_by(CLIENTS + 1, true), [Promise::Returned]);
    assert_eq!(broken_by(1, false), [Promise::Returned]);
}

/// What the client hears of its own server says nothing of a death at first.
#[test]
fn clients_that_came_home_have_half_a_lease_to_find_out_who_is_dead() {
    let broken_by = |snapshots: &[f64], until, wanders| {
        let mut history = with(snapshots.iter().map(|at| (*at, Event::Reset { client: 0 })));
        for (at, event) in &mut history {
            if let Event::View { client: 0, ids } = event
                && (ms(13.0)..ms(until)).contains(at)
            {
                ids.insert("mail-3".to_owned());
            }
        }
        broken(&history, &Terms { wanders, ..terms() })
    };
    let both = [Promise::Agreed, Promise::Dropped];
    assert_eq!(broken_by(&[15.9], 18.4, true), []);
    assert_eq!(broken_by(&[15.9], 18.7, true), both, "half a lease after it came home is over");
    assert_eq!(broken_by(&[13.9, 15.9], 18.4, true), both, "it comes home once");
    assert_eq!(broken_by(&[10.1, 15.9], 18.4, true), [], "an outage is no homecoming");
    assert_eq!(broken_by(&[9.0], 18.4, true), both, "it went away, and did not come home");
    assert_eq!(broken_by(&[15.9], 18.4, false), both, "it has only one server");
    let lacking = [(15.9, Event::Reset { client: 0 }), (17.1, view(0, &["mail-3"]))];
    let lacking = broken(&with(lacking), &Terms { wanders: true, ..terms() });
    assert!(lacking.contains(&Promise::Agreed), "it lacks nobody who lives: {lacking:?}");
}
