//! The one place that knows Kubernetes: objects to facts, calls to requests, records to resources.

pub mod announcer;
mod answering;
pub mod call;
pub mod census;
pub mod client;
mod cni;
pub mod crd;
mod external;
mod gateway_class;
pub mod inspect;
pub mod install;
pub mod istiods;
pub mod lease;
pub mod look;
pub mod observe;
mod pages;
pub mod record;
pub mod retirements;
mod served;
pub mod store;
pub mod surroundings;
pub mod watch;
mod years;
