//! Compiles `proto/` with a pure-Rust compiler, so that building needs no `protoc`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let areas = [
        "sync",
        "run",
        "connection",
        "access",
        "analysis",
        "stage",
        "event",
        "monitor",
        "identity",
    ];
    let files: Vec<PathBuf> = areas.iter().map(|a| root.join(format!("syncline/{a}/v1/{a}.proto"))).collect();
    // Relative, so that checkouts that share a target folder do not watch each other.
    println!("cargo:rerun-if-changed=../../proto");
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(out, prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
