//! Records of the queue of scores: pending scores, the outbox, and notes on events that have no
//! prediction. Their families and keys are in the table of [`super`]; nothing here reads a
//! database. A sequence u64 BE is the key of each, so that a scan gives them in order of writing.
//!
//! | record | fields behind the version code |
//! |---|---|
//! | identity, in the first two | deployment, model version u32, role u8, topic, partition i32, offset i64 |
//! | pending score | identity, event time i64, request (length and bytes) |
//! | outbox | identity, topic, key, payload, number of headers u32, of each name and value |
//! | note | deployment, model version u32, role u8, topic, partition i32, reason u8, detail, number of runs u32, of each first and last offset i64 |
//!
//! Roles: 1 live, 2 shadow. Runs ascend and lie apart; a note has at least one
//! (`notes_cover_events`).

use forebay_core::bytes::{Reader, Writer};
use forebay_core::invariant;
use forebay_core::prediction::{OutboxRecord, PendingScore, PredictionKey, Role};
use forebay_core::settlement::{OffsetRuns, Unscored, UnscoredReason};

use super::{Decoded, fields, new_record};

/// Version of the outbox's records.
const OUTBOX_VERSION: u8 = 3;

/// The fields of a prediction's identity, within a record.
fn push_key(w: &mut Writer, key: &PredictionKey) {
    w.text(&key.deployment);
    w.u32(key.model_version);
    w.u8(role_code(key.role));
    w.text(&key.topic);
    w.i32(key.partition);
    w.i64(key.offset);
}

fn read_key(r: &mut Reader<'_>) -> Decoded<PredictionKey> {
    Ok(PredictionKey {
        deployment: r.text()?.to_owned(),
        model_version: r.u32()?,
        role: role_of(r.u8()?)?,
        topic: r.text()?.to_owned(),
        partition: r.i32()?,
        offset: r.i64()?,
    })
}

fn role_code(role: Role) -> u8 {
    match role {
        Role::Live => 1,
        Role::Shadow => 2,
    }
}

fn role_of(code: u8) -> Decoded<Role> {
    match code {
        1 => Ok(Role::Live),
        2 => Ok(Role::Shadow),
        other => Err(format!("role code {other}").into()),
    }
}

/// A pending score.
pub(crate) fn encode_pending(score: &PendingScore) -> Vec<u8> {
    let mut w = new_record();
    push_key(&mut w, &score.key);
    w.i64(score.event_time_us);
    w.bytes(&score.request);
    w.finish()
}

/// See [`encode_pending`].
pub(crate) fn decode_pending(bytes: &[u8]) -> Decoded<PendingScore> {
    let mut r = fields(bytes)?;
    let score = PendingScore {
        key: read_key(&mut r)?,
        event_time_us: r.i64()?,
        request: r.bytes()?.to_vec(),
    };
    r.end()?;
    Ok(score)
}

/// A record of the outbox and the prediction that it carries.
pub(crate) fn encode_outbox(key: &PredictionKey, record: &OutboxRecord) -> Vec<u8> {
    let mut w = Writer::versioned(OUTBOX_VERSION);
    push_key(&mut w, key);
    w.text(&record.topic);
    w.bytes(&record.key);
    w.bytes(&record.payload);
    w.length(record.headers.len());
    for (name, value) in &record.headers {
        w.text(name);
        w.bytes(value);
    }
    w.finish()
}

/// See [`encode_outbox`].
pub(crate) fn decode_outbox(bytes: &[u8]) -> Decoded<(PredictionKey, OutboxRecord)> {
    let mut r = Reader::versioned(bytes, OUTBOX_VERSION)?;
    let key = read_key(&mut r)?;
    let mut record = OutboxRecord {
        topic: r.text()?.to_owned(),
        key: r.bytes()?.to_vec(),
        payload: r.bytes()?.to_vec(),
        headers: Vec::new(),
    };
    for _ in 0..r.u32()? {
        record
            .headers
            .push((r.text()?.to_owned(), r.bytes()?.to_vec()));
    }
    r.end()?;
    Ok((key, record))
}

/// A note on events that have no prediction.
pub(crate) fn encode_unscored(note: &Unscored) -> Vec<u8> {
    let mut w = new_record();
    w.text(&note.deployment);
    w.u32(note.model_version);
    w.u8(role_code(note.role));
    w.text(&note.topic);
    w.i32(note.partition);
    w.u8(note.reason.code());
    w.text(&note.detail);
    let runs = note.offsets.runs();
    invariant!(
        NotesCoverEvents,
        !runs.is_empty(),
        "{}-{}",
        note.topic,
        note.partition
    );
    w.length(runs.len());
    for (first, last) in runs {
        w.i64(*first);
        w.i64(*last);
    }
    w.finish()
}

/// See [`encode_unscored`].
pub(crate) fn decode_unscored(bytes: &[u8]) -> Decoded<Unscored> {
    let mut r = fields(bytes)?;
    let note = Unscored {
        deployment: r.text()?.to_owned(),
        model_version: r.u32()?,
        role: role_of(r.u8()?)?,
        topic: r.text()?.to_owned(),
        partition: r.i32()?,
        reason: UnscoredReason::of_code(r.u8()?).ok_or("an unknown reason code")?,
        detail: r.text()?.to_owned(),
        offsets: {
            let runs = (0..r.u32()?).map(|_| Ok((r.i64()?, r.i64()?)));
            OffsetRuns::of_runs(runs.collect::<Decoded<_>>()?).map_err(|e| e.to_string())?
        },
    };
    r.end()?;
    Ok(note)
}

/// Sequence number of a key in `pending`, `outbox` or `unscored`.
pub(crate) fn parse_sequence(bytes: &[u8]) -> Decoded<u64> {
    bytes
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| format!("a sequence of {} bytes", bytes.len()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_golden;

    fn key() -> PredictionKey {
        PredictionKey {
            deployment: "dé".to_owned(),
            model_version: 258,
            role: Role::Live,
            topic: "events".to_owned(),
            partition: 3,
            offset: i64::MAX,
        }
    }

    #[test]
    fn golden_bytes_of_a_pending_score() {
        let score = PendingScore {
            key: key(),
            event_time_us: -2,
            request: vec![1, 0],
        };
        let golden = "03 03000000 64c3a9 02010000 01 06000000 6576656e7473 03000000 \
                      ffffffffffffff7f feffffffffffffff 02000000 0100";
        assert_golden(&score, &encode_pending(&score), golden, decode_pending);
    }

    #[test]
    fn golden_bytes_of_a_record_of_the_outbox() {
        let record = OutboxRecord {
            topic: "flüge".to_owned(),
            key: b"k".to_vec(),
            payload: b"{}".to_vec(),
            headers: vec![("h".to_owned(), vec![0xFF])],
        };
        let stored = (key(), record);
        let golden = "03 03000000 64c3a9 02010000 01 06000000 6576656e7473 03000000 \
                      ffffffffffffff7f 06000000 666cc3bc6765 01000000 6b 02000000 7b7d \
                      01000000 01000000 68 01000000 ff";
        assert_golden(
            &stored,
            &encode_outbox(&stored.0, &stored.1),
            golden,
            decode_outbox,
        );
    }

    #[test]
    fn golden_bytes_of_a_note_on_events_without_prediction() {
        for (reason, code) in [
            (UnscoredReason::RowRefused, "01"),
            (UnscoredReason::PredictionRefused, "02"),
            (UnscoredReason::Expired, "03"),
            (UnscoredReason::Suspended, "04"),
            (UnscoredReason::Withdrawn, "05"),
        ] {
            let runs = vec![(-7, 3), (300, i64::MAX)];
            let note = Unscored {
                deployment: "dé".to_owned(),
                model_version: 258,
                role: Role::Shadow,
                topic: "events".to_owned(),
                partition: 3,
                reason,
                detail: "zu groß".to_owned(),
                offsets: OffsetRuns::of_runs(runs).expect("ascending"),
            };
            let golden = format!(
                "03 03000000 64c3a9 02010000 02 06000000 6576656e7473 03000000 {code} \
                 08000000 7a752067726fc39f 02000000 f9ffffffffffffff 0300000000000000 \
                 2c01000000000000 ffffffffffffff7f"
            );
            assert_golden(&note, &encode_unscored(&note), &golden, decode_unscored);
        }
    }
}
