//! The lines of `--json`, compared field by field with the files in `tests/golden`.

use crate::support::{LEASE, Place, fixed};

const MAIL: &str = "mail-0199f3a0c5b07abc8def012345678901";

async fn filled() -> Place {
    let place = Place::sqlite();
    let driver = place.driver().await;
    let [one, two, odd] = [
        fixed("mail", 1, "http://10.0.0.7:25").with_metadata("zone", "b"),
        fixed("mail", 2, "http://10.0.0.8:25"),
        fixed("orders", 3, "http://u@[::1]:80/ä?x=\"y\""),
    ];
    for instance in [&one, &two, &odd, &gosd::Instance::drain_of(two.id())] {
        driver.register(instance, LEASE).await.unwrap();
    }
    place
}

#[tokio::test]
async fn the_lines_are_as_documented() {
    let place = filled().await;
    for (args, expected) in [
        (&["ls"][..], include_str!("../golden/ls.jsonl")),
        (&["ls", "mail"], include_str!("../golden/ls_service.jsonl")),
        (&["get", "mail"], include_str!("../golden/get.jsonl")),
        (&["ls", "orders"], include_str!("../golden/ls_odd.jsonl")),
        (&["export"], include_str!("../golden/export.jsonl")),
        (&["drain", MAIL], include_str!("../golden/drain.jsonl")),
        (&["deregister", MAIL], include_str!("../golden/deregister.jsonl")),
    ] {
        assert_eq!(place.out(&[args, &["--json"][..]].concat()), expected, "{args:?}");
    }
}

#[test]
fn strings_are_printed_as_they_were_registered() {
    let place = Place::sqlite();
    let registered = place.out(&["register", "mail", "http://10.0.0.7:25", "-m", "a=b", "--json"]);
    assert_eq!(registered, place.out(&["get", "mail", "--json"]));
}

#[tokio::test]
async fn a_watch_prints_one_change_a_line() {
    let place = filled().await;
    let watch = place.start(&["watch", "mail", "--json"]);
    let expected = include_str!("../golden/watch.jsonl");
    let mut expected = expected.lines();
    for _ in 0..4 {
        assert_eq!(Some(&*watch.wait_for("")), expected.next());
    }
    let driver = place.driver().await;
    let two = fixed("mail", 2, "http://10.0.0.8:25");
    driver.deregister(gosd::Instance::drain_of(two.id()).id()).await.unwrap();
    assert_eq!(Some(&*watch.wait_for("")), expected.next());
    driver.register(&two.clone().with_metadata("zone", "c"), LEASE).await.unwrap();
    assert_eq!(Some(&*watch.wait_for("")), expected.next());
    driver.deregister(two.id()).await.unwrap();
    assert_eq!(Some(&*watch.wait_for("")), expected.next());
    driver.register(&two, LEASE).await.unwrap();
    assert_eq!(Some(&*watch.wait_for("")), expected.next());
    assert_eq!(expected.next(), None);
}
