//! Answers that are about some services only.

use super::*;
use crate::registry::Scope;

fn only(services: &[&str]) -> Arc<Scope> {
    Arc::new(Scope::Only(services.iter().map(|it| (*it).to_owned()).collect()))
}

/// A registry of a client on demand, which has heard of these services.
fn on_demand(services: &[&str], ids: &[&str]) -> Bench {
    let directory = Arc::new(Directory::default());
    let settings = settings().watch_on_demand(true);
    let registry = Registry::new(&settings, Arc::clone(&directory));
    let mut bench = Bench { registry, directory, now: Instant::now() };
    bench.registry.listen_to(only(services));
    bench.reset(ids);
    bench.pass(LEASE);
    bench
}

#[test]
fn an_answer_says_nothing_of_services_that_it_is_not_about() {
    let mut bench = on_demand(&["a", "b"], &["a-1", "b-1", "c-1"]);
    assert_eq!(bench.view(), ["a-1", "b-1"]);
    // A watch of one of them, and reads.
    bench.registry.listen_to(only(&["a"]));
    bench.reset(&["a-1"]);
    bench.look(2 * LEASE, &["a-1", "c-1"]);
    assert_eq!(bench.view(), ["a-1", "b-1"]);
    assert!(!bench.misses_something());
    bench.put("c-2");
    assert_eq!(bench.view(), ["a-1", "b-1"]);
    // Of what it is about, what is not there is missing, and goes after its time.
    bench.registry.listen_to(only(&["a", "b"]));
    bench.reset(&["a-1"]);
    assert!(bench.misses_something());
    bench.look(LEASE, &["a-1"]);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn an_instance_that_is_seen_in_another_service_has_left_its_own() {
    type Step = fn(&mut Bench);
    let steps: [Step; 3] = [
        |bench| drop(bench.apply(Event::Put(instance("a-1", "c", "")))),
        |bench| drop(bench.apply(Event::Reset(vec![instance("a-1", "c", ""), of("a-2")]))),
        |bench| {
            bench.registry.begin_read(bench.now);
            bench.registry.finish_read(vec![instance("a-1", "c", ""), of("a-2")], bench.now);
        },
    ];
    for step in steps {
        let mut bench = on_demand(&["a"], &["a-1", "a-2"]);
        step(&mut bench);
        assert_eq!(bench.view(), ["a-2"]);
    }
}

#[test]
fn a_service_is_known_from_the_first_answer_about_it_on() {
    let mut bench = on_demand(&["a"], &[]);
    assert!(bench.registry.covers("a") && !bench.registry.covers("b"));
    bench.registry.listen_to(only(&["a", "b"]));
    assert!(!bench.put("a-1").knows_more && !bench.registry.covers("b"), "it is no snapshot");
    let in_part = bench.registry.apply_in_part(vec![Event::Reset(Vec::new())], bench.now);
    assert!(!in_part.knows_more && !bench.registry.covers("b"), "a part of it is not heard");
    assert!(bench.reset(&["a-1"]).knows_more && bench.registry.covers("b"));
    assert!(!bench.reset(&["a-1"]).knows_more);
    bench.registry.listen_to(only(&["c"]));
    assert!(bench.read(&[]).knows_more && bench.registry.covers("c"));
    assert!(bench.registry.covers("a"), "what was known stays so");
    assert!(Bench::new().registry.covers("a"), "who watches everything knows of all");
}

#[test]
fn an_older_view_is_shown_of_what_is_asked_for_until_the_backend_answers() {
    let mut bench = Bench::new();
    bench.registry.seed(all_of(&["a-1", "b-1", "c-1"]), &only(&["a"]), bench.now);
    assert_eq!(bench.view(), ["a-1"]);
    bench.registry.show_asked(&only(&["a", "b"]));
    assert_eq!(bench.view(), ["a-1", "b-1"]);
    assert_eq!(bench.registry.older.unasked, [of("c-1")]);
    bench.registry.listen_to(only(&["a"]));
    bench.reset(&["a-1"]);
    assert!(bench.registry.older.unasked.is_empty(), "its memory is freed");
    bench.registry.show_asked(&only(&["a", "b", "c"]));
    assert_eq!(bench.view(), ["a-1", "b-1"], "there is a backend to ask now");
}
