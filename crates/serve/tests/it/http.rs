//! The HTTP listener as a probe and a scraper see it: plain requests over a socket, good ones and
//! such as a browser under a foreign name or a broken client would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::limits::HEADERS_MAX_BYTES;
use forebay_serve::{HttpConfig, HttpServer, Readiness, ServeError};
use forebay_telemetry::Metrics;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Send `request` and read until the server closes: status, headers and body.
async fn exchange(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A server that refuses a request it has not read to its end resets the connection behind its
    // answer.
    while stream
        .read_buf(&mut answer)
        .await
        .is_ok_and(|bytes| bytes > 0)
    {}
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| panic!("{answer:?}"));
    (status, head.to_lowercase(), body.to_owned())
}

async fn ask(address: SocketAddr, path: &str) -> (u16, String, String) {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body:?}"))
}

pub(crate) async fn start(readiness: &Readiness) -> (HttpServer, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().expect("a valid table"));
    let config = HttpConfig::new(
        ([127, 0, 0, 1], 0).into(),
        readiness.clone(),
        Arc::clone(&metrics),
    );
    (HttpServer::start(config).await.expect("listens"), metrics)
}

#[tokio::test]
async fn metrics_are_exposed_in_prometheus_text() {
    let (server, metrics) = start(&Readiness::default()).await;
    metrics
        .serving_requests
        .with(["DoGet", "delay", "ok"])
        .add(3);
    let (status, head, body) = ask(server.local_addr(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let line = r#"forebay_serving_requests_total{code="ok",method="DoGet",service="delay"} 3"#;
    assert!(body.lines().any(|l| l == line), "{body}");
}

#[tokio::test]
async fn health_is_at_once_and_readiness_when_all_is_met() {
    let readiness =
        Readiness::waiting_for(&[("caught_up", "recovering"), ("views_registered", "not yet")]);
    let (server, _) = start(&readiness).await;
    let address = server.local_addr();
    let (status, _, body) = ask(address, "/healthz").await;
    assert_eq!((status, json_of(&body)), (200, json!({"status": "alive"})));
    readiness.missing_because("caught_up", "departures is 120 events behind");
    readiness.met("views_registered");
    let (status, head, body) = ask(address, "/readyz").await;
    assert!(
        status == 503 && head.contains("application/json"),
        "{status} {head}"
    );
    let missing =
        json!({"ready": false, "missing": {"caught_up": "departures is 120 events behind"}});
    assert_eq!(json_of(&body), missing);
    readiness.met("caught_up");
    let (status, _, body) = ask(address, "/readyz").await;
    assert_eq!(
        (status, json_of(&body)),
        (200, json!({"ready": true, "missing": {}}))
    );
}

#[tokio::test]
async fn ingest_that_stands_still_takes_no_reads_away() {
    let (reads, ingest) = (Readiness::default(), Readiness::default());
    let metrics = Arc::new(Metrics::new().expect("fresh"));
    let mut config = HttpConfig::new(([127, 0, 0, 1], 0).into(), reads, metrics);
    config.ingest = ingest.clone();
    let server = HttpServer::start(config).await.expect("binds");
    let address = server.local_addr();
    ingest.missing_because("ingest", "nothing was applied for 61 s");
    let (status, _, body) = ask(address, "/readyz/ingest").await;
    assert!(status == 503 && body.contains("61 s"), "{status} {body}");
    for path in ["/readyz", "/livez"] {
        assert_eq!(ask(address, path).await.0, 200, "{path}");
    }
    ingest.met("ingest");
    assert_eq!(ask(address, "/readyz/ingest").await.0, 200);
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_json() {
    let (server, _) = start(&Readiness::default()).await;
    let address = server.local_addr();
    let (status, _, body) = ask(address, "/nothing?x=1").await;
    assert_eq!(
        (status, json_of(&body)["error"].clone()),
        (404, json!("not_found"))
    );
    assert!(
        json_of(&body)["message"]
            .as_str()
            .is_some_and(|m| m.contains("/nothing;")),
        "{body}"
    );
    let request = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (status, _, body) = exchange(address, request).await;
    assert_eq!(
        (status, json_of(&body)["error"].clone()),
        (405, json!("method_not_allowed"))
    );
}

#[tokio::test]
async fn another_name_for_this_machine_is_refused_and_limits_hold() {
    let (server, _) = start(&Readiness::default()).await;
    let address = server.local_addr();
    for (host, expected) in [
        ("localhost", 200),
        ("[::1]:99", 200),
        ("evil.example", 403),
        ("", 403),
        ("10.1.2.3", 403),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, _, body) = exchange(address, &request).await;
        assert_eq!(status, expected, "{host}: {body}");
    }
    let (status, _, body) = exchange(address, "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        (status, json_of(&body)["error"].clone()),
        (400, json!("invalid_argument"))
    );
    let request =
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(address, request).await.0, 403);
    let with_head = |bytes: usize| {
        let ends = [
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nLong: ",
            "\r\n\r\n",
        ];
        let fixed: usize = ends.iter().map(|end| end.len()).sum();
        ends.join(&"x".repeat(bytes - fixed))
    };
    let limit = HEADERS_MAX_BYTES as usize;
    assert_eq!(exchange(address, &with_head(limit)).await.0, 200);
    // The buffer grows by pages.
    assert_eq!(exchange(address, &with_head(limit + 4_096)).await.0, 431);
    let request = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(exchange(address, request).await.0, 413);
    assert_eq!(ask(address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_frees_the_port_and_others_addresses_are_refused() {
    let (server, metrics) = start(&Readiness::default()).await;
    let address = server.local_addr();
    let idle = TcpStream::connect(address).await.expect("connects");
    ask(address, "/healthz").await;
    tokio::time::timeout(Duration::from_secs(20), server.shutdown())
        .await
        .expect("ends");
    drop(idle);
    let again = HttpConfig::new(address, Readiness::default(), Arc::clone(&metrics));
    let server = HttpServer::start(again.clone())
        .await
        .expect("the port is free");
    let error = HttpServer::start(again).await.expect_err("in use");
    assert!(matches!(error, ServeError::Listen { .. }), "{error}");
    drop(server);
    let open = HttpConfig::new(([0, 0, 0, 0], 0).into(), Readiness::default(), metrics);
    assert!(matches!(
        HttpServer::start(open).await,
        Err(ServeError::NotLoopback { .. })
    ));
}
