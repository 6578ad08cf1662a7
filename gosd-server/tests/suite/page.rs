//! The page's files. Their behaviour in a browser is tested by `scripts/page`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use gosd_core::Memory;
use gosd_server::{Server, Settings, router};
use reqwest::Response;
use reqwest::header::HeaderMap;
use tokio::net::TcpListener;

use super::support::{ask, http, memory, url};

const TOKEN: &str = "sesame-sesame-sesame";
const FILES: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/app.css", "text/css; charset=utf-8"),
    ("/app.js", "text/javascript; charset=utf-8"),
    ("/registry.js", "text/javascript; charset=utf-8"),
];

async fn get(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let request = http().get(url(server, path));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

fn is_safe(headers: &HeaderMap) -> bool {
    let policy = headers["content-security-policy"].to_str().unwrap();
    policy.starts_with("default-src 'none'; script-src 'self';")
        && !policy.contains("unsafe")
        && policy.contains("frame-ancestors 'none'")
        && headers["x-content-type-options"] == "nosniff"
        && headers["referrer-policy"] == "no-referrer"
        && headers["cross-origin-opener-policy"] == "same-origin"
        && headers["cache-control"] == "no-cache"
}

#[tokio::test]
async fn the_page_s_files_need_no_token_and_show_nothing_of_the_registry() {
    let (server, _) = memory(Settings::new().token(TOKEN).unwrap()).await;
    for (path, content_type) in FILES {
        let file = get(&server, path, &[]).await;
        assert_eq!(
            (file.status().as_u16(), &file.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        assert!(is_safe(file.headers()), "{path}: {:?}", file.headers());
        let tag = file.headers()["etag"].to_str().unwrap().to_owned();
        assert!(file.text().await.unwrap().len() > 1_000, "{path}");
        let known = get(&server, path, &[("if-none-match", &tag)]).await;
        assert!(known.status() == 304 && is_safe(known.headers()), "{path}");
        let old = get(&server, path, &[("if-none-match", "\"0123456789abcdef\"")]).await;
        assert_eq!(old.status(), 200, "{path}");
        assert_eq!(http().head(url(&server, path)).send().await.unwrap().status(), 200);
        assert_eq!(ask(http().put(url(&server, path))).await.status, 401, "{path}");
    }
    assert_eq!(ask(http().get(url(&server, "/page"))).await.status, 401);
}

#[tokio::test]
async fn a_link_may_lead_to_the_page_but_a_foreign_host_name_may_not() {
    let (server, _) = memory(Settings::new()).await;
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(get(&server, "/", &link).await.status(), 200);
    assert_eq!(get(&server, "/v1/gosd/instances", &link).await.status(), 403);
    let framed = [link[0], link[1], ("sec-fetch-dest", "iframe")];
    let fetched = [link[0], ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    assert_eq!(get(&server, "/", &framed).await.status(), 403);
    assert_eq!(get(&server, "/app.js", &fetched).await.status(), 403);
    let rebound = [link[0], link[1], link[2], ("host", "evil.example")];
    assert_eq!(get(&server, "/", &rebound).await.status(), 403);
}

#[tokio::test]
async fn a_mounted_page_finds_its_files_below_its_path() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let settings = Settings::new().namespace("gosd", Arc::new(Memory::new())).unwrap();
    let app = Router::new().nest("/shop/registry", router(settings));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let get = |path: &str| http().get(format!("{base}{path}")).send();
    let page = get("/shop/registry").await.unwrap();
    assert!(page.status() == 200 && is_safe(page.headers()), "{page:?}");
    let text = page.text().await.unwrap();
    for file in ["app.css", "app.js"] {
        assert!(text.contains(&format!("=\"registry/{file}\"")), "{text}");
        assert_eq!(get(&format!("/shop/registry/{file}")).await.unwrap().status(), 200);
    }
}
