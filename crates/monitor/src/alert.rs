//! Alarms as records of the alert topic: CloudEvents 1.0 in structured JSON. The id is a UUID of
//! version 5 over what the alarm is about and which of the words on it this is, so a word that is
//! sent again is known for what it is, and one that is said once more later is not taken for it;
//! the record's key leaves the window out, so a compacted topic keeps the latest word on each
//! alarm.

use chrono::{DateTime, SecondsFormat};
use forebay_core::prediction::OutboxRecord;
use forebay_core::time::Micros;
use serde_json::json;
use uuid::Uuid;

use crate::error::Result;
use crate::report::{AlarmNotice, MonitorEvent};

/// Topic of the alerts.
pub const ALERT_TOPIC: &str = "forebay.alerts";

const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Namespace of alert ids. Part of the published format.
const ALERT_NAMESPACE: Uuid = Uuid::from_u128(0x8f0c_1a52_5d0e_5b8e_9a77_666f_7265_6261);

impl MonitorEvent {
    /// The alarm that it tells of, raised or over.
    #[must_use]
    pub fn alarm(&self) -> Option<&AlarmNotice> {
        match self {
            Self::AlarmRaised(notice) | Self::AlarmResolved(notice) => Some(notice),
            Self::WindowClosed { .. } | Self::WindowMatured { .. } => None,
        }
    }
}

impl AlarmNotice {
    /// Deterministic id: UUIDv5 over the length-prefixed monitor, model, version, role, column, its
    /// role, method, window end, number of the word and direction.
    fn id(&self, turn: u32) -> Uuid {
        let mut name = self.identity();
        for part in [
            &self.window_end_us.to_le_bytes()[..],
            &turn.to_le_bytes()[..],
            if self.firing { b"firing" } else { b"resolved" },
        ] {
            push(&mut name, part);
        }
        Uuid::new_v5(&ALERT_NAMESPACE, &name)
    }

    /// Which alarm it is about: the key of its records.
    #[must_use]
    pub fn key(&self) -> String {
        Uuid::new_v5(&ALERT_NAMESPACE, &self.identity()).to_string()
    }

    /// The alert as a record for [`ALERT_TOPIC`]: word number `turn` on this alarm, from 0.
    ///
    /// # Errors
    /// None that a notice of this crate can reach.
    pub fn outbox_record(&self, turn: u32) -> Result<OutboxRecord> {
        let direction = if self.firing { "firing" } else { "resolved" };
        let event = json!({
            "specversion": "1.0",
            "id": self.id(turn).to_string(),
            "source": format!("/forebay/monitors/{}", self.monitor),
            "type": format!("forebay.monitor.alarm.{direction}"),
            "subject": format!("{}/{}/{}/{}", self.model, self.version, self.role.as_str(), self.column),
            "time": rfc3339(self.window_end_us),
            "datacontenttype": "application/json",
            "data": self,
        });
        Ok(OutboxRecord {
            topic: ALERT_TOPIC.to_owned(),
            key: self.key().into_bytes(),
            payload: serde_json::to_vec(&event)?,
            headers: vec![("content-type".to_owned(), CONTENT_TYPE.as_bytes().to_vec())],
        })
    }

    /// What the alarm is about, without the window.
    fn identity(&self) -> Vec<u8> {
        let column_role = [self.column_role as u8];
        let mut name = Vec::with_capacity(128);
        for part in [
            self.monitor.as_bytes(),
            self.model.as_bytes(),
            &self.version.to_le_bytes()[..],
            self.role.as_str().as_bytes(),
            self.column.as_bytes(),
            &column_role[..],
            self.method.as_bytes(),
        ] {
            push(&mut name, part);
        }
        name
    }
}

fn push(name: &mut Vec<u8>, part: &[u8]) {
    name.extend_from_slice(&(part.len() as u64).to_le_bytes());
    name.extend_from_slice(part);
}

/// The instant in RFC 3339, UTC; one outside the calendar as the epoch, which no window of a log
/// reaches.
fn rfc3339(time_us: Micros) -> String {
    DateTime::from_timestamp_micros(time_us)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
