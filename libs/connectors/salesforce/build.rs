//! Compiles the Pub/Sub proto with a pure-Rust compiler, so that building needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Relative, so that checkouts that share a target folder do not watch each other.
    println!("cargo:rerun-if-changed=proto");
    let root = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let descriptors = protox::compile([root.join("eventbus/v1/pubsub.proto")], [&root])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
