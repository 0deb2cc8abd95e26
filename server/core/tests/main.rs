//! Tests of the core through its public face: tables for rules, properties for sequences.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, and says where")]

mod cases {
    mod admission;
    mod allowance;
    mod announcement;
    mod attachment;
    mod calendar;
    pub(crate) mod census;
    mod check;
    mod cluster;
    mod command;
    mod connection;
    mod diagnosis;
    mod election;
    mod estimate;
    mod eviction;
    mod explain;
    mod extension;
    mod finding;
    mod gate;
    mod injection;
    mod limiter;
    mod plan;
    mod recourse;
    mod retirement;
    mod retiring;
    mod rollback;
    mod rollout;
    mod schedule;
    mod step;
    pub(crate) mod story;
    mod stuck;
    mod tag;
    mod trouble;
    mod truth;
    mod verification;
    pub(crate) mod world;
}
