//! A Kubernetes operator that makes Amazon S3 replicate a bucket, SSE-KMS objects included, from one object.
//!
//! Read in this order: [`api`] is what users write; [`replication`] decides, without doing anything; [`cloud`] reads and writes AWS;
//! [`controller`] watches Kubernetes and ties the three together. `ARCHITECTURE.md` has the picture and the invariants.

pub mod api_requests;
pub mod api_server;
pub mod cloud;
pub mod commands;
pub mod config;
pub mod controller;
pub mod leader;
pub mod metrics;
pub mod progress;
pub mod server;
pub mod slot;
pub mod telemetry;

pub use api;
pub use replication;
