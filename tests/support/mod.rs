//! What tests share: the strict AWS in process, and a cluster in memory around the real visit.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

pub mod cluster;
pub mod golden;
pub mod in_process;
pub mod life;
pub mod world;
