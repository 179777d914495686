//! The floor of a durable state: how fast one thread puts entries of a size into RocksDB by batches
//! as large as an epoch, with the write-ahead log and without waiting for the disk, as the shards
//! do. One JSON object to standard output:
//!
//!     write_floor FOLDER ENTRIES KEYS VALUE_BYTES

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::time::Instant;

use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_testkit::Random;
use rocksdb::{DB, Options, WriteBatch};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, entries, keys, value_bytes] = arguments.as_slice() else {
        return Err("usage: write_floor FOLDER ENTRIES KEYS VALUE_BYTES".into());
    };
    let (entries, keys): (usize, usize) = (entries.parse()?, keys.parse()?);
    let mut value = vec![0_u8; value_bytes.parse()?];
    let mut options = Options::default();
    options.create_if_missing(true);
    let database = DB::open(&options, folder)?;
    let (mut random, started) = (Random::new(7), Instant::now());
    let mut left = entries;
    while left > 0 {
        let mut batch = WriteBatch::default();
        let some = left.min(EPOCH_MAX_ROWS);
        for number in 0..some {
            // Bytes that do not compress to nothing.
            for eight in value.chunks_exact_mut(8) {
                eight.copy_from_slice(&random.bits().to_le_bytes());
            }
            let key = [random.below(keys), left - number].map(|part| part.to_be_bytes());
            batch.put(key.as_flattened(), &value);
        }
        left -= some;
        database.write(batch)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{{\"records\": {entries}, \"seconds\": {seconds}}}");
    Ok(())
}
