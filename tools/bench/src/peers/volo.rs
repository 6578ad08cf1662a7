//! volo's weighted random balancer, for comparison.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use volo::context::Endpoint;
use volo::discovery::{Change, Instance, StaticDiscover};
use volo::loadbalance::LoadBalance;
use volo::loadbalance::random::WeightedRandomBalance;
use volo::net::Address;

use super::{address, addresses, first_byte, now};
use crate::picks::Run;
use crate::rounds::{Case, nanos};

const CHANGES: usize = 20;

pub fn picks(size: usize, run: Run) -> Case<'static> {
    let volo = Volo::new(size);
    Case::new("volo weighted random", move || run.time(|| || volo.pick()))
}

pub fn changes(size: usize) -> Case<'static> {
    let volo = Volo::new(size);
    volo.pick();
    let newcomer = instance(address(size));
    let mut all = volo.all.clone();
    Case::new("volo `rebalance`", move || {
        let start = Instant::now();
        for _ in 0..CHANGES / 2 {
            all.push(Arc::clone(&newcomer));
            volo.rebalance(&all, vec![Arc::clone(&newcomer)], Vec::new());
            all.pop();
            volo.rebalance(&all, Vec::new(), vec![Arc::clone(&newcomer)]);
        }
        nanos(start.elapsed(), CHANGES)
    })
}

struct Volo {
    all: Vec<Arc<Instance>>,
    discover: StaticDiscover,
    balance: WeightedRandomBalance<()>,
    endpoint: Endpoint,
}

impl Volo {
    fn new(size: usize) -> Self {
        let all: Vec<_> = addresses(size).map(instance).collect();
        let discover = StaticDiscover::new(all.clone());
        let balance = WeightedRandomBalance::with_discover(&discover);
        Self { all, discover, balance, endpoint: Endpoint::new("target".into()) }
    }

    fn pick(&self) -> u8 {
        let picker = now(self.balance.get_picker(black_box(&self.endpoint), &self.discover));
        match picker.expect("a picker").next() {
            Some(Address::Ip(address)) => first_byte(&address),
            _ => unreachable!("it is there"),
        }
    }

    fn rebalance(
        &self,
        all: &[Arc<Instance>],
        added: Vec<Arc<Instance>>,
        removed: Vec<Arc<Instance>>,
    ) {
        let updated = Vec::new();
        let change = Change { key: (), all: all.to_vec(), added, updated, removed };
        LoadBalance::<StaticDiscover>::rebalance(&self.balance, change);
    }
}

fn instance(address: SocketAddr) -> Arc<Instance> {
    Arc::new(Instance { address: Address::Ip(address), weight: 1, tags: HashMap::new() })
}
