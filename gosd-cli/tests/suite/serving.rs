//! `gosd serve`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use gosd_testservers::Certificates;
use rustix::process::Signal;

use crate::support::Place;

#[test]
fn a_database_is_served_with_all_its_namespaces() {
    let place = Place::sqlite();
    let server = place.start(&["serve", "127.0.0.1:0", "-n", "shop"]);
    let url = server.wait_for("http://");
    place.out(&["register", "mail", "http://10.0.0.7:25", "-d", &url, "-n", "shop"]);
    place.out(&["register", "mail", "http://10.0.0.8:25", "-d", &url, "-n", "blue"]);
    // Clients that use the file itself see the same.
    assert_eq!(place.out(&["get", "mail", "-n", "shop"]), "http://10.0.0.7:25\n");
    assert_eq!(place.out(&["get", "mail", "-n", "blue"]), "http://10.0.0.8:25\n");
    // The namespace that the server was started with is its own: health depends on it, and the page shows it
    // first.
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let request = "GET /v1/namespaces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(r#"{"namespaces":["shop","blue"]}"#), "{answer}");
    server.signal(Signal::TERM);
    assert!(server.end().0.success());
}

#[test]
fn with_a_namespace_in_its_url_only_that_one_is_served() {
    let place = Place::sqlite();
    let of_one = format!("{}?namespace=shop", place.url);
    let server = place.start(&["serve", "127.0.0.1:0", "-d", &of_one]);
    server.wait_for("only the namespace shop is served");
    let url = server.wait_for("http://");
    let register = |namespace| {
        place.run(&["register", "mail", "http://10.0.0.7", "-d", &url, "-n", namespace])
    };
    assert_eq!(register("shop").code, 0);
    let refused = register("blue");
    assert!(refused.code == 2 && refused.err.contains("no such namespace"), "{refused:?}");
    assert_eq!(place.out(&["get", "mail", "-n", "shop"]), "http://10.0.0.7\n");
}

#[test]
fn a_client_without_a_token_is_not_let_in() {
    let place = Place::sqlite();
    let file = |name: &str, text: &str| {
        let path = place.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let write = file("write", "sesame-sesame-sesame\n\nsesame-number-two\n");
    let read = file("read", "only-for-looking-at-it\n");
    let server = place.start(&[
        "serve",
        "127.0.0.1:0",
        "--token-file",
        &write,
        "--read-only-token-file",
        &read,
    ]);
    let url = server.wait_for("http://");
    let bearing = |token: &str| url.replace("//", &format!("//:{token}@"));
    let register = |url: &str| place.run(&["register", "mail", "http://h", "-d", url]).code;
    assert_eq!(register(&url), 1);
    assert_eq!(register(&bearing("only-for-looking-at-it")), 1);
    assert_eq!(register(&bearing("sesame-number-two")), 0);
    place.out(&["ls", "-d", &bearing("only-for-looking-at-it")]);

    for (args, what) in [
        (&["serve", "127.0.0.1:0", "--token-file", &file("none", "\n")][..], "no token in it"),
        (&["serve", "127.0.0.1:0", "--token-file", "missing"], "missing"),
        (&["serve", "0.0.0.0:0"], "not on loopback"),
        (&["serve", "127.0.0.1:0", "--cert", "cert.pem"], "--key"),
        (&["serve", "127.0.0.1:0", "-d", "nats:x"], "compiled in are"),
    ] {
        let ran = place.run(args);
        assert!(ran.code == 2 && ran.err.contains(what), "{args:?}: {ran:?}");
    }
}

#[test]
fn with_a_certificate_the_server_speaks_tls() {
    let (place, ours, others) = (Place::sqlite(), Certificates::new(), Certificates::new());
    let (cert, key) = (ours.text("server.pem"), ours.text("server.key"));
    let server = place.start(&["serve", "127.0.0.1:0", "--cert", &cert, "--key", &key]);
    let url = server.wait_for("https://");
    let trusting = |ca: &Certificates| format!("{url}?ca={}", ca.text("ca.pem"));
    place.out(&["register", "mail", "http://10.0.0.7:25", "-d", &trusting(&ours)]);
    assert_eq!(place.out(&["get", "mail", "-d", &trusting(&ours)]), "http://10.0.0.7:25\n");
    assert_eq!(place.out(&["get", "mail"]), "http://10.0.0.7:25\n");
    for untrusting in [trusting(&others), url.clone(), url.replace("https", "http")] {
        let ran = place.run(&["ls", "-d", &untrusting]);
        assert!(ran.code != 0 && ran.out.is_empty(), "{untrusting}: {ran:?}");
    }
    let of_another = others.text("server.key");
    let ran = place.run(&["serve", "127.0.0.1:0", "--cert", &cert, "--key", &of_another]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_unix_socket_serves_clients_on_the_same_host() {
    let place = Place::sqlite();
    let path = place.directory.path().join("gosd.sock");
    let server = place.start(&["serve", "--unix", path.to_str().unwrap()]);
    let url = server.wait_for("http+unix://");
    place.out(&["register", "mail", "http://10.0.0.7:25", "-d", &url]);
    assert_eq!(place.out(&["get", "mail"]), "http://10.0.0.7:25\n");
    server.signal(Signal::INT);
    assert!(server.end().0.success());
}
