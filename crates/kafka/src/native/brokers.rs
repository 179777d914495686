//! The brokers of a cluster, asked for at once. A client connects when it is asked for something;
//! a wait for the cluster's id asks for nothing, and the client's own timer looks once a second.
#![allow(unsafe_code)]

use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::events::whole_ms;
use crate::client::ClientEvents;

/// Ask any broker for all of them, and for the cluster's id with them, and for no topics; the
/// client keeps what it hears.
///
/// # Errors
/// None answers within `timeout`.
pub(crate) fn ask_for_brokers(
    consumer: &BaseConsumer<ClientEvents>,
    timeout: Duration,
) -> Result<(), KafkaError> {
    let mut found = ptr::null();
    // SAFETY: the handle of `consumer` is live for the whole call; no topic is named, and the
    // answer is written where there is no error.
    let code = unsafe {
        let client = consumer.client().native_ptr();
        sys::rd_kafka_metadata(client, 0, ptr::null_mut(), &mut found, whole_ms(timeout))
    };
    let code = RDKafkaErrorCode::from(code);
    if code != RDKafkaErrorCode::NoError {
        return Err(KafkaError::MetadataFetch(code));
    }
    // SAFETY: without an error the answer is ours; it is destroyed once.
    unsafe { sys::rd_kafka_metadata_destroy(found) };
    Ok(())
}
