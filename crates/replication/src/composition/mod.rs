//! The one state of AWS that serves all objects on a source bucket.

pub mod boundary;
pub mod claims;
pub mod compose;
pub mod desired;
pub mod drain;
pub mod priorities;
pub mod spread;
pub mod statements;
