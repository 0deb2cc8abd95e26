//! Objects for tests: planes, workloads and the definitions that they need.
//!
//! All are plain JSON, so that a test changes what it cares about and applies the rest.

mod planes;
mod workloads;

pub use planes::*;
pub use workloads::*;
