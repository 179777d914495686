//! Compiles `/proto` with protox, so that no protoc is needed, and writes prost's Rust types to
//! `OUT_DIR`. What it reads is the published format; the crate holds nothing else, so that a change
//! of it rebuilds only who uses it.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    let files = ["forebay/v1/flight.proto", "forebay/v1/worker.proto"];
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
