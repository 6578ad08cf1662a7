//! Real servers for tests. Each belongs to the test that starts it, listens on free ports of the loopback
//! interface, and is killed when it is dropped, even by a panic.
//!
//! This is test code: a failure panics, and says what to install.

mod certificates;
mod cutter;
mod etcd_cluster;
mod etcd_server;
pub mod figures;
mod late;
mod memcached_server;
mod pgbouncer;
mod port;
mod postgres_server;
mod process;
mod proxy;
mod redis_cluster;
mod redis_sentinels;
mod redis_server;
mod server_user;
mod spans;
mod tls_cases;
mod tls_front;
mod wall_clock;
mod warnings;
mod watch;

pub use certificates::Certificates;
pub use cutter::Cutter;
pub use etcd_cluster::{EtcdCluster, etcd_leader};
pub use etcd_server::EtcdServer;
pub use late::late_calls_undo_nothing;
pub use memcached_server::MemcachedServer;
pub use pgbouncer::PgBouncer;
pub use port::free_port;
pub use postgres_server::PostgresServer;
pub use process::Process;
pub use proxy::{Mode, Proxy};
pub use redis_cluster::RedisCluster;
pub use redis_sentinels::RedisSentinels;
pub use redis_server::RedisServer;
pub use spans::{Fields, collect_spans, spans_to};
pub use tls_cases::{TlsCase, tls_cases};
pub use tls_front::{TlsFront, strict_tls};
pub use wall_clock::WallClock;
pub use warnings::Warnings;
pub use watch::{Watch, changes_come_together};
