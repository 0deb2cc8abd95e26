//! The whole program, run in memory against a scripted server on tokio's paused clock.

#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod errors;
mod fake;
mod following;
mod gates;
mod objects;
mod proposals;
mod tables;
mod terminal;
mod verbs;
mod windows;
