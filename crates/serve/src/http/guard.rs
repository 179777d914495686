//! What every HTTP request passes before its handler: the `Host` must name this machine, and the
//! answer must come in time. Refusals are JSON, as all errors are.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;
use forebay_core::limits::REQUEST_DEADLINE_MAX_MS;

use super::failure::failure;

/// Refuse a request that was meant for another name.
pub(super) async fn for_this_machine(request: Request, next: Next) -> Response {
    // A request line may carry the authority too; then both must do.
    let in_line = request.uri().authority().map(Authority::as_str);
    let in_header = request
        .headers()
        .get(HOST)
        .map(|host| host.to_str().unwrap_or_default());
    let Some(host) = in_header.or(in_line) else {
        return failure(
            StatusCode::BAD_REQUEST,
            "invalid_argument",
            "the request has no Host header",
        );
    };
    if !(is_local(host) && in_line.is_none_or(is_local)) {
        let message =
            "the Host header does not name this machine; use localhost, 127.0.0.1 or [::1]";
        return failure(StatusCode::FORBIDDEN, "foreign_host", message);
    }
    next.run(request).await
}

/// Give up on an answer that does not come.
pub(super) async fn within_time(request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(REQUEST_DEADLINE_MAX_MS);
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| {
            let message =
                format!("no answer within {REQUEST_DEADLINE_MAX_MS} ms (REQUEST_DEADLINE_MAX_MS)");
            failure(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", &message)
        })
}

/// Whether `host`, with or without a port, is loopback. Any port: a tunnel may end at another one.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name
        .strip_prefix('[')
        .and_then(|n| n.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.1.2.3",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "10.0.0.1:80",
            "a@localhost",
            "127.0.0.1.nip.io",
            "::1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
