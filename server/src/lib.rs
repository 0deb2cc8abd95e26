//! revshift's gRPC control service: the library that the binary wires up and tests drive.

pub mod args;
pub mod clock;
pub mod config;
pub mod control;
pub mod definitions;
pub mod engine;
pub mod failure;
pub mod grpc;
pub mod kube;
pub mod prober;
pub mod process;
pub mod proxies;
pub mod published;
pub mod service;
pub mod web;
pub mod webhook;
