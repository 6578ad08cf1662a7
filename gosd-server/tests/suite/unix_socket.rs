//! The API on a Unix socket.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use gosd_core::{ErrorKind, Memory};
use gosd_server::{Settings, serve_unix};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn settings() -> Settings {
    Settings::new().namespace("gosd", Arc::new(Memory::new())).expect("a good name")
}

async fn health(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.expect("somebody serves");
    let request = b"GET /health HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_serves_whoever_may_open_the_file_and_removes_it_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gosd.sock");
    for (settings, mode) in [(settings(), 0o600), (settings().unix_socket_mode(0o660), 0o660)] {
        let server = serve_unix(&path, settings).await.unwrap();
        assert_eq!(server.address(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        assert!(health(&path).await.starts_with("HTTP/1.1 200"));
        server.shutdown().await;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}

#[tokio::test]
async fn it_replaces_a_dead_socket_and_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gosd.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = serve_unix(&path, settings()).await.unwrap();
    let second = serve_unix(&path, settings()).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Unavailable, "{second}");
    assert!(health(&path).await.starts_with("HTTP/1.1 200"));
    drop(server);

    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let error = serve_unix(&file, settings()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(!fs::symlink_metadata(&file).unwrap().file_type().is_socket());
    let nowhere = serve_unix(folder.path().join("no/folder"), settings()).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Unavailable);
    let tls = settings().tls("a.pem", "a.key");
    assert_eq!(serve_unix(&path, tls).await.unwrap_err().kind(), ErrorKind::Config);
}
