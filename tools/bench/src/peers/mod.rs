//! Other balancers, on lists of the same lengths.

mod pingora;
mod tower;
mod volo;

use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};

use crate::picks::Run;
use crate::rounds::Case;

pub fn picks(size: usize, run: Run) -> Vec<Case<'static>> {
    vec![pingora::picks(size, run), tower::picks(size, run), volo::picks(size, run)]
}

pub fn changes(size: usize) -> Vec<Case<'static>> {
    vec![pingora::changes(size), tower::changes(size), volo::changes(size)]
}

fn addresses(size: usize) -> impl Iterator<Item = SocketAddr> {
    (0..size).map(address)
}

fn address(number: usize) -> SocketAddr {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number as u32);
    SocketAddr::from((address, 8885))
}

fn first_byte(address: &SocketAddr) -> u8 {
    match address {
        SocketAddr::V4(address) => address.ip().octets()[0],
        SocketAddr::V6(address) => address.ip().octets()[0],
    }
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing to wait for"),
    }
}
