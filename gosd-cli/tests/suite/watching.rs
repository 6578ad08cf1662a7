//! `gosd watch`: changes, and whether there is contact.

use gosd_testservers::{RedisServer, free_port};

use crate::support::{LEASE, Place, Process, fixed};

#[tokio::test]
async fn each_change_is_a_line() {
    for place in [Place::sqlite(), Place::redis().await] {
        let driver = place.driver().await;
        let [mail, orders] = ["mail", "orders"].map(|service| fixed(service, 1, "http://10.0.0.7"));
        driver.register(&mail, LEASE).await.unwrap();
        let watch = place.start(&["watch"]);
        assert_eq!(watch.wait_for(""), format!("present     mail  http://10.0.0.7  {}", mail.id()));
        driver.register(&orders, LEASE).await.unwrap();
        watch.wait_for("added       orders");
        place.out(&["drain", mail.id().as_str()]);
        watch.wait_for("drained     mail");
        let late = place.start(&["watch", "mail"]);
        late.wait_for("present     mail");
        late.wait_for("drained     mail");
        driver.deregister(mail.id()).await.unwrap();
        watch.wait_for("removed     mail");
    }
}

#[tokio::test]
async fn contact_that_is_lost_and_regained_is_printed() {
    let mut server = RedisServer::start_at(free_port(), &[]).await;
    let place = Place::sqlite();
    let mut command = place.command(&["watch", "--json", "-d", &server.url()]);
    let watch = Process::start(&mut command);
    watch.wait_for(r#"{"change":"reset"}"#);
    server.process().kill().await;
    watch.wait_for(r#"{"change":"contact-lost","error":"redis: "#);
    server.restart().await;
    watch.wait_for(r#"{"change":"contact"}"#);
}
