//! `gosd export` and `gosd import`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use gosd::{Instance, InstanceId};
use gosd_testservers::free_port;

use crate::support::{LEASE, Place, Process, fixed};

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
    for instance in [&one, &fixed("orders", 2, "http://h"), &Instance::drain_of(one.id())] {
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

/// A server that refuses one instance refuses no other for it.
#[test]
fn what_a_server_refuses_is_told_and_the_rest_is_imported() {
    let database = Place::sqlite();
    let server = database.start(&["serve", "127.0.0.1:0"]);
    let place = Place::at(server.wait_for("http://"));
    let of = |id: &str| {
        Instance::from_parts(InstanceId::from(id), "mail", "http://10.0.0.7:25", [].into())
    };
    let good = (1..=41).map(|n| of(&format!("mail-{n}"))).collect::<Vec<_>>();
    let mut lines = good.iter().map(Instance::to_json).collect::<Vec<_>>();
    lines.insert(1, of("..").to_json());
    let (code, said) = import(&place, &lines.join("\n"));
    assert!(code == Some(1) && said.len() == 2, "{said:?}");
    assert!(said[0].starts_with("gosd: \"..\" is left out: "), "{said:?}");
    assert!(said[1].contains("41 registered"), "{said:?}");
    let mut ids = good.iter().map(|it| it.id().as_str()).collect::<Vec<_>>();
    ids.sort_unstable();
    let listed = database.out(&["ls", "mail", "-o", "id"]);
    let mut listed = listed.lines().collect::<Vec<_>>();
    listed.sort_unstable();
    assert_eq!(listed, ids);
}

#[test]
fn what_fails_once_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::at(format!("http://{}", listener.local_addr().unwrap()));
    let server = thread::spawn(move || {
        for answer in ["503 Service Unavailable\r\nContent-Length: 0", "204 No Content"] {
            let (mut request, mut text) = (listener.accept().unwrap().0, Vec::new());
            // All of it, or the answer might be lost when the connection is closed.
            while !text.ends_with(b"}") {
                let mut part = [0; 4_096];
                let length = request.read(&mut part).unwrap();
                assert!(length > 0);
                text.extend_from_slice(&part[..length]);
            }
            let answer = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n");
            request.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (code, said) = import(&place, &fixed("mail", 1, "http://10.0.0.7:25").to_json());
    assert!(code == Some(0) && said[0].contains("1 registered"), "{said:?}");
    server.join().unwrap();
}

/// Otherwise the import of many instances would take as many times the bound of a call.
#[test]
fn where_nothing_can_be_registered_the_import_is_given_up() {
    let place = Place::at(format!("redis://127.0.0.1:{}", free_port()));
    let lines = (0..100).map(|n| fixed("mail", n, "http://10.0.0.7:25").to_json() + "\n");
    let (code, said) = import(&place, &lines.collect::<String>());
    assert!(code == Some(4) && said.len() < 50, "{said:?}");
    assert!(said.iter().any(|line| line.contains("68 more are left out")), "{said:?}");
}
