//! What the client library says of its connections: which brokers answer, how fast, what failed.
//! Each client that is made with a [`Watch`] hands in its statistics now and then; the exposition
//! of metrics reads [`Connections`]. Nothing is decided by it. A client that is made anew (each
//! change of the definitions makes a reader) counts from 0; the sums of its name go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

/// Intervals after which a client that says nothing any more counts as gone.
const SILENT_INTERVALS: u32 = 4;
/// State of a broker that the client has no reason to connect to now.
const UNUSED: &str = "INIT";
/// States in which requests are answered.
const ANSWERING: [&str; 2] = ["UP", "UPDATE"];

/// A client's connection to one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Whether the broker takes requests.
    pub is_up: bool,
    /// 99th percentile of the times from request to answer; None where nothing was asked since the
    /// last look.
    pub round_trip: Option<Duration>,
    /// What it has counted since the process started, over all clients of the name.
    pub counts: Counts,
}

/// What is counted of the connections to one broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that could not be sent, and answers that were none.
    pub errors: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Requests that nobody answered in time.
    pub timeouts: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// Connections of all clients that are watched. Clones share them.
#[derive(Debug, Clone)]
pub struct Connections {
    every: Duration,
    known: Arc<Mutex<Known>>,
}

/// By client and number of the broker.
#[derive(Debug, Default)]
struct Known {
    there: BTreeMap<(String, i32), Seen>,
    gone: BTreeSet<(String, i32)>,
    /// Of each place that ever was there.
    counted: BTreeMap<(String, i32), Counted>,
}

/// What clients of one name have counted of one broker. One follows another; they do not overlap.
#[derive(Debug, Default)]
struct Counted {
    /// What clients before the present one had counted when they were heard last.
    before: Counts,
    /// The present client, as the library names it, and what it has counted.
    client: String,
    last: Counts,
}

impl Counted {
    /// The client that the library names `client` has counted `now`: the count over all of them.
    fn go_on(&mut self, client: &str, now: Counts) -> Counts {
        if self.client != client {
            self.before = self.before.plus(self.last);
            client.clone_into(&mut self.client);
        }
        self.last = now;
        self.before.plus(now)
    }
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            errors: self.errors + other.errors,
            retries: self.retries + other.retries,
            timeouts: self.timeouts + other.timeouts,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            received_bytes: self.received_bytes + other.received_bytes,
        }
    }
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    connection: Connection,
}

impl Connections {
    /// None yet; clients say how they stand `every` so often.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            known: Arc::default(),
        }
    }

    /// For a client that is to be known as `client`.
    #[must_use]
    pub fn watch(&self, client: &str) -> Watch {
        Watch {
            client: client.to_owned(),
            connections: self.clone(),
        }
    }

    /// Client, number of the broker, and how they stand; brokers that a client does not need and
    /// clients that are gone are left out.
    #[must_use]
    pub fn all(&self) -> Vec<(String, i32, Connection)> {
        let mut known = self.known.lock();
        let Known { there, gone, .. } = &mut *known;
        there.retain(|place, seen| {
            let speaks = seen.at.elapsed() <= self.every * SILENT_INTERVALS;
            if !speaks {
                gone.insert(place.clone());
            }
            speaks
        });
        let one = |((client, broker), seen): (&(String, i32), &Seen)| {
            (client.clone(), *broker, seen.connection)
        };
        there.iter().map(one).collect()
    }

    /// Those that were there, and are not any more, since the last call.
    #[must_use]
    pub fn take_gone(&self) -> Vec<(String, i32)> {
        std::mem::take(&mut self.known.lock().gone)
            .into_iter()
            .collect()
    }
}

/// How one client hands in what it knows.
#[derive(Debug, Clone)]
pub struct Watch {
    client: String,
    connections: Connections,
}

impl Watch {
    /// How often the client is to say how it stands, milliseconds.
    pub(crate) fn interval_ms(&self) -> u128 {
        self.connections.every.as_millis()
    }

    /// Take over `statistics`, as the client library gives them.
    pub(crate) fn take(&self, statistics: &[u8]) {
        let statistics: Statistics = match serde_json::from_slice(statistics) {
            Ok(statistics) => statistics,
            Err(error) => {
                tracing::debug!(%error, "statistics of the Kafka client are of another form");
                return;
            }
        };
        let at = Instant::now();
        let mut known = self.connections.known.lock();
        for broker in statistics.brokers.into_values() {
            // Addresses of the bootstrap list and of coordinators have no number.
            if broker.nodeid < 0 {
                continue;
            }
            let place = (self.client.clone(), broker.nodeid);
            if broker.state != UNUSED {
                let counted = known.counted.entry(place.clone()).or_default();
                let counts = counted.go_on(&statistics.name, broker.counts());
                let connection = broker.connection(counts);
                known.gone.remove(&place);
                known.there.insert(place, Seen { at, connection });
            } else if known.there.remove(&place).is_some() {
                known.gone.insert(place);
            }
        }
    }
}

/// What is read of the library's statistics (reference: librdkafka, STATISTICS.md). Times are in
/// microseconds.
#[derive(Debug, Deserialize)]
struct Statistics {
    /// Of the client: another one for each that is made.
    name: String,
    #[serde(default)]
    brokers: HashMap<String, BrokerLine>,
}

#[derive(Debug, Deserialize)]
struct BrokerLine {
    nodeid: i32,
    state: String,
    txbytes: u64,
    txerrs: u64,
    txretries: u64,
    req_timeouts: u64,
    rxbytes: u64,
    rxerrs: u64,
    rtt: Option<Window>,
}

#[derive(Debug, Deserialize)]
struct Window {
    p99: u64,
    cnt: u64,
}

impl BrokerLine {
    fn counts(&self) -> Counts {
        Counts {
            errors: self.txerrs + self.rxerrs,
            retries: self.txretries,
            timeouts: self.req_timeouts,
            sent_bytes: self.txbytes,
            received_bytes: self.rxbytes,
        }
    }

    fn connection(&self, counts: Counts) -> Connection {
        let rtt = self.rtt.as_ref().filter(|window| window.cnt > 0);
        Connection {
            is_up: ANSWERING.contains(&self.state.as_str()),
            round_trip: rtt.map(|window| Duration::from_micros(window.p99)),
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(3_600);
    /// What [`line`] says.
    const COUNTS: Counts = Counts {
        errors: 5,
        retries: 2,
        timeouts: 3,
        sent_bytes: 10,
        received_bytes: 20,
    };

    /// Broker 0 was asked nothing.
    fn line(node: i32, state: &str) -> String {
        let asked = node.max(0);
        format!(
            r#""b{node}/{node}":{{"name":"b{node}","nodeid":{node},"state":"{state}","stateage":7,
            "txbytes":10,"txerrs":1,"txretries":2,"req_timeouts":3,"rxbytes":20,"rxerrs":4,
            "rtt":{{"min":1,"p99":1500,"cnt":{asked}}}}}"#
        )
    }

    /// Statistics of the client that the library names `name`.
    fn of(name: &str, brokers: &[String]) -> Vec<u8> {
        let brokers = brokers.join(",");
        format!(r#"{{"name":"{name}","ts":5,"brokers":{{{brokers}}}}}"#).into_bytes()
    }

    #[test]
    fn brokers_that_are_needed_are_known_by_client_and_number() {
        let connections = Connections::new(EVERY);
        let brokers = [
            line(1, "UP"),
            line(0, "DOWN"),
            line(2, "INIT"),
            line(-1, "UP"),
        ];
        let statistics = of("consumer-1", &brokers);
        connections.watch("reader").take(&statistics);
        let connection = |is_up, round_trip| Connection {
            is_up,
            round_trip,
            counts: COUNTS,
        };
        let answered = Some(Duration::from_micros(1_500));
        let expected = [
            ("reader".to_owned(), 0, connection(false, None)),
            ("reader".to_owned(), 1, connection(true, answered)),
        ];
        assert_eq!(connections.all(), expected);
        let unused = of("consumer-1", &[line(1, "INIT")]);
        let other = connections.watch("other");
        other.take(&statistics);
        other.take(&unused);
        assert_eq!(connections.all().len(), 3);
        assert_eq!(connections.take_gone(), [("other".to_owned(), 1)]);
        assert!(connections.take_gone().is_empty(), "it is told once");
        connections.watch("reader").take(&unused);
        connections.watch("reader").take(&statistics);
        other.take(&of("consumer-1", &[line(0, "INIT")]));
        connections.watch("other").take(b"{}");
        connections.watch("other").take(b"no statistics");
        assert_eq!(connections.all(), expected);
    }

    #[test]
    fn a_client_that_says_nothing_any_more_is_gone() {
        let connections = Connections::new(Duration::ZERO);
        let statistics = of("consumer-1", &[line(1, "UP")]);
        connections.watch("reader").take(&statistics);
        assert!(connections.all().is_empty());
        assert_eq!(connections.take_gone(), [("reader".to_owned(), 1)]);
    }

    #[test]
    fn counts_go_on_where_a_client_is_made_anew_also_after_its_broker_was_away() {
        let connections = Connections::new(EVERY);
        let reader = connections.watch("reader");
        let counts = || connections.all()[0].2.counts;
        for _ in 0..2 {
            reader.take(&of("consumer-1", &[line(1, "UP")]));
            assert_eq!(counts(), COUNTS, "the same client has counted no more");
        }
        reader.take(&of("consumer-2", &[line(1, "UP")]));
        assert_eq!(counts(), COUNTS.plus(COUNTS));
        reader.take(&of("consumer-2", &[line(1, "INIT")]));
        assert!(connections.all().is_empty());
        reader.take(&of("consumer-3", &[line(1, "UP")]));
        assert_eq!(counts(), COUNTS.plus(COUNTS).plus(COUNTS));
    }
}
