//! Random histories: the registry and its readers agree with the model at every step.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::model::{Contact, Model};
use super::{Directory, Effects, LEASE, Registry, TICK, instance, settings, unreachable};
use crate::contract::DRAIN;
use crate::registry::{Scope, Standing};
use crate::{Change, Event, Instance, InstanceId, Outcome, View};

const IDS: [&str; 6] = ["own", "1", "2", "3", "4", "5"];
const URLS: [&str; 2] = ["http://10.0.0.1", "http://10.0.0.2"];
const SERVICES: [&str; 2] = ["a", "b"];
const OUTCOMES: [Outcome; 4] =
    [Outcome::Answered, Outcome::Unreachable, Outcome::Unreachable, Outcome::Refused];

#[derive(Clone, Debug)]
enum Step {
    /// What came together.
    Watch(Vec<Event>),
    BeginRead,
    FinishRead(Vec<Instance>),
    AbandonRead,
    LoseContact,
    StandStill,
    Pass(std::time::Duration),
    Registered(Instance),
    RegistrationFailed,
    Disown,
    Deregistered(InstanceId),
    AddLocal(&'static str, &'static str),
    RemoveLocal(usize),
    /// A word of the watch on a local entry, which is none of its business.
    WatchLocal(usize),
    Seed(Vec<Instance>),
    Report(InstanceId, Outcome),
    Readmit,
}

fn instances() -> impl Strategy<Value = Instance> {
    let any = (select(&IDS[..]), select(&SERVICES[..]), select(&URLS[..]));
    prop_oneof![
        9 => any.prop_map(|(id, service, url)| instance(id, service, url)),
        2 => drains(),
    ]
}

fn drains() -> impl Strategy<Value = Instance> {
    select(&IDS[..]).prop_map(|id| Instance::drain_of(&id.into()))
}

fn ids() -> impl Strategy<Value = InstanceId> {
    select(&IDS[..]).prop_map(InstanceId::from)
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => vec(instances(), 0..8).prop_map(Event::Reset),
        4 => instances().prop_map(Event::Put),
        2 => ids().prop_map(Event::Remove),
        1 => drains().prop_map(|drain| Event::Remove(drain.id().clone())),
        3 => ids().prop_map(Event::Expire),
        1 => Just(Event::Resumed),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let lists = || vec(instances(), 0..8);
    let local = || (select(&SERVICES[..]), select(&URLS[..]));
    let times =
        [TICK, LEASE / 40, LEASE / 6, LEASE / 4, LEASE / 2 - TICK, LEASE / 2, LEASE / 2 + TICK];
    prop_oneof![
        12 => prop_oneof![vec(events(), 1), vec(events(), 1..6)].prop_map(Step::Watch),
        4 => Just(Step::BeginRead),
        5 => lists().prop_map(Step::FinishRead),
        1 => Just(Step::AbandonRead),
        2 => Just(Step::LoseContact),
        1 => Just(Step::StandStill),
        1 => Just(Step::RegistrationFailed),
        8 => select(times.to_vec()).prop_map(Step::Pass),
        2 => (select(&SERVICES[..]), select(&URLS[..]))
            .prop_map(|(service, url)| Step::Registered(instance("own", service, url))),
        1 => Just(Step::Disown),
        1 => ids().prop_map(Step::Deregistered),
        1 => local().prop_map(|(service, url)| Step::AddLocal(service, url)),
        1 => any::<usize>().prop_map(Step::RemoveLocal),
        1 => any::<usize>().prop_map(Step::WatchLocal),
        1 => lists().prop_map(Step::Seed),
        12 => (ids(), select(&OUTCOMES[..])).prop_map(|(id, outcome)| Step::Report(id, outcome)),
        2 => Just(Step::Readmit),
    ]
}

/// The registry and the model, and a reader that only hears of changes.
struct Pair {
    registry: Registry,
    directory: Arc<Directory>,
    model: Model,
    heard: BTreeMap<InstanceId, Instance>,
    /// Who is out of rotation, as far as heard.
    aside: BTreeMap<InstanceId, Standing>,
    now: tokio::time::Instant,
}

impl Pair {
    fn new() -> Self {
        let directory = Arc::new(Directory::default());
        Self {
            registry: Registry::new(&settings(), Arc::clone(&directory)),
            directory,
            model: Model::new(LEASE),
            heard: BTreeMap::new(),
            aside: BTreeMap::new(),
            now: tokio::time::Instant::now(),
        }
    }

    fn step(&mut self, step: Step) {
        let before = self.rotations();
        let is_single = match &step {
            Step::Watch(events) => {
                matches!(events[..], [ref event] if !matches!(event, Event::Reset(_)))
            }
            Step::Registered(_) | Step::AddLocal(..) | Step::RemoveLocal(_) => true,
            _ => false,
        };
        let own_gone;
        let effects = match step {
            Step::Watch(events) => {
                let gone: Vec<_> =
                    events.iter().map(|event| self.model.apply(event.clone(), self.now)).collect();
                own_gone = gone.contains(&true);
                self.registry.apply(events, self.now)
            }
            Step::WatchLocal(nth) => {
                let Some(local) = self.local(nth) else { return };
                own_gone = self.model.apply(Event::Remove(local.clone()), self.now);
                self.registry.apply(vec![Event::Remove(local)], self.now)
            }
            Step::BeginRead => {
                self.model.begin_read(self.now);
                self.registry.begin_read(self.now);
                return;
            }
            Step::FinishRead(all) => {
                if self.model.reading.is_none() {
                    return;
                }
                let expected = self.model.finish_read(all.clone(), self.now);
                let effects = self.registry.finish_read(all, self.now);
                assert_eq!(effects.is_some(), expected.is_some());
                own_gone = expected.unwrap_or_default();
                effects.unwrap_or_default()
            }
            Step::AbandonRead => {
                self.model.abandon_read(self.now);
                return self.registry.abandon_read();
            }
            Step::LoseContact => {
                self.model.lose_contact(self.now);
                own_gone = false;
                self.registry.lose_contact(unreachable(), self.now);
                Effects::default()
            }
            Step::StandStill => {
                self.model.stand_still(self.now);
                assert!(self.registry.wake(self.now, LEASE));
                return;
            }
            Step::Pass(time) => {
                own_gone = false;
                self.now += time;
                self.model.drop_expired(self.now);
                self.registry.drop_expired(self.now)
            }
            Step::Registered(own) => {
                own_gone = false;
                self.model.registered(own.clone(), self.now);
                self.registry.registered(&own, self.now)
            }
            Step::RegistrationFailed => {
                self.model.registration_failed(self.now);
                return self.registry.registration_failed(self.now);
            }
            Step::Disown => {
                self.model.disown(self.now);
                return self.registry.disown(self.now);
            }
            Step::Deregistered(id) => {
                own_gone = self.model.deregistered(&id);
                self.registry.deregistered(&id)
            }
            Step::AddLocal(service, url) => {
                own_gone = false;
                let (id, effects) = self.registry.add_local(service, url).unwrap();
                let known = self.model.view.get(&id).cloned();
                assert_eq!(known.is_none(), self.model.locals.insert(id.clone()));
                let is_same = |it: &Instance| it.service() == service && it.url() == url;
                assert!(known.is_none_or(|known| is_same(&known)));
                self.model.view.insert(id.clone(), instance(id.as_str(), service, url));
                effects
            }
            Step::RemoveLocal(nth) => {
                let Some(local) = self.local(nth) else { return };
                own_gone = false;
                self.model.locals.remove(&local);
                self.model.view.remove(&local);
                self.registry.remove_local(&local).unwrap()
            }
            Step::Seed(all) => {
                own_gone = false;
                self.model.seed(all.clone());
                self.registry.seed(all, &Scope::Everything, self.now)
            }
            Step::Report(id, outcome) => {
                own_gone = false;
                self.registry.report(&id, outcome, self.now)
            }
            Step::Readmit => {
                own_gone = false;
                self.registry.readmit_due(self.now)
            }
        };
        assert_eq!(effects.own_gone, own_gone);
        self.hear(effects.changes);
        if is_single {
            self.check_that_at_most_one_other_moved(&before);
        }
    }

    fn local(&self, nth: usize) -> Option<InstanceId> {
        let locals = &self.model.locals;
        locals.iter().nth(nth.checked_rem(locals.len())?).cloned()
    }

    /// Who is in rotation.
    fn rotations(&self) -> BTreeMap<String, Vec<Arc<Instance>>> {
        let all = self.directory.sorted().into_iter();
        all.map(|(name, it)| (name.to_string(), it.slots().iter().cloned().collect())).collect()
    }

    fn hear(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Added(it) => {
                    assert!(self.heard.insert(it.id().clone(), (*it).clone()).is_none());
                    assert!(!self.aside.contains_key(it.id()));
                }
                Change::Updated(it) => {
                    let before = self.heard.insert(it.id().clone(), (*it).clone());
                    assert!(before.is_some_and(|before| before != *it));
                }
                Change::Removed(it) => {
                    assert_eq!(self.heard.remove(it.id()), Some((*it).clone()));
                    self.aside.remove(it.id());
                }
                Change::Ejected(it) => {
                    assert!(self.aside.insert(it.id().clone(), Standing::Ejected).is_none());
                }
                Change::Drained(it) => {
                    let before = self.aside.insert(it.id().clone(), Standing::Drained);
                    assert_ne!(before, Some(Standing::Drained));
                }
                Change::Readmitted(it) => assert!(self.aside.remove(it.id()).is_some()),
                Change::Reset(_) => panic!("only a slow reader hears that"),
            }
        }
    }

    fn check_that_at_most_one_other_moved(&self, before: &BTreeMap<String, Vec<Arc<Instance>>>) {
        for (service, after) in self.rotations() {
            let before = before.get(&service).map_or(&[][..], Vec::as_slice);
            let place = |id| after.iter().position(|it| it.id() == id);
            let moved = before
                .iter()
                .enumerate()
                .filter(|(i, it)| place(it.id()).is_some_and(|now| now != *i));
            assert!(moved.count() <= 1, "{before:?} became {after:?}");
        }
    }

    fn check(&self) {
        let (registry, model) = (&self.registry, &self.model);
        let known = registry.instances().map(|it| (it.id().clone(), (**it).clone()));
        assert_eq!(known.collect::<BTreeMap<_, _>>(), model.view, "what is known");
        let mut open = model.view.clone();
        open.retain(|_, it| it.service() != DRAIN);
        assert_eq!(self.heard, open, "what was told");
        let mut whole = registry.whole().into_iter();
        let Some(Change::Reset(all)) = whole.next() else { panic!("no reset") };
        let all: BTreeMap<_, _> = all.iter().map(|it| (it.id().clone(), (**it).clone())).collect();
        assert_eq!(all, open, "what a late reader is told");
        let out = whole.map(|change| match change {
            Change::Ejected(it) => (it.id().clone(), Standing::Ejected),
            Change::Drained(it) => (it.id().clone(), Standing::Drained),
            other => panic!("{other:?}"),
        });
        assert_eq!(out.collect::<BTreeMap<_, _>>(), self.aside, "who is out, to a late reader");
        let names = self.directory.names();
        let seen = names.iter().flat_map(|name| self.directory.instances(name));
        let seen = seen.map(|it| (it.id().clone(), (*it).clone()));
        assert_eq!(seen.collect::<BTreeMap<_, _>>(), open, "what readers see");
        let mut aside = self.aside.clone();
        for (service, rotation) in self.rotations() {
            assert!(rotation.iter().all(|it| it.service() == service));
            assert!(rotation.iter().all(|it| !aside.contains_key(it.id())));
            let picks = (0..rotation.len()).map(|_| self.directory.pick(&service).unwrap());
            let picked: HashSet<_> = picks.map(|it| it.id().clone()).collect();
            assert_eq!(picked.len(), rotation.len(), "a round takes each once");
            let all = self.directory.instances(&service);
            let is_drained = |it: &Arc<Instance>| model.drains(it.id());
            assert_eq!(rotation.is_empty(), all.iter().all(is_drained), "somebody is left");
            for it in all.iter().filter(|it| is_drained(it)) {
                assert_eq!(aside.remove(it.id()), Some(Standing::Drained));
            }
        }
        assert!(aside.values().all(|standing| *standing == Standing::Ejected));
        assert!(self.directory.pick("c").is_none());
        assert_eq!(registry.own_is_gone(), model.own_is_gone());
        assert!(matches!(
            (registry.view(), model.contact),
            (View::Unknown, Contact::Never)
                | (View::Fresh, Contact::Held)
                | (View::Stale { .. }, Contact::Lost | Contact::Seeded)
        ));
        assert_eq!(
            registry.never_reached().is_some(),
            matches!(model.contact, Contact::Never | Contact::Seeded)
        );
        assert_eq!(registry.rest_of_the_missing().is_some(), model.misses_something());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn behaves_like_the_model(steps in vec(steps(), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
            pair.check();
        }
    }
}
