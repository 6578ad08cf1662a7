//! Several servers of one database: what happens when one of them is gone or misbehaves.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, select_all};
use gosd_core::{Client, Driver, ErrorKind, Event, Fact, Memory, Settings as ClientSettings, View};
use gosd_server::{Limits, Server, Settings};
use gosd_testservers::{Mode, Proxy};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::bad_servers::{Actor, RESET, act, answer, events};
use super::support::{LATE, LEASE, instance, memory, open, read_until, start};

/// Three servers of one registry, each behind a proxy.
struct Tier {
    memory: Memory,
    servers: Vec<Server>,
    proxies: Vec<Proxy>,
}

impl Tier {
    async fn new() -> Self {
        let (memory, mut servers, mut proxies) = (Memory::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let settings = Settings::new().namespace("gosd", Arc::new(memory.clone())).unwrap();
            let mut limits = Limits::default();
            limits.requests_per_second = 100_000;
            limits.burst = 100_000;
            let server = start(settings.limits(limits)).await;
            proxies.push(Proxy::to(server.address().port()).await);
            servers.push(server);
        }
        Self { memory, servers, proxies }
    }

    fn url(&self) -> String {
        let hosts: Vec<String> =
            self.proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
        format!("http://{}", hosts.join(","))
    }

    async fn open(&self) -> Arc<dyn Driver> {
        open(&self.url()).await
    }
}

#[tokio::test]
async fn whichever_server_is_gone_every_call_is_answered() {
    let tier = Tier::new().await;
    let drivers = join_all((0..12).map(|_| tier.open())).await;
    for mode in [Mode::Refuse, Mode::Silent] {
        for proxy in &tier.proxies {
            proxy.set(mode);
            let calls = async |driver: &Arc<dyn Driver>| {
                let mail = instance("mail");
                driver.register(&mail, LEASE).await.unwrap();
                let listed = driver.list().await.unwrap();
                assert!(listed.contains(&mail), "what one registers, all list");
                driver.deregister(mail.id()).await.unwrap();
                assert!(!driver.list().await.unwrap().contains(&mail));
            };
            join_all(drivers.iter().map(calls)).await;
            proxy.set(if mode == Mode::Silent { Mode::Heal } else { Mode::Pass });
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_another_server_with_a_snapshot() {
    let tier = Tier::new().await;
    let driver = tier.open().await;
    let mut watch = driver.watch().unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    let mail = instance("mail");
    tier.memory.register(&mail, LEASE).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Put(mail.clone()));
    for proxy in &tier.proxies {
        proxy.set(Mode::Refuse);
        // If the events came from this server, the stream breaks and begins again at another. Otherwise the
        // change comes.
        let web = instance("web");
        tier.memory.register(&web, LEASE).await.unwrap();
        loop {
            match timeout(LATE, watch.next()).await.expect("events go on").unwrap() {
                Ok(Event::Put(put)) if put == web => break,
                Ok(Event::Reset(all)) if all.contains(&web) => {
                    assert!(all.contains(&mail));
                    break;
                }
                Ok(Event::Reset(_) | Event::Resumed) => {}
                Err(error) => assert!(error.is_retryable(), "{error}"),
                other => panic!("{other:?}"),
            }
        }
        proxy.set(Mode::Pass);
    }
}

#[tokio::test]
async fn a_lease_outlives_a_server_that_hangs() {
    let tier = Tier::new().await;
    let lease = Duration::from_secs(8);
    let settings = ClientSettings::default().lease_ttl(lease);
    let mut clients = Vec::new();
    for n in 0..9 {
        let client = Client::builder(tier.open().await)
            .settings(settings.clone())
            .register("mail", &format!("http://10.0.0.{n}:25"));
        clients.push(client.start().await.unwrap());
    }
    let observer = tier.memory.clone();
    for proxy in &tier.proxies {
        proxy.set(Mode::Silent);
        // Longer than a lease, in which an instance that cannot renew would be gone.
        for _ in 0..40 {
            sleep(lease / 20).await;
            assert_eq!(observer.list().await.unwrap().len(), clients.len(), "a lease was lost");
        }
        proxy.set(Mode::Heal);
    }
    for client in &clients {
        assert_eq!(client.instances("mail").len(), clients.len());
    }
}

#[tokio::test]
async fn a_registration_that_was_given_up_undoes_no_later_one_at_another_server() {
    let tier = Tier::new().await;
    let driver = tier.open().await;
    let old = instance("mail");
    let new = old.clone().with_metadata("zone", "b");
    driver.register(&old, LEASE).await.unwrap();
    // One server has a connection, and does not read it for a while.
    tier.proxies.iter().for_each(|proxy| proxy.set(Mode::Held));
    select_all(tier.proxies.iter().map(|proxy| Box::pin(proxy.hold()))).await;
    let moment = Duration::from_millis(100);
    timeout(moment, driver.register(&old, LEASE)).await.expect_err("it is not answered");
    let mut register = driver.register(&new, LEASE);
    let is_answered = timeout(3 * moment, &mut register).await.is_ok();
    join_all(tier.proxies.iter().map(Proxy::deliver)).await;
    if !is_answered {
        register.await.unwrap();
    }
    assert_eq!(tier.memory.list().await.unwrap(), std::slice::from_ref(&new));
}

#[tokio::test]
async fn an_error_has_the_error_of_each_server() {
    let tier = Tier::new().await;
    let driver = tier.open().await;
    tier.proxies.iter().for_each(|proxy| proxy.set(Mode::Refuse));
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for proxy in &tier.proxies {
        assert!(error.to_string().contains(&format!("127.0.0.1:{}: ", proxy.port())), "{error}");
    }
}

#[tokio::test]
async fn the_doctor_names_the_server_that_fails() {
    let tier = Tier::new().await;
    tier.proxies[1].set(Mode::Refuse);
    let facts = gosd_http::diagnose(&tier.url(), LEASE).await.unwrap();
    let name = format!("127.0.0.1:{} fails", tier.proxies[1].port());
    let is_it = |fact: &&Fact| matches!(fact, Fact::Trouble { what, .. } if what.contains(&name));
    assert_eq!(facts.iter().filter(is_it).count(), 1, "{facts:?}");
    let troubles = facts.iter().filter(|fact| matches!(fact, Fact::Trouble { .. }));
    assert_eq!(troubles.count(), 1, "{facts:?}");
    tier.proxies.iter().for_each(|proxy| proxy.set(Mode::Refuse));
    let error = gosd_http::diagnose(&tier.url(), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn the_doctor_says_that_a_server_refuses_what_comes_from_one_address() {
    let mut limits = Limits::default();
    limits.watchers_per_client = 1;
    let server = memory(Settings::new().limits(limits)).await;
    let url = format!("http://{}", server.address());
    let drivers = join_all((0..2).map(|_| open(&url))).await;
    let mut served = drivers[0].watch().unwrap();
    served.next().await.unwrap().unwrap();
    let of_limits = async || {
        let facts = gosd_http::diagnose(&url, LEASE).await.unwrap();
        let told = |fact: &&Fact| matches!(fact, Fact::Trouble { name: "limits", advice, .. } if advice.contains("--clients-per-address"));
        facts.iter().filter(told).count()
    };
    let mut refused = drivers[1].watch().unwrap();
    let error = refused.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("--clients-per-address"), "{error}");
    assert_eq!(of_limits().await, 0, "that was before");
    let asking = async {
        loop {
            refused.next().await.unwrap().unwrap_err();
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        found = of_limits() => assert_eq!(found, 1),
    }
}

/// Serves one event stream, whose ids count from 1 like those of its neighbour, and ends with it.
async fn serve_once(listener: TcpListener) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let head = read_until(&mut socket, "\r\n\r\n").await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
        event: reset\nid: 1\ndata: {\"instances\":[]}\n\n";
    socket.write_all(answer).await.unwrap();
    head
}

#[tokio::test]
async fn an_event_id_of_one_server_is_not_sent_to_another() {
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, other) = (bind().await, bind().await);
    let url = format!("http://{},{}", one.local_addr().unwrap(), other.local_addr().unwrap());
    let served = [one, other].map(|listener| tokio::spawn(serve_once(listener)));
    let driver = open(&url).await;
    let mut watch = driver.watch().unwrap();
    let mut resets = 0;
    while resets < 2 {
        match timeout(LATE, watch.next()).await.expect("in time").unwrap() {
            Ok(event) => {
                assert_eq!(event, Event::Reset(Vec::new()));
                resets += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    for head in served {
        let head = head.await.unwrap().to_lowercase();
        assert!(head.starts_with("get") && !head.contains("last-event-id"), "{head}");
    }
}

#[tokio::test]
async fn a_client_with_several_servers_is_fresh_again_after_each_of_them_ended() {
    let mut tier = Tier::new().await;
    let client = Client::builder(tier.open().await).register("mail", "http://10.0.0.7:25");
    let client = client.start().await.unwrap();
    for _ in 0..2 {
        tier.servers.remove(0).shutdown().await;
        let fresh = async {
            while !matches!(client.status().view, View::Fresh) || client.refresh().await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LATE, fresh).await.expect("the others serve");
        assert_eq!(client.instances("mail").len(), 1);
    }
}

/// Waits until a server has had so many requests.
async fn was_asked(actor: &Actor, times: usize) {
    while actor.heard.lock().unwrap().len() < times {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_server_whose_answers_end_after_their_head_is_left() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    let stalls = Some(format!("{head}:\n"));
    let breaks_off = Some(format!("{head}{{\"inst"));
    let is_no_list = answer("200 OK", "application/json", "[]");
    // Each driver begins with a random one of the two.
    for line in [stalls, breaks_off, is_no_list].iter().cycle().take(30) {
        let bad = act(vec![line.clone(); 2]).await;
        let good = act(vec![answer("200 OK", "application/json", "{\"instances\":[]}"); 2]).await;
        let hosts = [&bad, &good].map(|actor| actor.url.trim_start_matches("http://"));
        let driver = open(&format!("http://{}?watch=off", hosts.join(","))).await;
        let given_up = async {
            was_asked(&bad, 1).await;
            // As long as the head needs.
            sleep(Duration::from_millis(50)).await;
        };
        tokio::select! {
            listed = driver.list() => drop(listed),
            () = given_up => {}
        }
        let listed = tokio::select! {
            listed = driver.list() => listed,
            () = was_asked(&bad, 2) => panic!("{line:?} is asked again"),
        };
        assert_eq!(listed.unwrap(), [], "{line:?}");
    }
}

#[tokio::test]
async fn a_server_whose_event_streams_end_at_once_is_left() {
    for _ in 0..10 {
        let short = act(vec![events(RESET); 2]).await;
        let lasting = act(vec![events(&format!("{RESET}:\n"))]).await;
        let hosts = [&short, &lasting].map(|actor| actor.url.trim_start_matches("http://"));
        let driver = open(&format!("http://{}", hosts.join(","))).await;
        let mut watch = driver.watch().unwrap();
        let follow = async {
            while lasting.heard.lock().unwrap().is_empty() {
                let _ = watch.next().await.unwrap();
            }
        };
        tokio::select! {
            () = follow => {}
            () = was_asked(&short, 2) => panic!("it is asked again"),
        }
    }
}
