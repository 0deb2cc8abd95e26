//! The real test bed: Kubernetes' own control plane, KWOK in place of kubelets and one istiod a
//! revision, all built from pinned Go modules and run as processes on loopback.
//!
//! It owns the processes that it starts and ends them with itself, however it ends. It never reads
//! the machine's kubeconfig and needs neither containers nor any tool but Go; where Debian's packages
//! can be had, it also has a Prometheus.

mod audit;
mod bed;
mod binaries;
mod calisti;
mod certificates;
mod cluster;
mod deadline;
mod debian;
mod foreign;
mod istiod;
mod manifest;
mod ports;
mod process;
mod product;
mod programs;
mod prometheus;
mod proxies;
mod replica;
mod stages;

pub use audit::{Audit, Object, Request, User};
pub use bed::{Options, RealBed};
pub use binaries::{Binaries, Built};
pub use calisti::{ControlPlane, PlaneStatus};
pub use deadline::until;
pub use foreign::{ForeignCluster, VARIABLE};
pub use istiod::Istiod;
pub use manifest::Plane;
pub use process::Usage;
pub use product::Product;
pub use prometheus::{Prometheus, Site};
pub use replica::RealReplica;
