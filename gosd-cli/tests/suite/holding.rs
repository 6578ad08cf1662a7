//! `gosd register --hold`: the instance is registered as long as the command runs.

use futures_util::StreamExt;
use gosd::{Change, Client};
use rustix::process::Signal;

use crate::support::Place;

#[tokio::test]
async fn a_held_instance_is_renewed_and_deregistered_at_the_end() {
    let place = Place::sqlite();
    let client = Client::builder(place.driver().await).start().await.unwrap();
    let mut changes = client.changes();
    assert!(matches!(changes.next().await, Some(Change::Reset(all)) if all.is_empty()));
    let mut held = place.command(&["register", "mail", "http://10.0.0.7:25", "--hold"]);
    let held = crate::support::Process::start(held.env("gosdDrain", "0"));
    held.wait_for("registered, until Ctrl-C");
    let Some(Change::Added(added)) = changes.next().await else { panic!("it is not registered") };
    assert_eq!(added.url(), "http://10.0.0.7:25");
    held.signal(Signal::TERM);
    // This is long before the lease runs out, or the bound of the test is reached.
    assert_eq!(changes.next().await, Some(Change::Removed(added)));
    assert!(held.end().0.success());
}
