//! `gosd serve`, `gosd export` and `gosd import`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use gosd_testservers::Certificates;
use rustix::process::Signal;

use crate::support::{LEASE, Place, Process, fixed};

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

/// Runs `gosd import` with this text as its input.
fn import(place: &Place, text: &str) -> (Option<i32>, Vec<String>) {
    let mut command = place.command(&["import", "--for", "1h"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let process = Process::start(command.stdin(Stdio::from(reader)));
    // This process's own end of the pipe has to be closed, or the reader would wait for ever.
    drop(command);
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    let (status, said) = process.end();
    (status.code(), said)
}

#[tokio::test]
async fn exported_instances_are_imported_elsewhere() {
    let from = Place::sqlite();
    let driver = from.driver().await;
    let one = fixed("mail", 1, "http://10.0.0.7:25").with_metadata("zone", "ä \"b\"");
    for instance in [&one, &fixed("orders", 2, "http://h"), &gosd::Instance::drain_of(one.id())] {
        driver.register(instance, LEASE).await.unwrap();
    }
    let lines = from.out(&["export"]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let to = Place::redis().await;
    let (code, said) = import(&to, &lines);
    assert!(code == Some(0) && said[0].contains("2 registered in redis://"), "{said:?}");
    assert_eq!(to.out(&["export"]), lines);
}

/// One after the other they could take longer than a lease: a registry server answers when it has seen the change of
/// its database.
#[test]
fn instances_are_imported_at_the_same_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::at(format!("http://{}", listener.local_addr().unwrap()));
    // This server answers no registration before the other one has come.
    let server = thread::spawn(move || {
        let mut requests = [(); 2].map(|()| listener.accept().unwrap().0);
        for request in &mut requests {
            assert!(request.read(&mut [0; 4_096]).unwrap() > 0);
            request.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let lines = [1, 2].map(|number| fixed("mail", number, "http://10.0.0.7:25").to_json());
    let (code, said) = import(&place, &lines.join("\n"));
    assert!(code == Some(0) && said[0].contains("2 registered"), "{said:?}");
    server.join().unwrap();
}

#[test]
fn what_cannot_be_registered_is_told_and_the_rest_is_imported() {
    let place = Place::sqlite();
    let good = fixed("mail", 1, "http://10.0.0.7:25").to_json();
    let reserved = fixed("gosd.drain", 1, "http://h").to_json();
    // As the Go library registers consumers.
    let [fake, empty] = ["http://localhost:fake", ""].map(|url| fixed("go", 1, url).to_json());
    for (bad, why) in [
        ("{}", "not the JSON of an instance"),
        ("no JSON", "not the JSON of an instance"),
        (&reserved, "gosd.drain-"),
        (&fake, "localhost:fake"),
        (&empty, "\"go-0199"),
    ] {
        let (code, said) = import(&place, &format!("{bad}\n\n{good}\n"));
        assert_eq!((code, said.len()), (Some(1), 2), "{bad}: {said:?}");
        let left_out = said[0].starts_with("gosd: line 1 is left out: ") && said[0].contains(why);
        assert!(left_out && said[1].contains("1 registered"), "{bad}: {said:?}");
        let id = place.out(&["ls", "-o", "id"]);
        place.out(&["deregister", id.trim()]);
    }
}
