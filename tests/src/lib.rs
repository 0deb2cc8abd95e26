//! Scenarios of revshift, written once: each is a story told with the real CLI and the real server
//! on a [`Bed`], which may be the simulated cluster or a real one.
//!
//! A scenario never sleeps: it waits for conditions, with the bed's deadline.

mod api;
mod bed;
mod cluster;
pub mod exchanges;
mod history;
mod mesh;
mod operator;
mod scenarios;
mod session;

pub use bed::{Bed, Lacking, Output, Power, Replica};
pub use cluster::{NEW, OLD};
pub use scenarios::{SCENARIOS, Scenario};
