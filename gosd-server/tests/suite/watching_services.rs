//! Events of the services that a watcher names.

use std::time::Duration;

use gosd_core::Driver;
use gosd_server::{Server, Settings};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::support::{LATE, LEASE, instance, memory, raw, read_until};

/// Watches services from an id on.
async fn watch(server: &Server, services: &str, id: &str) -> TcpStream {
    let request = format!(
        "GET /v1/gosd/events?service={services} HTTP/1.1\r\nhost: localhost\r\n\
         last-event-id: {id}\r\n\r\n"
    );
    raw(server, request.as_bytes()).await
}

/// The id of the last event in a text.
fn last_id(text: &str) -> &str {
    text.rsplit("id: ").next().unwrap().lines().next().unwrap()
}

#[tokio::test]
async fn a_watcher_is_sent_what_it_asked_for_and_resumes_with_the_same_services_only() {
    let (server, registry) = memory(Settings::new()).await;
    let [mail, web, shop] = ["mail", "web", "shop"].map(instance);
    for instance in [&mail, &web] {
        registry.register(instance, LEASE).await.unwrap();
    }
    let mut watcher = watch(&server, "mail,shop", "").await;
    let reset = read_until(&mut watcher, "]}\n\n").await;
    let expected = format!("{{\"instances\":[{}]}}\n\n", mail.to_json());
    assert!(reset.contains("event: reset\n") && reset.contains(&expected), "{reset}");
    registry.deregister(web.id()).await.unwrap();
    registry.register(&shop, LEASE).await.unwrap();
    let put = read_until(&mut watcher, &format!("{}\n\n", shop.to_json())).await;
    assert!(put.contains("event: put\n") && !put.contains("remove"), "{put}");
    let id = last_id(&put);
    drop(watcher);

    registry.register(&web, LEASE).await.unwrap();
    registry.deregister(shop.id()).await.unwrap();
    let again = read_until(&mut watch(&server, "shop%2Cmail", id).await, "event: remove\n").await;
    assert!(again.contains(&format!("event: resumed\nid: {id}\n")), "{again}");
    assert!(!again.contains("put"), "{again}");
    // Whoever asks for more services has not seen the instances of the new ones.
    let more = read_until(&mut watch(&server, "mail,shop,web", id).await, "]}\n\n").await;
    let expected = format!("{{\"instances\":[{},{}]}}", mail.to_json(), web.to_json());
    assert!(more.contains("event: reset\n") && more.contains(&expected), "{more}");
}

#[tokio::test]
async fn changes_of_other_services_keep_no_watcher_from_hearing_that_the_server_is_there() {
    let (server, registry) = memory(Settings::new()).await;
    let mut watcher = watch(&server, "mail", "").await;
    read_until(&mut watcher, "]}\n\n").await;
    let web = instance("web");
    let restless = async {
        loop {
            registry.register(&web, LEASE).await.unwrap();
            sleep(Duration::from_millis(25)).await;
            registry.deregister(web.id()).await.unwrap();
            sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::select! {
        text = timeout(LATE, read_until(&mut watcher, ":\n\n")) => {
            let text = text.expect("a comment comes");
            assert!(text.contains(":\n\n") && !text.contains("event"), "{text}");
        }
        () = restless => {}
    }
}
