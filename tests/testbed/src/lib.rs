//! The ground that tests and demo stand on: etcd, a real Kubernetes API server with its controller manager, and an emulator of AWS, on loopback or with
//! a node in namespaces of their own, and a proxy between operator and emulator that logs every call.

pub mod cloud;
pub mod collector;
pub mod demo;
pub mod environment;
pub mod forward_proxy;
pub mod given_cluster;
pub mod node;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod stage;
pub mod tls;
