//! Plain Flight messages, as any client of Arrow Flight sends them, without the crate's own client
//! in between: with Arrow's default options (64-byte alignment) and JSON metadata.

use arrow_array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, SchemaAsIpc};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::world::World;

pub(crate) async fn raw(world: &World) -> FlightServiceClient<Channel> {
    let endpoint =
        Endpoint::from_shared(format!("http://{}", world.server.local_addr())).expect("an address");
    let channel = endpoint.connect().await.expect("connects");
    FlightServiceClient::new(channel)
        .max_encoding_message_size(usize::MAX)
        .max_decoding_message_size(usize::MAX)
}

pub(crate) fn schema_of(batch: &RecordBatch) -> FlightData {
    SchemaAsIpc::new(batch.schema_ref(), &IpcWriteOptions::default()).into()
}

pub(crate) fn message_of(batch: &RecordBatch, metadata: impl Into<Vec<u8>>) -> FlightData {
    let options = IpcWriteOptions::default();
    let (_, encoded) = IpcDataGenerator::default()
        .encode(
            batch,
            &mut DictionaryTracker::new(false),
            &options,
            &mut IpcWriteContext::default(),
        )
        .expect("encodes");
    FlightData::from(encoded).with_app_metadata(metadata.into())
}

/// An exchange, message by message.
#[derive(Debug)]
pub(crate) struct RawExchange {
    requests: mpsc::Sender<FlightData>,
    answers: Streaming<FlightData>,
}

impl RawExchange {
    /// Open with a JSON command; `with` is what rides on the first message (a schema, as pyarrow
    /// sends it).
    pub(crate) async fn open(
        world: &World,
        command: &str,
        with: FlightData,
    ) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(64);
        let first = with.with_descriptor(FlightDescriptor::new_cmd(command.to_owned()));
        requests.send(first).await.expect("queued");
        let answers = raw(world)
            .await
            .do_exchange(ReceiverStream::new(queue))
            .await?
            .into_inner();
        Ok(Self { requests, answers })
    }

    pub(crate) async fn send(&self, data: FlightData) {
        self.requests
            .send(data)
            .await
            .expect("the exchange is open");
    }

    pub(crate) async fn next(&mut self) -> Result<Option<FlightData>, Status> {
        self.answers.message().await
    }

    /// The next message's metadata, as JSON.
    pub(crate) async fn next_meta(&mut self) -> Value {
        let data = self.next().await.expect("no error").expect("an answer");
        serde_json::from_slice(&data.app_metadata)
            .unwrap_or_else(|e| panic!("{e}: {:?}", data.app_metadata))
    }

    /// End the requests; the answers still come.
    pub(crate) fn half_close(self) -> Streaming<FlightData> {
        self.answers
    }
}
