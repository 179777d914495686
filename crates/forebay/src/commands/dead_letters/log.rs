//! What is asked of the log: keys and headers of rows that the archive has without them, and
//! whether the log that answers is the one that the archive's rows came from, before anything is
//! produced to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use forebay_core::ports::{Archive as _, LogIdentity, LogInspector as _, TopicFacts};
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_kafka::{KafkaInspector, LoggedRecord, records_at};

use super::opened::Opened;

/// How long records are looked for: somebody waits for the list.
const LOOKUP_MAX: Duration = Duration::from_secs(20);

/// The records of `topic` at `wanted`, those that the log still holds.
///
/// # Errors
/// The brokers do not answer, or refuse.
pub(super) fn looked_up(
    opened: &Opened,
    topic: &str,
    wanted: &BTreeMap<i32, BTreeSet<i64>>,
) -> Result<Vec<LoggedRecord>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    Ok(records_at(&opened.reader()?, topic, wanted, LOOKUP_MAX)?)
}

/// Refuse to produce to another log than the one that the archive of `source` came from.
///
/// # Errors
/// Another cluster answers, or none; the topic is missing, or another one; nobody knows which it
/// was.
pub(super) async fn check_own(opened: &Opened, source: &SourceDef) -> Result<()> {
    let snapshot = opened.archive.snapshot(&source.name).await;
    let snapshot = snapshot.with_context(|| format!("cannot tell the log of {}", source.name))?;
    let mut inspector = KafkaInspector::new(opened.reader()?)?;
    let cluster = inspector.cluster_id()?;
    let found = inspector.topic(&source.topic)?;
    let known = snapshot.logs.get(&source.topic);
    let bootstrap = &opened.settings.kafka.bootstrap;
    Ok(own(
        &source.topic,
        known,
        (bootstrap, &cluster, found.as_ref()),
    )?)
}

/// Whether `topic` as `found` on the `cluster` that answers at `bootstrap` is the one that is
/// `known`.
fn own(
    topic: &str,
    known: Option<&LogIdentity>,
    (bootstrap, cluster, found): (&str, &str, Option<&TopicFacts>),
) -> PortResult<()> {
    let refused = |words: String| Err(PortError::new(ErrorKind::FailedPrecondition, words));
    let Some(of) = known.and_then(|known| known.cluster.as_deref()) else {
        return refused(format!(
            "nobody has noted which cluster topic {topic} was read from; start the server of this data directory once, \
             and replay then"
        ));
    };
    if of != cluster {
        return refused(format!(
            "the brokers at {bootstrap} are cluster {cluster}, and topic {topic} was read from cluster {of}; give \
             --bootstrap of that one"
        ));
    }
    let Some(found) = found else {
        return Err(PortError::not_found(format!(
            "topic {topic} is not there at {bootstrap}; nothing of it can be produced again"
        )));
    };
    match (
        known.and_then(|known| known.id.as_deref()),
        found.id.as_deref(),
    ) {
        (Some(known), Some(found)) if known != found => refused(format!(
            "topic {topic} was deleted and made anew since its dead letters were read (its id was {known} and is {found}); \
             they belong to no log that is there, and are not produced"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: Option<&str>) -> TopicFacts {
        TopicFacts {
            id: id.map(str::to_owned),
            partitions: vec![0],
        }
    }

    fn identity(cluster: Option<&str>, id: Option<&str>) -> LogIdentity {
        LogIdentity {
            cluster: cluster.map(str::to_owned),
            id: id.map(str::to_owned),
            partitions: 1,
        }
    }

    #[test]
    fn records_go_to_the_log_that_they_came_from_and_to_no_other() {
        let known = identity(Some("one"), Some("a"));
        let ask = |known: Option<&LogIdentity>, cluster: &str, found: Option<TopicFacts>| {
            own("raw", known, ("b:1", cluster, found.as_ref())).map_err(|e| e.to_string())
        };
        assert_eq!(ask(Some(&known), "one", Some(topic(Some("a")))), Ok(()));
        // Where nobody can tell ids, the cluster decides.
        assert_eq!(ask(Some(&known), "one", Some(topic(None))), Ok(()));
        let idless = identity(Some("one"), None);
        assert_eq!(ask(Some(&idless), "one", Some(topic(Some("b")))), Ok(()));
        for (known, cluster, found, words) in [
            (
                Some(&known),
                "two",
                Some(topic(Some("a"))),
                "cluster two, and topic raw was read from cluster one",
            ),
            (Some(&known), "one", Some(topic(Some("b"))), "made anew"),
            (Some(&known), "one", None, "topic raw is not there at b:1"),
            (None, "one", Some(topic(Some("a"))), "start the server"),
            (
                Some(&identity(None, None)),
                "one",
                Some(topic(None)),
                "start the server",
            ),
        ] {
            let error = ask(known, cluster, found).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
