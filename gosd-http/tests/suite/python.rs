//! A client in another language.

use std::path::Path;
use std::process::Stdio;

use futures_util::StreamExt;
use gosd_core::Event;
use gosd_server::Settings;
use tokio::process::Command;
use tokio::time::timeout;

use super::support::{LATE, memory, open};

#[tokio::test]
async fn a_python_service_comes_and_goes() {
    const TOKEN: &str = "sesame-sesame-sesame";
    let server = memory(Settings::new().token(TOKEN).unwrap()).await;
    let driver = open(&format!("http://:{TOKEN}@{}", server.address())).await;
    let mut watch = driver.watch().unwrap();
    let mut next = async || timeout(LATE, watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next().await, Event::Reset(Vec::new()));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/registry_client.py");
    let base = format!("http://{}", server.address());
    let child = Command::new("python3")
        .arg(script)
        .args(["--token", TOKEN, &base, "mail", "http://10.0.0.7:25"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 is installed");
    let Event::Put(instance) = next().await else { panic!("it comes") };
    assert_eq!((instance.service(), instance.url()), ("mail", "http://10.0.0.7:25"));
    assert_eq!(instance.metadata()["by"], "python");
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&instance));

    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
    assert_eq!(next().await, Event::Remove(instance.id().clone()));
    let output = timeout(LATE, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "http://10.0.0.7:25\n");
}
