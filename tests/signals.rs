//! What a signal does to a process with clients in it. Each test starts a process and sends it one.
#![cfg(target_os = "linux")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use gosd::{Client, Settings};
use rustix::process::Signal;
use support::loud::{SIMPLE, drivers, ready};
use support::{Cast, Process, as_first_process, hear, tell};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// The role of a program that does not handle signals itself.
fn service() {
    let runtime = Runtime::new().unwrap();
    let _client = runtime.block_on(drivers().start("mail", "http://127.0.0.1:1")).unwrap();
    tell("ready");
    hear();
}

/// Settings with which nothing ends a call that hangs.
fn patient() -> Settings {
    // Longer than any test takes.
    let day = Duration::from_secs(86_400);
    Settings::default().timeout(day).lease_ttl(day)
}

/// The role of a program with two clients, whose driver says goodbye in a certain way.
fn two_clients(url: &str) {
    let runtime = Runtime::new().unwrap();
    let _clients = runtime.block_on(async {
        let driver = drivers().open(url).await.unwrap();
        let start = |url| {
            let builder = Client::builder(Arc::clone(&driver)).settings(patient());
            builder.register("mail", url).handle_signals(true).start()
        };
        [start("http://127.0.0.1:1").await.unwrap(), start("http://127.0.0.1:2").await.unwrap()]
    });
    tell("ready");
    hear();
}

#[test]
fn the_client_leaves_and_the_signal_takes_its_default_action() {
    let cast = Cast::new(
        "the_client_leaves_and_the_signal_takes_its_default_action",
        &[("service", service)],
    );
    for signal in [Signal::TERM, Signal::INT] {
        let process = ready(&cast, "service", &SIMPLE);
        process.signal(signal);
        let (status, said) = process.end();
        assert_eq!(said, ["leaving", "left"]);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }
}

#[test]
fn all_clients_leave_at_the_same_time() {
    let cast = Cast::new(
        "all_clients_leave_at_the_same_time",
        &[("service", || two_clients("loud:together"))],
    );
    let process = ready(&cast, "service", &[]);
    process.signal(Signal::TERM);
    let (status, said) = process.end();
    assert_eq!(said, ["leaving", "leaving", "left", "left"]);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

#[test]
fn a_backend_that_hangs_is_not_waited_for_longer_than_three_seconds() {
    let cast = Cast::new(
        "a_backend_that_hangs_is_not_waited_for_longer_than_three_seconds",
        &[("service", || two_clients("loud:hangs"))],
    );
    let process = ready(&cast, "service", &[]);
    let started = Instant::now();
    process.signal(Signal::TERM);
    let (status, said) = process.end();
    assert_eq!(said, ["leaving", "leaving"]);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
    assert!(started.elapsed() >= Duration::from_millis(2_900), "{:?}", started.elapsed());
}

/// Changes are polled here, so others send requests for 6.5 s after the goodbye.
#[test]
fn a_backend_that_hangs_does_not_cut_the_drain_of_another_client_short() {
    fn program() {
        let runtime = Runtime::new().unwrap();
        let _clients = runtime.block_on(async {
            let start = async |backend| {
                let driver = drivers().open(backend).await.unwrap();
                let builder = Client::builder(driver).settings(patient()).handle_signals(true);
                builder.register("mail", "http://127.0.0.1:1").start().await.unwrap()
            };
            [start("loud:hangs").await, start("loud:simple").await]
        });
        tell("ready");
        hear();
    }
    let cast = Cast::new(
        "a_backend_that_hangs_does_not_cut_the_drain_of_another_client_short",
        &[("program", program)],
    );
    let process = ready(&cast, "program", &[]);
    let started = Instant::now();
    process.signal(Signal::TERM);
    let (status, said) = process.end();
    assert_eq!(said, ["leaving", "leaving", "left"]);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
    assert!(started.elapsed() >= Duration::from_millis(6_400), "{:?}", started.elapsed());
}

#[test]
fn a_backend_that_hangs_does_not_keep_a_server_from_its_graceful_shutdown() {
    fn program() {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let driver = drivers().open("loud:hangs").await.unwrap();
            let builder = Client::builder(driver).settings(patient());
            let client = builder.register("mail", "http://127.0.0.1:1").start().await.unwrap();
            let signal = client.shutdown_on_signal();
            tell("ready");
            signal.await;
            tell("shut down");
        });
        std::process::exit(7);
    }
    let cast = Cast::new(
        "a_backend_that_hangs_does_not_keep_a_server_from_its_graceful_shutdown",
        &[("program", program)],
    );
    let process = ready(&cast, "program", &[]);
    let started = Instant::now();
    process.signal(Signal::TERM);
    process.wait_for("shut down");
    assert!(started.elapsed() >= Duration::from_millis(2_900), "{:?}", started.elapsed());
    let (status, _) = process.end();
    assert_eq!(status.code(), Some(7), "{status}");
}

#[test]
fn a_second_signal_takes_its_default_action_at_once() {
    let cast = Cast::new(
        "a_second_signal_takes_its_default_action_at_once",
        &[("service", || two_clients("loud:hangs"))],
    );
    let process = ready(&cast, "service", &[]);
    process.signal(Signal::TERM);
    process.wait_for("leaving");
    process.signal(Signal::INT);
    let (status, _) = process.end();
    // If the process had waited after the first signal, that one would have ended it.
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}");
}

#[test]
fn a_program_that_takes_over_ends_in_its_own_time() {
    fn program() {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let client = drivers().start("mail", "http://127.0.0.1:1").await.unwrap();
            let _other = drivers().start("mail", "http://127.0.0.1:2").await.unwrap();
            // The call takes the signal over; the future only waits for it.
            let signal = client.shutdown_on_signal();
            tell("ready");
            hear();
            signal.await;
            tell("shut down");
        });
        hear();
        std::process::exit(7);
    }
    let cast = Cast::new("a_program_that_takes_over_ends_in_its_own_time", &[("program", program)]);
    let mut process = ready(&cast, "program", &SIMPLE);
    process.signal(Signal::TERM);
    for _ in 0..2 {
        process.wait_for("left");
    }
    process.say("go on");
    process.wait_for("shut down");
    process.say("end");
    let (status, said) = process.end();
    assert_eq!((status.code(), said), (Some(7), Vec::new()), "{status}");

    // A second signal cuts a drain short, as a user at a terminal expects.
    for second in [Signal::INT, Signal::TERM] {
        let mut process = ready(&cast, "program", &SIMPLE);
        process.signal(Signal::TERM);
        process.say("go on");
        process.wait_for("shut down");
        process.signal(second);
        let (status, _) = process.end();
        assert_eq!(status.signal(), Some(second.as_raw()), "{status}");
    }
}

#[test]
fn a_server_finishes_the_request_under_way() {
    fn server() {
        Runtime::new().unwrap().block_on(async {
            let finish = Arc::new(Notify::new());
            let wait = Arc::clone(&finish);
            let slow = async move || {
                tell("asked");
                wait.notified().await;
                "answered"
            };
            let app = Router::new().route("/", get(slow));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let driver = drivers().from_env().await.unwrap();
            let url = format!("http://{address}");
            let client = Client::builder(driver).register("mail", &url).start().await.unwrap();
            std::thread::spawn(move || {
                hear();
                finish.notify_one();
            });
            tell(&format!("ready at {address}"));
            let server = axum::serve(listener, app);
            server.with_graceful_shutdown(client.shutdown_on_signal()).await.unwrap();
            tell("served");
        });
    }
    let cast = Cast::new("a_server_finishes_the_request_under_way", &[("server", server)]);
    let mut process = cast.start("server", &SIMPLE);
    let mut request = TcpStream::connect(process.wait_for("ready at ")).unwrap();
    request.set_read_timeout(Some(support::LATE)).unwrap();
    request.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    process.wait_for("asked");
    process.signal(Signal::TERM);
    process.wait_for("left");
    process.say("finish");
    let mut answer = String::new();
    request.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("answered"), "{answer}");
    let (status, said) = process.end();
    assert!(status.success() && said == ["served"], "{status} {said:?}");
}

#[test]
fn the_first_process_of_a_container_exits_with_the_shells_code() {
    let cast = Cast::new(
        "the_first_process_of_a_container_exits_with_the_shells_code",
        &[("service", service)],
    );
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start(as_first_process(&cast.command("service")).envs(SIMPLE));
        process.wait_for("ready");
        process.signal_child(signal);
        let (status, said) = process.end();
        assert_eq!(said, ["leaving", "left"]);
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{status}");
    }
}

#[test]
fn other_signals_are_left_alone() {
    let cast = Cast::new("other_signals_are_left_alone", &[("service", service)]);
    // A signal that the tests were started with as ignored, for example by nohup, would prove nothing.
    for signal in [Signal::USR1, Signal::USR2] {
        let process = ready(&cast, "service", &SIMPLE);
        assert!(process.catches(Signal::TERM) && !process.catches(signal));
        process.signal(signal);
        let (status, said) = process.end();
        assert_eq!((status.signal(), said), (Some(signal.as_raw()), Vec::new()), "{status}");
    }
}

#[test]
fn without_handle_signals_a_signal_is_not_handled() {
    fn discovers() {
        let runtime = Runtime::new().unwrap();
        let _client = runtime.block_on(drivers().connect()).unwrap();
        tell("ready");
        hear();
    }
    fn builds() {
        let runtime = Runtime::new().unwrap();
        let _client = runtime.block_on(async {
            let driver = drivers().from_env().await.unwrap();
            Client::builder(driver).register("mail", "http://127.0.0.1:1").start().await.unwrap()
        });
        tell("ready");
        hear();
    }
    let cast = Cast::new(
        "without_handle_signals_a_signal_is_not_handled",
        &[("discovers", discovers), ("builds", builds)],
    );
    for role in ["discovers", "builds"] {
        let process = ready(&cast, role, &SIMPLE);
        assert!(!process.catches(Signal::TERM), "{role}");
        process.signal(Signal::TERM);
        let (status, said) = process.end();
        assert_eq!((status.signal(), said), (Some(Signal::TERM.as_raw()), Vec::new()), "{role}");
    }
}
