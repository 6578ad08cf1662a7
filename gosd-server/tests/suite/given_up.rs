//! Requests whose clients have gone before the server reads them.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use gosd_core::{Driver, Memory};
use gosd_server::Settings;
use gosd_testkit::{Faulty, Operation};

use super::support::{LEASE, ask, http, instance, registration, start, url};

/// Sends a request and closes the connection, without giving the server's tasks a chance to run.
///
/// For the server this is as if its process had stood still meanwhile.
fn send_and_leave(address: SocketAddr, request: &str) {
    let mut socket = TcpStream::connect(address).expect("the system accepts it");
    socket.write_all(request.as_bytes()).expect("the system takes it");
}

// On one thread, so that the server runs only while the test waits.
#[tokio::test]
async fn a_change_whose_client_has_gone_is_not_made() {
    let faulty = std::sync::Arc::new(Faulty::new(std::sync::Arc::new(Memory::new())));
    let settings = Settings::new().namespace("gosd", faulty.clone()).unwrap();
    let server = start(settings).await;
    let mail = instance("mail");
    faulty.register(&mail, LEASE).await.unwrap();
    // The server is in contact with its database, so that no request below waits for that.
    assert_eq!(ask(http().get(url(&server, "/health"))).await.status, 200);
    let before = [faulty.calls(Operation::Register), faulty.calls(Operation::Deregister)];

    let body = registration().to_string();
    let head = "HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    let length = body.len();
    send_and_leave(
        server.address(),
        &format!("PUT /v1/gosd/instances/mail-1 {head}\r\ncontent-length: {length}\r\n\r\n{body}"),
    );
    let id = mail.id();
    send_and_leave(server.address(), &format!("DELETE /v1/gosd/instances/{id} {head}\r\n\r\n"));
    // Once these are answered, the server has read what came before them.
    for _ in 0..20 {
        assert_eq!(ask(http().get(url(&server, "/v1/gosd/instances"))).await.status, 200);
    }
    assert_eq!(faulty.calls(Operation::Register), before[0], "it registers for nobody");
    assert_eq!(faulty.calls(Operation::Deregister), before[1], "it removes for nobody");

    // A client that waits is served.
    let path = "/v1/gosd/instances/mail-1";
    assert_eq!(ask(http().put(url(&server, path)).json(&registration())).await.status, 204);
    assert_eq!(ask(http().delete(url(&server, path))).await.status, 204);
    assert_eq!(faulty.calls(Operation::Register), before[0] + 1);
    assert_eq!(faulty.calls(Operation::Deregister), before[1] + 1);
}
