//! What the process talks to: the broker and the topics of the definitions, the ports it would
//! listen on (free, or held by a server of ours), the workers that settings name.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use forebay_engine::Catalog;
use forebay_kafka::{ClientSettings, Topics};
use forebay_serve::FlightClient;
use tokio::time::timeout;

use super::finding::Finding;
use crate::exit;
use crate::settings::{Broker, Kafka, Settings};

/// How long anybody may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A topic to ask for when the definitions name none.
const PROBE_TOPIC: &str = "forebay-doctor";

/// Whether the broker answers, and which of the topics that `catalog` reads it has.
pub(super) fn broker(settings: &Settings, catalog: &Catalog) -> Vec<Finding> {
    if settings.kafka.broker == Broker::Embedded {
        return vec![Finding::note(
            "broker",
            "embedded: starts with the server and forgets everything when it ends",
        )];
    }
    let bootstrap = &settings.kafka.bootstrap;
    let client = ClientSettings {
        request_timeout: ANSWER_MAX,
        ..settings.kafka.client(bootstrap)
    };
    let mut topics: BTreeSet<&str> = catalog
        .sources()
        .values()
        .map(|source| source.topic.as_str())
        .collect();
    topics.extend(
        catalog
            .deployments()
            .values()
            .map(|deployment| deployment.topic.as_str()),
    );
    if topics.is_empty() {
        topics.insert(PROBE_TOPIC);
    }
    let admin = match Topics::new(client) {
        Ok(admin) => admin,
        Err(error) => return vec![Finding::failed("broker", exit::words(&error.into()))],
    };
    let mut findings = Vec::new();
    for topic in topics {
        match admin.partitions(topic) {
            // One failure says it for all.
            Err(error) => return vec![Finding::failed("broker", exit::words(&error.into()))],
            Ok(_) if topic == PROBE_TOPIC => {}
            Ok(Some(partitions)) => {
                findings.push(Finding::ok(
                    "topic",
                    format!("{topic}: {} partitions", partitions.len()),
                ));
            }
            Ok(None) => {
                let written = catalog.deployments().values().any(|d| d.topic == topic);
                findings.push(missing_topic(topic, written, &settings.kafka));
            }
        }
    }
    findings.insert(0, Finding::ok("broker", format!("{bootstrap} answers")));
    findings
}

fn missing_topic(topic: &str, written: bool, settings: &Kafka) -> Finding {
    let (setting, may_create) = if written {
        ("create_topics", settings.create_topics)
    } else {
        ("create_source_topics", settings.create_source_topics)
    };
    if may_create {
        return Finding::note(
            "topic",
            format!("{topic} is not there yet; the server makes it"),
        );
    }
    Finding::failed(
        "topic",
        format!("{topic} does not exist; make it, or set kafka.{setting} = true"),
    )
}

/// The addresses to listen on and the workers to ask.
pub(super) async fn listeners_and_workers(settings: &Settings) -> Vec<Finding> {
    let flight = settings.server.flight_addr;
    let http = settings.server.http_addr;
    let mut findings = Vec::new();
    for (object, address) in [("flight address", flight), ("http address", http)] {
        let ours = match free(address) {
            Ok(()) => None,
            Err(_) if object == "http address" => Some(answers_http(address)),
            Err(_) => Some(
                answers_flight(&address.to_string(), "health")
                    .await
                    .is_some(),
            ),
        };
        findings.push(listener(object, address, ours));
    }
    for worker in &settings.inference.workers {
        findings.push(match answers_flight(worker, "worker_status").await {
            Some(status) => Finding::ok("worker", format!("{worker} answers: {status}")),
            None => Finding::failed(
                "worker",
                format!("{worker} does not answer; start it with: forebay worker --listen {worker} --model NAME=DIR"),
            ),
        });
    }
    findings
}

/// `ours`: None when the address is free, else whether a server of ours holds it.
fn listener(object: &'static str, address: SocketAddr, ours: Option<bool>) -> Finding {
    if !address.ip().is_loopback() {
        let text = format!(
            "{address} is not loopback: until there are credentials, only 127.0.0.1 and [::1] are served"
        );
        return Finding::failed(object, text);
    }
    match ours {
        None => Finding::ok(object, format!("{address} is free")),
        Some(true) => Finding::ok(
            object,
            format!("{address} is held by a running Forebay server"),
        ),
        Some(false) => Finding::failed(
            object,
            format!("{address} is held by another program; stop it, or choose another port"),
        ),
    }
}

fn free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

/// The answer to `action`, cut for one line; None when nobody or another program answers.
async fn answers_flight(address: &str, action: &str) -> Option<String> {
    let ask = async {
        FlightClient::connect(address)
            .await
            .ok()?
            .action(action, Vec::<u8>::new())
            .await
            .ok()
    };
    let answer = timeout(ANSWER_MAX, ask).await.ok()??;
    Some(String::from_utf8_lossy(&answer).chars().take(200).collect())
}

/// Whether `GET /healthz` is answered with 200.
fn answers_http(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(
            stream,
            "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut status = [0_u8; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use forebay_kafka::EmbeddedBroker;

    use super::*;

    #[tokio::test]
    async fn ports_are_free_or_held_by_somebody() -> anyhow::Result<()> {
        let held = TcpListener::bind("127.0.0.1:0")?;
        let other = TcpListener::bind("127.0.0.1:0")?;
        let mut settings = Settings::default();
        settings.server.flight_addr = other.local_addr()?;
        drop(other);
        settings.server.http_addr = held.local_addr()?;
        // Whoever connects to a program that is no server of ours is turned away.
        let door = std::thread::spawn(move || held.accept().map(drop));
        let findings = listeners_and_workers(&settings).await;
        assert!(findings[0].text().ends_with("is free"), "{findings:?}");
        assert!(
            findings[1].is_failed() && findings[1].text().contains("another program"),
            "{findings:?}"
        );
        door.join().expect("the thread only accepts")?;
        Ok(())
    }

    #[test]
    fn an_address_that_others_reach_is_a_failure() {
        let open = SocketAddr::from(([0, 0, 0, 0], 8815));
        assert!(listener("flight address", open, None).is_failed());
        let own = SocketAddr::from(([127, 0, 0, 1], 8815));
        assert!(!listener("flight address", own, Some(true)).is_failed());
    }

    #[test]
    fn a_broker_that_answers_is_ok_and_an_embedded_one_a_note() -> anyhow::Result<()> {
        let broker_process = EmbeddedBroker::start()?;
        let mut settings = Settings::default();
        settings.kafka.bootstrap = broker_process.bootstrap().to_owned();
        let findings = broker(&settings, &Catalog::empty());
        assert!(
            findings.len() == 1 && findings[0].text().ends_with("answers"),
            "{findings:?}"
        );
        settings.kafka.broker = Broker::Embedded;
        assert!(!broker(&settings, &Catalog::empty())[0].is_failed());
        let kafka = &settings.kafka;
        assert!(missing_topic("departures", false, kafka).is_failed());
        assert!(!missing_topic("predictions", true, kafka).is_failed());
        Ok(())
    }
}
