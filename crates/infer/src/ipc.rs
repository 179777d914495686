//! Arrow IPC from outside, with the checks that the readers leave out: every length is compared
//! with the bytes that are there before anything is allocated, and compressed batches, whose stated
//! size is believed by the decompressor, are refused. Golden files and the messages of worker
//! streams pass through here.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, Message, MessageHeader, convert, root_as_footer, root_as_message};
use arrow_schema::{DataType, SchemaRef};

/// The file ends with the footer's length and `ARROW1`.
const TRAILER_BYTES: usize = 10;
/// Length prefix and continuation marker before a message.
const MESSAGE_PREFIX_BYTES: usize = 8;

/// Schema and batches of an Arrow IPC file.
pub(crate) fn read_file(bytes: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>), String> {
    let trailer: [u8; TRAILER_BYTES] = bytes
        .last_chunk()
        .copied()
        .ok_or_else(|| "shorter than an Arrow file's trailer".to_owned())?;
    let footer_bytes = read_footer_length(trailer).map_err(|e| e.to_string())?;
    let end = bytes.len() - TRAILER_BYTES;
    let footer = end
        .checked_sub(footer_bytes)
        .and_then(|start| bytes.get(start..end));
    let footer =
        footer.ok_or_else(|| format!("a footer of {footer_bytes} bytes does not fit the file"))?;
    let footer = root_as_footer(footer).map_err(|e| format!("the footer is malformed: {e}"))?;
    let schema = footer
        .schema()
        .ok_or_else(|| "the footer has no schema".to_owned())?;
    let schema = Arc::new(convert::fb_to_schema(schema));
    check_types(&schema)?;
    let decoder = FileDecoder::new(Arc::clone(&schema), footer.version());
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let block_bytes = block_bytes(bytes, block)?;
        let message = block_bytes
            .get(MESSAGE_PREFIX_BYTES..)
            .ok_or_else(|| "a block is shorter than a message's prefix".to_owned())?;
        check_message(
            root_as_message(message).map_err(|e| format!("a message is malformed: {e}"))?,
        )?;
        let read = decoder
            .read_record_batch(block, &block_bytes.into())
            .map_err(|e| e.to_string())?;
        batches.extend(read);
    }
    Ok((schema, batches))
}

/// The bytes of `block`, when they are in the file.
fn block_bytes<'a>(bytes: &'a [u8], block: &Block) -> Result<&'a [u8], String> {
    let outside = || "a block of the footer lies outside the file".to_owned();
    let part = |length: i64| usize::try_from(length).map_err(|_| outside());
    let (start, header, body) = (
        part(block.offset())?,
        part(i64::from(block.metaDataLength()))?,
        part(block.bodyLength())?,
    );
    let end = start
        .checked_add(header)
        .and_then(|end| end.checked_add(body))
        .ok_or_else(outside)?;
    if header < MESSAGE_PREFIX_BYTES {
        return Err(outside());
    }
    bytes.get(start..end).ok_or_else(outside)
}

/// Only schemas and plain batches: no dictionaries, no compression.
pub(crate) fn check_header(header: &[u8]) -> Result<(), String> {
    check_message(root_as_message(header).map_err(|e| format!("a message is malformed: {e}"))?)
}

fn check_message(message: Message<'_>) -> Result<(), String> {
    match message.header_type() {
        MessageHeader::Schema => Ok(()),
        MessageHeader::RecordBatch => match message.header_as_record_batch() {
            Some(batch) if batch.compression().is_none() => Ok(()),
            _ => Err("compressed batches are not read here; send them plain".to_owned()),
        },
        other => Err(format!("a message of kind {other:?} is not expected here")),
    }
}

/// Dictionaries would need messages of their own.
fn check_types(schema: &SchemaRef) -> Result<(), String> {
    match schema
        .fields()
        .iter()
        .find(|f| matches!(f.data_type(), DataType::Dictionary(..)))
    {
        None => Ok(()),
        Some(field) => Err(format!(
            "column {} is of a dictionary type; write it as its value type",
            field.name()
        )),
    }
}
