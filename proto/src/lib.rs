//! The wire format of revshift's gRPC API, generated from `revshift/v1/*.proto`.
//!
//! Wire types only: no logic, and no knowledge of the domain types of revshift-core.

/// Package `revshift.v1`.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::use_self,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("revshift.v1");
    include!(concat!(env!("OUT_DIR"), "/revshift.v1.serde.rs"));
}

/// The encoded `FileDescriptorSet` of the API, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/revshift.bin"));

/// The domain of every `google.rpc.ErrorInfo` that a revshift server sends.
pub const ERROR_DOMAIN: &str = "revshift.dev";
