//! The pure core of revshift: what is observed of a cluster, what is planned, and what comes next.
//!
//! Every function here is total and deterministic: no clock, no IO, no async, no wire or storage
//! format. Time and facts come in as values, the calls to make go out as values.

pub mod admission;
pub mod allowance;
pub mod announcement;
pub mod attachment;
pub mod budget;
pub mod calendar;
pub mod check;
pub mod cluster;
pub mod command;
pub mod connection;
pub mod diagnosis;
pub mod drift;
pub mod election;
pub mod estimate;
pub mod eviction;
pub mod explain;
pub mod gate;
pub mod headcount;
pub mod injection;
pub mod label;
pub mod limiter;
pub mod migration;
pub mod plan;
pub mod plane;
pub mod pod;
pub mod problem;
pub mod progress;
pub mod recourse;
pub mod refusal;
pub mod retirement;
pub mod rollback;
pub mod rollout;
pub mod selection;
pub mod soak;
pub mod step;
pub mod tag;
pub mod version;
pub mod wave;
pub mod workload;
