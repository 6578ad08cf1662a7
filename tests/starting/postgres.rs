//! The same on PostgreSQL.

use gosd_testservers::PostgresServer;

use super::{AT_ONCE, ONE_CALL, SECRET, cast, on_tokio, refused, registers, standalone};

/// A server that knows a user whose password is the secret, and to whom the schema belongs.
async fn server() -> PostgresServer {
    let server = PostgresServer::start(&[]).await;
    server.sql(&format!("CREATE ROLE shop LOGIN PASSWORD '{SECRET}'")).await;
    server.sql("CREATE SCHEMA gosd AUTHORIZATION shop").await;
    server
}

fn url(server: &PostgresServer) -> String {
    format!("postgres://shop:{SECRET}@127.0.0.1:{}/postgres", server.port())
}

#[test]
fn that_is_down() {
    let cast = cast("postgres::that_is_down");
    on_tokio(async {
        let mut server = server().await;
        server.process().kill().await;
        let url = url(&server);
        let process = standalone(&cast, &[("gosdDriver", &url)], AT_ONCE, "is the server running");
        server.restart().await;
        registers(process, &url).await;
    });
}

/// Connections are made, and the process that would serve them is not.
#[test]
fn that_does_not_answer() {
    let cast = cast("postgres::that_does_not_answer");
    on_tokio(async {
        let mut server = server().await;
        server.process().signal("STOP").await;
        let url = url(&server);
        let env = [("gosdDriver", url.as_str()), ("gosdTryRefreshAmount", "1")];
        let process = standalone(&cast, &env, ONE_CALL, "postgres: ");
        server.process().signal("CONT").await;
        registers(process, &url).await;
    });
}

#[test]
fn that_cannot_work() {
    let cast = cast("postgres::that_cannot_work");
    on_tokio(async {
        let server = server().await;
        let port = server.port();
        let with = |login: &str, rest: &str| format!("postgres://{login}127.0.0.1:{port}/{rest}");
        refused(&cast, &with("shop@", "postgres"), "Denied", "password");
        refused(&cast, &with("nobody:sesame@", "postgres"), "Denied", "password");
        refused(&cast, &with("shop:sesame@", "none"), "Config", "database");
        refused(&cast, &with("shop:sesame@", "postgres?sslmode=verify-full"), "Config", "TLS");
        server
            .sql("REVOKE ALL ON SCHEMA gosd FROM shop; ALTER SCHEMA gosd OWNER TO postgres")
            .await;
        refused(&cast, &with("shop:sesame@", "postgres"), "Denied", "permission");
        server.sql("CREATE TABLE gosd.orders (id int)").await;
        refused(&cast, &server.url(), "Data", "something else");
    });
}
