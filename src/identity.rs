//! The identity of an opened driver's registry, so that no client loads the snapshot file of another
//! registry.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::absolute;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::limits::shown;
use gosd_core::{BoxStream, Driver, DriverUrl, Event, Instance, InstanceId, Result, async_trait};

/// The file of the bare scheme `sqlite`.
const SQLITE_FILE: &str = "gosd.db";

/// A driver that knows the identity of its registry, and otherwise behaves like the wrapped one.
pub(crate) struct Identified {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) identity: String,
    /// The name in errors, instead of the driver's own name.
    pub(crate) name: Option<String>,
}

#[warn(clippy::missing_trait_methods, reason = "it passes all of them on")]
#[async_trait]
impl Driver for Identified {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.driver.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.driver.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.driver.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        self.driver.watch()
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        self.driver.watch_services(services)
    }

    async fn list_services(&self, services: &BTreeSet<String>) -> Result<Vec<Instance>> {
        self.driver.list_services(services).await
    }

    fn is_polled_in_part(&self) -> bool {
        self.driver.is_polled_in_part()
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.driver.name())
    }

    fn identity(&self) -> Option<&str> {
        Some(self.driver.identity().unwrap_or(&self.identity))
    }
}

/// The identity of the registry behind a URL, without secrets.
///
/// For a driver that is compiled in, that is the address, the path and the namespace. For another driver gosd
/// does not know which parts of the URL count, so each URL counts as a separate registry.
pub(crate) fn identity(url: &str, is_compiled_in: bool) -> String {
    match DriverUrl::parse(url) {
        Ok(parsed) if is_compiled_in => {
            let namespace = parsed.namespace().unwrap_or_default();
            if parsed.scheme() != "sqlite" {
                return format!("{}, namespace {namespace}", with_hosts_sorted(&parsed));
            }
            // A relative path is another file in another working directory.
            let path = if parsed.path().is_empty() { SQLITE_FILE } else { parsed.path() };
            let path = absolute(path).unwrap_or_else(|_| path.into());
            format!("sqlite:{}, namespace {namespace}", path.display())
        }
        _ => {
            // The hash may change with the compiler. A snapshot file is then ignored once.
            let mut hasher = DefaultHasher::new();
            url.hash(&mut hasher);
            format!("{} ({:016x})", shown(url), hasher.finish())
        }
    }
}

/// The URL as it is shown, with its hosts in alphabetical order: in whichever order a URL names the nodes of
/// a cluster, or servers that stand in for each other, they are one registry.
fn with_hosts_sorted(url: &DriverUrl) -> String {
    let shown = url.to_string();
    let Some((head, rest)) = shown.split_once("//").filter(|_| url.hosts().len() > 1) else {
        return shown;
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let mut hosts: Vec<&str> = hosts.split(',').collect();
    hosts.sort_unstable();
    format!("{head}//{user}{}{path}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_has_its_own_and_a_password_makes_no_difference() {
        let compiled_in = [
            "redis://h",
            "redis://h/1",
            "redis://other",
            "redis://h?namespace=a",
            "redis://h?namespace=b",
            "etcd://h?namespace=b",
            "sqlite",
            "sqlite:other.db",
        ];
        let of_others = ["mine", "mine:a b|c", "mine://u:sesame@h?table=a", "mine://h?table=b"];
        let mut all: Vec<String> = compiled_in.map(|url| identity(url, true)).into();
        all.extend(of_others.map(|url| identity(url, false)));
        for (i, one) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(one), "{one}");
            assert!(!one.contains("sesame"), "{one}");
        }
        let of = |url| identity(url, true);
        assert_eq!(of("redis://:sesame@h?ca=x"), of("redis://:other@h"));
        assert!(!of("redis://:sesame@h").contains("sesame"));
        assert_eq!(of("http://:x@a:1,b,[::1]:2/p"), of("http://:x@[::1]:2,b,a:1/p"));
        assert_eq!(of("http://:x@b,a/p"), "http://***@a,b/p, namespace gosd");
        assert_eq!(of("redis://h?namespace=gosd"), of("redis://h"));
        let file = std::env::current_dir().unwrap().join("gosd.db");
        assert_eq!(of("sqlite"), of(&format!("sqlite:{}", file.display())));
    }
}
