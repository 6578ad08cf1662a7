//! pingora's load balancer, for comparison.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gosd_core::async_trait;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

use super::{address, addresses, first_byte, now};
use crate::picks::Run;
use crate::rounds::{Case, nanos};

/// pingora panics with more than 65,535.
const MOST: usize = 60_000;

pub fn picks(size: usize, run: Run) -> Case<'static> {
    let (name, balancer, _) = balancer("`LoadBalancer::select`", size);
    Case::new(name, move || {
        run.time(|| {
            || {
                let backend = balancer.select(b"", 16).expect("it is there");
                first_byte(backend.addr.as_inet().expect("an address"))
            }
        })
    })
}

pub fn changes(size: usize) -> Case<'static> {
    let (name, balancer, listed) = balancer("`LoadBalancer::update`", size);
    let newcomer = backend(size);
    Case::new(name, move || {
        let start = Instant::now();
        listed.0.lock().unwrap().insert(newcomer.clone());
        now(balancer.update()).expect("an update");
        listed.0.lock().unwrap().remove(&newcomer);
        now(balancer.update()).expect("an update");
        nanos(start.elapsed(), 2)
    })
}

fn balancer(what: &str, size: usize) -> (String, LoadBalancer<RoundRobin>, Arc<Listed>) {
    let name = match size {
        ..=MOST => format!("pingora {what}"),
        _ => format!("pingora {what}, of {MOST}"),
    };
    let backends = addresses(size.min(MOST)).map(|address| backend_at(&address.to_string()));
    let listed = Arc::new(Listed(Mutex::new(backends.collect())));
    let balancer = LoadBalancer::from_backends(Backends::new(Box::new(Shared(listed.clone()))));
    now(balancer.update()).expect("an update");
    (name, balancer, listed)
}

fn backend(number: usize) -> Backend {
    backend_at(&address(number).to_string())
}

fn backend_at(address: &str) -> Backend {
    Backend::new(address).expect("a good address")
}

struct Listed(Mutex<BTreeSet<Backend>>);

struct Shared(Arc<Listed>);

#[async_trait]
impl ServiceDiscovery for Shared {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((self.0.0.lock().unwrap().clone(), HashMap::new()))
    }
}
