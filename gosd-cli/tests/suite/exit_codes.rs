//! The exit codes, each with a cause.

use std::process::Stdio;

use crate::support::{LEASE, Place, fixed, ran};

#[test]
fn usage_is_two() {
    let place = Place::sqlite();
    for (args, what) in [
        (&["nonsense"][..], "unrecognized subcommand"),
        (&["register", "mail", "no url"], "no url"),
        (&["register", "gosd.drain", "http://10.0.0.7"], "reserved"),
        (&["drain", "mail-1", "--for", "2w"], "30s"),
        (&["register", "mail", "http://10.0.0.7", "-m", "zone"], "zone=b"),
        (&["ls", "-d", "nats:x"], "compiled in are"),
        (&["ls", "-n", "blue", "-d", "sqlite:?namespace=green"], "leave one away"),
        (&["register", "mail", "http://127.0.0.1", "-d", "redis://192.0.2.1"], "gosdAdvertise"),
        (&["get", "mail", "--wait", "2d"], "'--wait <TIME>': expected 0s to 1d"),
        (&["run", "mail", "-p", "80", "--every", "0s", "--", "true"], "'--every <TIME>': expected"),
    ] {
        let ran = place.run(args);
        assert!(ran.code == 2 && ran.err.contains(what), "{args:?}: {ran:?}");
    }
    let ran = ran(place.command(&["ls"]).env("gosdLeaseTTL", "soon"));
    assert!(ran.code == 2 && ran.err.contains("gosdLeaseTTL is \"soon\""), "{ran:?}");
}

#[test]
fn nothing_found_is_three() {
    let place = Place::sqlite();
    for args in [&["ls"][..], &["ls", "mail"], &["get", "mail"], &["get", "mail", "--wait", "1ms"]]
    {
        let ran = place.run(args);
        assert!(ran.code == 3 && ran.out.is_empty(), "{args:?}: {ran:?}");
        assert!(ran.err.contains("gosd.db, namespace gosd"), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_database_that_cannot_be_reached_is_four() {
    let place = Place::sqlite();
    let port = gosd_testservers::free_port();
    let url = format!("redis://:sesame@127.0.0.1:{port}");
    for args in [
        &["ls"][..],
        &["get", "mail"],
        &["get", "mail", "--wait", "1ms"],
        &["register", "mail", "http://127.0.0.1"],
        &["drain", "mail-1"],
        &["deregister", "mail-1"],
    ] {
        let ran = place.run(&[args, &["-d", &url][..]].concat());
        assert!(ran.code == 4 && ran.err.contains("refused"), "{args:?}: {ran:?}");
        assert!(!ran.err.contains("sesame"), "{ran:?}");
    }
}

#[test]
fn a_file_that_is_no_registry_is_one() {
    let place = Place::sqlite();
    std::fs::write(place.directory.path().join("gosd.db"), "a file of somebody else's").unwrap();
    assert_eq!(place.run(&["ls"]).code, 1);
}

#[tokio::test]
async fn a_reader_that_closes_the_output_is_no_failure() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    driver.register(&fixed("mail", 1, "http://10.0.0.7:25"), LEASE).await.unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(&["ls"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
