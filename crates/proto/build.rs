//! Compiles `/proto` with protox, so that no protoc is needed, and writes prost's Rust types to `OUT_DIR`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    let files = ["forebay/v1/flight.proto", "forebay/v1/worker.proto"];
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
