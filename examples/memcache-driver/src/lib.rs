#![doc = include_str!("../README.md")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_memcached::{Client, Error as Failure, ErrorKind as Refusal, MetaProtocol, Status};
use gosd_core::{
    BoxFuture, Driver, DriverUrl, Error, ErrorKind, Instance, InstanceId, Result, async_trait,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::sync::{MappedMutexGuard, MutexGuard};

/// The characters that a key cannot contain, besides those that are not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// The longest expiry, in seconds. memcached takes a greater number for a date.
const LONGEST: u64 = 30 * 24 * 60 * 60;
/// The longest id in a key, which may have 250 bytes, 64 of them for the namespace.
const LONGEST_ID: usize = 150;
const PRIME: u128 = (1 << 88) + 0x13b;
/// How many keys one request asks for. The request has to fit into the socket's buffer, because the server
/// reads no more of it while its answers wait to be read.
const BATCH: usize = 100;

/// Opens `memcache://host[:port][?namespace=name]`; the default port is 11211.
///
/// # Errors
///
/// [`ErrorKind::Config`] for a URL of another form. Nothing is connected yet.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let url = DriverUrl::parse(url)?;
        url.allow_keys(&["namespace"])?;
        let namespace = url.namespace()?.to_owned();
        let hosts = url.hosts_or("127.0.0.1", 11211);
        if hosts.len() > 1 || !url.path().is_empty() || url.user().or(url.password()).is_some() {
            let form = "memcache://host[:port][?namespace=name], without user, password or path";
            return Err(Error::new(ErrorKind::Config, format!("expected one host: {form}")));
        }
        let (server, (client, made)) = (format!("tcp://{}", hosts[0]), Default::default());
        Ok(Arc::new(Memcache { server, namespace, client, made }) as Arc<dyn Driver>)
    })
}

struct Memcache {
    server: String,
    namespace: String,
    /// One connection, so that the calls of a process wait here and do not compete for the index.
    client: tokio::sync::Mutex<Option<Client>>,
    /// The creation time of the index that `list` read last.
    made: Mutex<Option<String>>,
}

/// The list of all keys, with its number for compare-and-swap.
struct Index {
    cas: u64,
    made: String,
    keys: Vec<String>,
}

#[async_trait]
impl Driver for Memcache {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (key, json) = (self.key_of(instance.id()), instance.to_json());
        let expiry = format!("T{}", seconds(ttl));
        let mut client = self.connect().await?;
        let renewed = store(&mut client, &key, &json, &["MR", &expiry]).await?;
        if !renewed {
            store(&mut client, &key, &json, &[&expiry]).await?;
        }
        loop {
            let (lines, condition) = match self.index(&mut client).await? {
                Some(index) if renewed && index.keys.contains(&key) => return Ok(()),
                // The index is written even if it contains the key: another process that found the item
                // missing a moment ago may be about to write an index without it, and has to read again.
                Some(Index { cas, made, keys }) => {
                    let living = items(&mut client, &keys, &[]).await?.into_iter();
                    let others = living.map(|(other, _)| other).filter(|other| *other != key);
                    ([made, key.clone()].into_iter().chain(others).collect(), format!("C{cas}"))
                }
                None => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    (vec![now.as_nanos().to_string(), key.clone()], "ME".to_owned())
                }
            };
            if store(&mut client, &self.index_key(), &lines.join("\n"), &[&condition]).await? {
                return Ok(());
            }
        }
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let mut client = self.connect().await?;
        match client.meta_delete(self.key_of(id), false, None, None).await {
            Ok(_) | Err(Failure::Protocol(Status::NotFound)) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let mut client = self.connect().await?;
        let (made, keys) =
            self.index(&mut client).await?.map(|index| (index.made, index.keys)).unzip();
        let seen = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *seen(), made.clone());
        if before.is_some() && before != made {
            let lost = "memcached lost the index; what lives is back by its next heartbeat";
            return Err(Error::new(ErrorKind::Unavailable, lost));
        }
        let mut instances = Vec::new();
        for (key, json) in items(&mut client, &keys.unwrap_or_default(), &["v"]).await? {
            match Instance::from_json(&json) {
                Ok(instance) => instances.push(instance),
                // One bad record does not hide the others.
                Err(error) => tracing::warn!(key, %error, "skipped"),
            }
        }
        Ok(instances)
    }

    fn name(&self) -> &str {
        "memcache"
    }
}

impl Memcache {
    async fn connect(&self) -> Result<MappedMutexGuard<'_, Client>> {
        let mut client = self.client.lock().await;
        if client.as_ref().is_none_or(Client::is_closed) {
            *client = Some(Client::new(&self.server).await.map_err(failed)?);
        }
        Ok(MutexGuard::map(client, |client| client.as_mut().expect("it has just connected")))
    }

    async fn index(&self, client: &mut Client) -> Result<Option<Index>> {
        let key = self.index_key();
        let item = client.meta_get(&key, false, None, Some(&["v", "c"])).await.map_err(failed)?;
        let Some(item) = item else { return Ok(None) };
        let text = text(item.data);
        let mut lines = text.lines().map(str::to_owned);
        match (item.cas, lines.next().filter(|made| made.parse::<u128>().is_ok())) {
            (Some(cas), Some(made)) => Ok(Some(Index { cas, made, keys: lines.collect() })),
            _ => Err(Error::new(ErrorKind::Data, format!("{key} is no index of gosd; delete it"))),
        }
    }

    fn index_key(&self) -> String {
        format!("{}/index", self.namespace)
    }

    fn key_of(&self, id: &InstanceId) -> String {
        let encoded = utf8_percent_encode(id.as_str(), ENCODED).to_string();
        if encoded.len() <= LONGEST_ID {
            return format!("{}/id/{encoded}", self.namespace);
        }
        // 128-bit FNV-1a. The id itself is in the item, and no id that fits into a key begins like this.
        let mix = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        let hash = encoded.bytes().fold(0x6c62272e07bb014262b821756295c58d, mix);
        format!("{}/id/%{hash:032x}", self.namespace)
    }
}

/// The keys and values of those items that exist.
async fn items(c: &mut Client, keys: &[String], flags: &[&str]) -> Result<Vec<(String, String)>> {
    let mut items = Vec::new();
    for batch in keys.chunks(BATCH) {
        let found = c.meta_get_multi(batch, Some(flags)).await.map_err(failed)?;
        items.extend(found.into_iter().map(|item| (text(item.key), text(item.data))));
    }
    Ok(items)
}

fn text(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The expiry for a lease. It is one tick of the server's clock longer, because the first tick may come at
/// once.
fn seconds(ttl: Duration) -> u64 {
    ttl.as_secs().saturating_add(1 + u64::from(ttl.subsec_nanos() > 0)).min(LONGEST)
}

/// Stores a value. Returns `false` if the flags did not allow it.
async fn store(client: &mut Client, key: &str, value: &str, flags: &[&str]) -> Result<bool> {
    match client.meta_set(key, value, false, None, Some(flags)).await {
        Ok(_) => Ok(true),
        Err(Failure::Protocol(Status::NotStored | Status::Exists | Status::NotFound)) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: Failure) -> Error {
    use ErrorKind::{Config, Denied, Unavailable, Unsupported};
    let (kind, message) = match &error {
        Failure::Protocol(Status::Error(refusal)) => match refusal {
            Refusal::KeyTooLong => (Config, "the id is too long for memcached's keys of 250 bytes"),
            Refusal::NonexistentCommand => (Unsupported, "memcached 1.6 or later is needed"),
            Refusal::Client(why) if why.contains("unauthenticated") => {
                (Denied, "memcached asks for a password, and this driver has none")
            }
            _ => (Unavailable, "memcached refused a command"),
        },
        _ => (Unavailable, "no contact with memcached; is it running?"),
    };
    Error::new(kind, message).caused_by(error)
}
