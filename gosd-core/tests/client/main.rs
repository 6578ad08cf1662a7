//! The client's promises, tested in paused time over a backend that fails as the test asks.

mod attempts;
mod changes;
mod coming_and_going;
mod dropping;
mod endings;
mod evidence;
mod foreign_code;
mod heartbeat;
mod leaving;
mod local;
mod odd_drivers;
mod on_demand;
mod outages;
mod reading;
mod removing;
mod runtimes;
mod selections;
mod starting;
mod support;
mod turns;
mod waiting;
mod watching;
