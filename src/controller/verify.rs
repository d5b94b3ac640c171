//! One visit to an object's canaries: the core says what to do, and this loop does it, at AWS and in the object's status.

use std::{future::Future, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;

use super::visit::decided;
use crate::{
    api::verification::{CanaryStatus, Verified},
    cloud::{Cloud, aws::AwsCloud},
    replication::{
        names::{InvalidName, ObjectKey, OwnedBucket, Region},
        observed::{Facet, Failure, FailureKind},
        question::{Answer, Question},
        verification::{Checked, Memory, Next, State, Subject, Wanted, diagnosis, next},
        visit::{Times, Visit},
    },
};

/// So many canaries of an object are uploaded, found or removed side by side.
const AT_ONCE: usize = 8;
/// What the API server did not accept is tried again after this time.
const NEXT_WRITE: Duration = Duration::from_secs(30);

/// The object whose canaries are visited.
#[derive(Clone, Copy, Debug)]
pub struct Verifying<'a> {
    /// Namespace and name.
    pub object: &'a ObjectKey,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// What it asks for.
    pub wanted: &'a Wanted,
    /// What its annotation says that asks for canaries at once.
    pub request: &'a Option<String>,
    /// A visit to its source bucket, to find out what is missing.
    pub visit: &'a Visit,
}

/// Does what is due about the canaries of an object. Returns what to remember, and when to visit them again.
pub async fn verify<R: Record>(
    cloud: &AwsCloud,
    record: &R,
    verifying: Verifying<'_>,
    memory: Memory,
    recorded: Verified,
    clock: impl Fn() -> Timestamp,
) -> (Memory, Option<Timestamp>) {
    let Verifying { wanted, visit, .. } = verifying;
    let mut state = State::new(wanted, verifying.request.clone(), memory, recorded);
    loop {
        let todo = next(wanted, &state, verifying.generation, clock());
        match (todo, wanted) {
            (Next::Wait(until), _) => return (state.memory, until),
            (Next::Record(verified), _) => {
                if !record.record(&verified).await {
                    return (state.memory, Some(clock() + NEXT_WRITE));
                }
                state.recorded(verified, clock());
            }
            (Next::Remove(canaries), _) => {
                let removed = remove(cloud, &visit.source, &canaries).await;
                state.removed(removed);
            }
            (Next::Check, Wanted::Canaries(subject)) => {
                state.checked(subject, &check(cloud, subject).await);
            }
            (Next::Upload(canaries), Wanted::Canaries(subject)) => {
                tracing::info!(object = %verifying.object, canaries = canaries.len(), "uploading canaries");
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
                state.diagnosed(&diagnose(cloud, visit, verifying.object).await);
            }
            (Next::Check | Next::Upload(_) | Next::Look(_) | Next::Diagnose, _) => {
                return (state.memory, None);
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

async fn diagnose(cloud: &AwsCloud, visit: &Visit, object: &ObjectKey) -> Vec<String> {
    let mut visit = visit.clone();
    visit.times = Times::AT_ONCE;
    match Box::pin(decided(cloud, &visit)).await {
        Ok((decision, observed)) => diagnosis(&visit, &decision, &observed, object),
        Err(error) => vec![format!("what is missing can't be read: {error:#}")],
    }
}

/// Removes all versions of canaries from both buckets, the replicas first.
///
/// # Errors
/// The first failure.
pub async fn remove(
    cloud: &AwsCloud,
    source: &OwnedBucket,
    canaries: &[CanaryStatus],
) -> Result<(), Failure> {
    let removals = canaries
        .iter()
        .map(|canary| remove_one(cloud, source, canary).boxed());
    let removed = side_by_side(removals).await;
    removed.into_iter().collect()
}

/// Removes one canary. Of a bucket that is gone, nothing has to be removed.
async fn remove_one(
    cloud: &AwsCloud,
    source: &OwnedBucket,
    canary: &CanaryStatus,
) -> Result<(), Failure> {
    let (destination, source_region, destination_region) = places(source, canary)?;
    Box::pin(cloud.remove(&destination, &destination_region, &canary.key_name)).await?;
    Box::pin(cloud.remove(source, &source_region, &canary.key_name)).await
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
