//! Verifies that S3 replicates, as a pure function: [`next`] says what to do about an object's canaries, by what was seen so far.

mod canary;
mod canary_next;
mod canary_round;
mod checks;
mod diagnosis;
pub mod health;
mod judgement;
mod subject;

pub use canary::{Canary, FOLDER, ReplicaEncryption, Sighting, SourceStatus};
pub use canary_next::{Next, next};
pub use canary_round::{Memory, State};
pub use checks::{Checked, refusal};
pub use diagnosis::{Diagnosis, diagnosis};
pub use subject::{Subject, Wanted, wanted};
