//! tower's p2c balancer, for comparison.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_util::Stream;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::Change;
use tower::load::Constant;

use super::{address, addresses, first_byte, now};
use crate::picks::{PICKS, Run};
use crate::rounds::{Case, nanos};

const CHANGES: usize = 1_000;

pub fn picks(size: usize, run: Run) -> Case<'static> {
    let (mut balance, _) = balance(size);
    if run.threads == 1 {
        return Case::new("tower p2c, ready and call", move || {
            run.alone(|| pick(&mut balance), PICKS)
        });
    }
    let balance = Mutex::new(balance);
    Case::new("tower p2c behind a mutex, ready and call", move || {
        run.time(|| || pick(&mut balance.lock().unwrap()))
    })
}

pub fn changes(size: usize) -> Case<'static> {
    let (mut balance, news) = balance(size);
    let newcomer = address(size);
    Case::new("tower p2c, a change and ready", move || {
        let start = Instant::now();
        for _ in 0..CHANGES / 2 {
            for change in [insert(newcomer), Change::Remove(newcomer)] {
                news.0.lock().unwrap().push_back(change);
                settle(&mut balance);
            }
        }
        nanos(start.elapsed(), CHANGES)
    })
}

type Endpoint = Constant<Echo, u32>;
type Told = Change<SocketAddr, Endpoint>;

fn balance(size: usize) -> (Balance<Changes, ()>, Arc<News>) {
    let news = Arc::new(News(Mutex::new(addresses(size).map(insert).collect())));
    let mut balance = Balance::new(Changes(Arc::clone(&news)));
    settle(&mut balance);
    (balance, news)
}

fn insert(address: SocketAddr) -> Told {
    Change::Insert(address, Constant::new(Echo(address), 1))
}

fn settle(balance: &mut Balance<Changes, ()>) {
    let ready = balance.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(ready.is_ready());
}

fn pick(balance: &mut Balance<Changes, ()>) -> u8 {
    settle(balance);
    now(balance.call(())).expect("an answer")
}

struct News(Mutex<VecDeque<Told>>);

struct Changes(Arc<News>);

impl Stream for Changes {
    type Item = Result<Told, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.0.lock().unwrap().pop_front() {
            Some(change) => Poll::Ready(Some(Ok(change))),
            None => Poll::Pending,
        }
    }
}

/// A service that only returns its address.
struct Echo(SocketAddr);

impl Service<()> for Echo {
    type Response = u8;
    type Error = Infallible;
    type Future = Ready<Result<u8, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(first_byte(&self.0)))
    }
}
