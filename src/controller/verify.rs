//! One visit to an object's canaries: the core says what to do, and this loop does it, at AWS and in the object's status.

use std::future::Future;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;

use super::{reconcile::NEXT_ATTEMPT, visit::decided};
use crate::{
    api::verification::{CanaryStatus, Verified},
    cloud::{Cloud, aws::AwsCloud},
    replication::{
        names::{InstallationId, InvalidName, ObjectKey, OwnedBucket, Region},
        observed::{Facet, Failure, FailureKind},
        question::{Answer, Question},
        verification::{
            Canary, Checked, Diagnosis, Memory, Next, State, Subject, Wanted, diagnosis, next,
        },
        visit::{Times, Visit},
    },
};

/// So many canaries of an object are uploaded, found or removed side by side.
const AT_ONCE: usize = 8;

/// Whose canaries they are.
#[derive(Clone, Copy)]
pub struct CanariesOf<'a> {
    /// Namespace and name of the object.
    pub object: &'a ObjectKey,
    /// Its source bucket.
    pub source: &'a OwnedBucket,
    /// This installation.
    pub installation: &'a InstallationId,
}

/// What one visit to an object's canaries is about.
#[derive(Clone, Copy)]
pub struct Verifying<'a> {
    /// Whose canaries they are.
    pub of: CanariesOf<'a>,
    /// The generation of the object's spec.
    pub generation: Option<i64>,
    /// What it asks for.
    pub wanted: &'a Wanted,
    /// What its annotation says that asks for canaries at once.
    pub request: &'a Option<String>,
    /// Makes a visit to the source bucket, to find out what is missing.
    pub visit: &'a (dyn Fn() -> Visit + Send + Sync),
}

/// Does what is due about the canaries of an object. Returns when to visit them again. What is remembered is right whenever this is dropped.
pub async fn verify<R: Record>(
    cloud: &AwsCloud,
    record: &R,
    verifying: Verifying<'_>,
    memory: &mut Memory,
    recorded: Verified,
    clock: impl Fn() -> Timestamp,
) -> Option<Timestamp> {
    let Verifying { wanted, .. } = verifying;
    let request = verifying.request.clone();
    let mut state = State::new(wanted, request, memory.clone(), recorded);
    loop {
        memory.clone_from(&state.memory);
        let todo = next(wanted, &state, verifying.generation, clock());
        match (todo, wanted) {
            (Next::Wait(until), _) => return until,
            (Next::Record(verified), _) => {
                if !record.record(&verified).await {
                    state.not_recorded();
                    memory.clone_from(&state.memory);
                    return Some(clock() + NEXT_ATTEMPT);
                }
                state.recorded(verified, clock());
            }
            (Next::Remove(canaries), _) => {
                let removed = remove(cloud, verifying.of, &canaries).await;
                state.removed(removed);
            }
            (Next::Check, Wanted::Canaries(subject)) => {
                state.checked(subject, &check(cloud, subject).await);
            }
            (Next::Upload(canaries), Wanted::Canaries(subject)) => {
                tracing::info!(object = %verifying.of.object, canaries = canaries.len(), "uploading canaries");
                let uploads = canaries.iter();
                let uploads = uploads.map(|canary| cloud.upload(subject, canary).boxed());
                state.uploaded(side_by_side(uploads).await, clock());
            }
            (Next::Look(canaries), Wanted::Canaries(subject)) => {
                let looks = canaries.iter();
                let looks =
                    looks.map(|(canary, version)| cloud.look(subject, canary, version).boxed());
                state.looked(side_by_side(looks).await, clock());
            }
            (Next::Diagnose, Wanted::Canaries(_)) => {
                state.diagnosed(&diagnose(cloud, verifying).await);
            }
            (Next::Check | Next::Upload(_) | Next::Look(_) | Next::Diagnose, _) => {
                return None;
            }
        }
    }
}

/// What is written about canaries in Kubernetes.
pub trait Record: Send + Sync {
    /// Writes what the object's status says about canaries, if the object is still as it was read. False: it was not accepted.
    fn record(&self, verified: &Verified) -> impl Future<Output = bool> + Send;
}

async fn side_by_side<'a, T>(calls: impl Iterator<Item = BoxFuture<'a, T>>) -> Vec<T> {
    let calls: Vec<_> = calls.collect();
    stream::iter(calls).buffered(AT_ONCE).collect().await
}

async fn check(cloud: &AwsCloud, subject: &Subject) -> Checked {
    let (source, destination) = (&subject.source, &subject.destination);
    let question = Question::Configuration(source.clone(), subject.source_region.clone());
    let (configuration, source_retains, destination_retains) = futures::join!(
        Box::pin(cloud.ask(&question)),
        Box::pin(cloud.default_retention(source, &subject.source_region)),
        Box::pin(cloud.default_retention(destination, &subject.destination_region)),
    );
    Checked {
        configuration: match configuration {
            Answer::Configuration(_, read) => read.map(|(configuration, _)| configuration),
            _ => Facet::Unread,
        },
        source_retains: source_retains.into(),
        destination_retains: destination_retains.into(),
    }
}

async fn diagnose(cloud: &AwsCloud, verifying: Verifying<'_>) -> Diagnosis {
    let mut visit = (verifying.visit)();
    visit.times = Times::AT_ONCE;
    match Box::pin(decided(cloud, &visit)).await {
        Ok((decision, observed)) => diagnosis(&visit, &decision, &observed, verifying.of.object),
        Err(error) => Diagnosis {
            possible: vec![format!("what is missing can't be read: {error:#}")],
            ..Diagnosis::default()
        },
    }
}

/// Removes all versions of canaries from both buckets. A destination whose account can't be used is left.
///
/// # Errors
/// The first failure.
pub async fn remove(
    cloud: &AwsCloud,
    of: CanariesOf<'_>,
    canaries: &[CanaryStatus],
) -> Result<(), Failure> {
    // A status is no reason to remove anything else.
    let is_own =
        |canary: &&CanaryStatus| Canary::is_key_of(&canary.key_name, of.installation, of.object);
    let removals = canaries
        .iter()
        .filter(is_own)
        .map(|canary| remove_one(cloud, of.source, canary).boxed());
    let removed = side_by_side(removals).await;
    removed.into_iter().collect()
}

/// Removes one canary: first what S3 replicates, so that no replica comes after it. Of a bucket that is gone, nothing has to be removed.
async fn remove_one(
    cloud: &AwsCloud,
    source: &OwnedBucket,
    canary: &CanaryStatus,
) -> Result<(), Failure> {
    let (destination, source_region, destination_region) = places(source, canary)?;
    Box::pin(cloud.remove(source, &source_region, &canary.key_name)).await?;
    if !cloud.reaches(&destination.account) {
        return Ok(());
    }
    let replica = cloud.remove(&destination, &destination_region, &canary.key_name);
    Box::pin(replica).await
}

/// Where the replica of a canary may be, and the Regions of source and destination.
fn places(
    source: &OwnedBucket,
    canary: &CanaryStatus,
) -> Result<(OwnedBucket, Region, Region), Failure> {
    let parsed = || {
        let destination = OwnedBucket {
            partition: source.partition,
            account: canary.destination_account_id.parse()?,
            name: canary.destination_bucket.parse()?,
        };
        let source_region = canary.source_region.parse()?;
        Ok((
            destination,
            source_region,
            canary.destination_region.parse()?,
        ))
    };
    parsed().map_err(|error: InvalidName| Failure {
        kind: FailureKind::Invalid,
        action: String::new(),
        message: format!("status.verification.canaries: {error}"),
    })
}
