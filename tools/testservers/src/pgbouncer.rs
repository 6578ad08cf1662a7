//! A pooler before a PostgreSQL server.

use std::fs;

use tempfile::TempDir;

use crate::server_user::{as_other_than_root, give_to_server};
use crate::{PostgresServer, Process, free_port};

/// PgBouncer in transaction mode: each transaction of a client gets any of a few connections.
#[derive(Debug)]
pub struct PgBouncer {
    _process: Process,
    _directory: TempDir,
    port: u16,
}

impl PgBouncer {
    /// Starts a pooler with so many connections to a server, for the superuser `postgres`, password `p@ss`.
    pub async fn start(server: &PostgresServer, connections: usize) -> Self {
        let directory = TempDir::new().expect("a directory can be made");
        let (path, port) = (directory.path(), free_port());
        let users = path.join("users");
        fs::write(&users, "\"postgres\" \"p@ss\"\n").expect("the directory can be written");
        // The check of a password by SCRAM takes thousands of hashes, on the one thread that PgBouncer has.
        let settings = format!(
            "[databases]\n\
             * = host={} port={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = md5\n\
             auth_file = {}\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n",
            server.socket_folder().display(),
            server.port(),
            users.display(),
        );
        let file = path.join("pgbouncer.ini");
        fs::write(&file, settings).expect("the directory can be written");
        give_to_server(path);
        let mut command = vec!["-c".to_owned(), r#"exec "$@" 2>&1"#.to_owned(), "sh".to_owned()];
        command.extend(as_other_than_root());
        command.extend(["/usr/sbin/pgbouncer".to_owned(), file.display().to_string()]);
        let process = Process::start("sh", "pgbouncer", command, "process up").await;
        Self { _process: process, _directory: directory, port }
    }

    /// The port that clients connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }
}
