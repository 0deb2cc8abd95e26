//! Compiles the protos without protoc; one descriptor set gives code, JSON and reflection.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 6] = [
    "revshift/v1/control_plane.proto",
    "revshift/v1/errors.proto",
    "revshift/v1/migration.proto",
    "revshift/v1/namespace.proto",
    "revshift/v1/retirement.proto",
    "revshift/v1/server.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=revshift");
    let descriptors = protox::compile(PROTOS, ["."])?;
    let encoded = descriptors.encode_to_vec();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("revshift.bin"), &encoded)?;
    tonic_prost_build::configure()
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_well_known_types(true)
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".revshift.v1"])?;
    Ok(())
}
