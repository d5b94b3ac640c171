//! One of several replicas writes: the one that holds the lease. It stops writing before the lease can pass to another; when it loses the lease,
//! it drops its work and waits for the lease like the others.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock, watch},
    time::Instant,
};

use crate::config::Settings;

/// Until when this replica may write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// `None`: for ever, since it is the only replica.
    term: watch::Sender<Option<Term>>,
    /// Each write shares it, and whoever stops all writes has it alone.
    writing: Arc<RwLock<()>>,
}

/// A term of office, renewed with the lease.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// No write begins later.
    last_begin: Instant,
    /// No write goes on longer: another replica may write from now on.
    end: Instant,
}

impl Term {
    /// The term that follows from a lease of that `duration`, renewed by a call that began at `asked`.
    fn of(asked: Instant, duration: Duration) -> Self {
        Self {
            last_begin: asked + duration * 2 / 3,
            end: asked + duration,
        }
    }
}

impl Leadership {
    /// For the only replica, which needs no lease.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            term: watch::Sender::new(None),
            writing: Arc::default(),
        }
    }

    fn of(term: Term) -> Self {
        let leadership = Self::alone();
        leadership.extend(term);
        leadership
    }

    /// Runs `work`, which writes, as soon as this replica may write, and not beyond the time at which another may. `None`: it is not known whether it
    /// completed. Where the lease is not renewed in time, this waits: the work of the replica is dropped soon.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut changes = self.term.subscribe();
        loop {
            let may_begin =
                |term: &Option<Term>| term.is_none_or(|term| Instant::now() < term.last_begin);
            let _: Result<_, _> = changes.wait_for(may_begin).await;
            let _writing = self.writing.read().await;
            let term = *self.term.borrow();
            match term {
                None => return Some(work.await),
                Some(term) if may_begin(&Some(term)) => {
                    return tokio::time::timeout_at(term.end, work).await.ok();
                }
                Some(_) => {}
            }
        }
    }

    /// Waits for the writes under way. While the result exists, none begins.
    pub async fn stop_writing(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.writing).write_owned().await
    }

    fn is_over(&self) -> bool {
        let term = *self.term.borrow();
        term.is_some_and(|term| Instant::now() >= term.end)
    }

    fn extend(&self, term: Term) {
        self.term.send_replace(Some(term));
    }
}

/// A replica's part in the election ("Leases" in the Kubernetes documentation).
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
    /// The lease when it was last seen to change, and when that was. Clocks of other machines are not used.
    seen: Option<(Option<String>, Instant)>,
    /// The lease as this replica wrote it last, so that a renewal is one call.
    held: Option<Lease>,
}

impl Candidate {
    /// For the lease with the release's name, in the release's namespace.
    #[must_use]
    pub fn of(client: Client, settings: &Settings) -> Self {
        let pod =
            std::env::var("HOSTNAME").unwrap_or_else(|_| "bucket-replication-operator".to_owned());
        // A container that starts again in the same pod is another process.
        let identity = format!(
            "{pod}_{}_{}",
            std::process::id(),
            Timestamp::now().as_millisecond()
        );
        let (namespace, name) = (&settings.release.namespace, settings.release.name.clone());
        Self {
            api: Api::namespaced(client, namespace),
            name,
            identity,
            duration: settings.lease_duration,
            seen: None,
            held: None,
        }
    }

    /// Waits for the lease, works while this replica holds it, waits again when it is lost, and releases it when the work ends.
    ///
    /// # Errors
    /// When the work fails.
    pub async fn lead<F, S>(
        mut self,
        work: impl Fn(Leadership) -> F,
        stop: impl Fn() -> S,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
        S: Future<Output = ()>,
    {
        loop {
            let leadership = tokio::select! {
                leadership = self.acquire() => leadership,
                () = stop() => {
                    // The lease may have been taken just now.
                    self.give_back().await;
                    return Ok(());
                }
            };
            tokio::select! {
                worked = work(leadership.clone()) => {
                    self.give_back().await;
                    return worked;
                }
                // Work in progress is dropped: another replica writes from now on.
                lost = self.keep(&leadership) => tracing::warn!(lease = %self.name, "{lost}: this replica waits for the lease"),
            }
        }
    }

    /// Waits until this replica holds the lease.
    async fn acquire(&mut self) -> Leadership {
        loop {
            let asked = Instant::now();
            match self.try_hold().await {
                Ok(Hold::Ours) => {
                    let leadership = Leadership::of(Term::of(asked, self.duration));
                    tracing::info!(lease = %self.name, identity = %self.identity, "this replica leads");
                    return leadership;
                }
                Ok(Hold::Theirs | Hold::Conflict) => {}
                Err(error) => {
                    tracing::warn!(%error, lease = %self.name, "the lease was not read or written");
                }
            }
            tokio::time::sleep(self.interval()).await;
        }
    }

    /// Renews the lease until it is lost, and says why. An API server that answers slowly has until the end of the term, since no other replica takes
    /// the lease before.
    async fn keep(&mut self, leadership: &Leadership) -> &'static str {
        let mut asked = Instant::now();
        loop {
            tokio::time::sleep_until(asked + self.interval()).await;
            asked = Instant::now();
            match self.try_hold().await {
                Ok(Hold::Ours) if !leadership.is_over() => {
                    leadership.extend(Term::of(asked, self.duration));
                }
                Ok(Hold::Theirs) => return "another replica took the lease",
                // Whoever changed it may not be a replica: the next read shows who holds it.
                Ok(Hold::Ours | Hold::Conflict) => {}
                Err(error) => {
                    tracing::warn!(%error, lease = %self.name, "the lease was not renewed");
                }
            }
            if leadership.is_over() {
                return "the lease could not be renewed in time";
            }
        }
    }

    fn interval(&self) -> Duration {
        self.duration / 5
    }

    /// Takes or renews the lease, unless another replica holds it. The resource version allows only one to succeed.
    async fn try_hold(&mut self) -> kube::Result<Hold> {
        let now = MicroTime(Timestamp::now());
        // If the outcome of the write is not known, or it changed meanwhile, it is read the next time.
        let read = match self.held.take() {
            Some(held) => Some(held),
            None => self.in_time(self.api.get_opt(&self.name)).await?,
        };
        let Some(mut lease) = read else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.name.clone());
            lease.spec = Some(LeaseSpec {
                acquire_time: Some(now.clone()),
                lease_transitions: Some(0),
                ..self.spec(now)
            });
            let parameters = PostParams::default();
            let created = self.in_time(self.api.create(&parameters, &lease)).await;
            return self.taken(created);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder != self.identity
            && !holder.is_empty()
            && !self.is_over(lease.resource_version(), &spec)
        {
            return Ok(Hold::Theirs);
        }
        lease.spec = Some(if holder == self.identity {
            LeaseSpec {
                acquire_time: spec.acquire_time,
                lease_transitions: spec.lease_transitions,
                ..self.spec(now)
            }
        } else {
            let transitions = spec.lease_transitions.unwrap_or_default() + 1;
            LeaseSpec {
                acquire_time: Some(now.clone()),
                lease_transitions: Some(transitions),
                ..self.spec(now)
            }
        });
        let parameters = PostParams::default();
        let replaced = self.api.replace(&self.name, &parameters, &lease);
        let replaced = self.in_time(replaced).await;
        self.taken(replaced)
    }

    /// A call that is not answered within a third of the lease's duration is given up, so that another one fits in.
    async fn in_time<T>(&self, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let answered = tokio::time::timeout(self.duration / 3, call).await;
        answered.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
    }

    fn taken(&mut self, written: kube::Result<Lease>) -> kube::Result<Hold> {
        match written {
            Ok(lease) => {
                self.held = Some(lease);
                Ok(Hold::Ours)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Hold::Conflict),
            Err(error) => Err(error),
        }
    }

    /// Whether the lease has not changed for as long as its holder asked for.
    fn is_over(&mut self, version: Option<String>, spec: &LeaseSpec) -> bool {
        let asked = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.duration, Duration::from_secs);
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() >= asked,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn spec(&self, now: MicroTime) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs().max(1)).ok(),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }

    /// Releases the lease, so that another replica does not have to wait.
    async fn give_back(&self) {
        let given = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else {
                return Ok::<(), kube::Error>(());
            };
            let ours = lease
                .spec
                .as_ref()
                .is_some_and(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
            if let Some(spec) = lease.spec.as_mut().filter(|_| ours) {
                spec.holder_identity = None;
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await?;
            }
            Ok(())
        };
        if let Err(error) = given.await {
            tracing::warn!(%error, lease = %self.name, "the lease was not released: another replica waits until it expires");
        }
    }
}

/// Who holds the lease after it was to be taken or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// This replica.
    Ours,
    /// Another replica.
    Theirs,
    /// The lease changed between the read and the write, so that it is not known.
    Conflict,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A candidate before an API server whose lease has this holder, and that answers the first writes with conflicts.
    fn candidate(
        holder: &'static str,
        conflicts: u32,
        answer_after: Duration,
    ) -> (Candidate, Arc<AtomicU32>) {
        let writes = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&writes);
        let serve = move |request: axum::http::Request<Body>| {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "lease", "namespace": "system", "resourceVersion": "1"},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
            });
            let conflict = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Conflict",
                "message": "the object has been modified", "code": 409,
            });
            let refused = request.method() == axum::http::Method::PUT
                && counted.fetch_add(1, Ordering::SeqCst) < conflicts;
            let (code, body) = if refused {
                (409, conflict)
            } else {
                (200, lease)
            };
            let answer = axum::http::Response::builder()
                .status(code)
                .body(Body::from(body.to_string().into_bytes()));
            async move {
                tokio::time::sleep(answer_after).await;
                answer
            }
        };
        let client = Client::new(tower::service_fn(serve), "system");
        let candidate = Candidate {
            api: Api::namespaced(client, "system"),
            name: "lease".into(),
            identity: "this".into(),
            duration: Duration::from_secs(15),
            seen: None,
            held: None,
        };
        (candidate, writes)
    }

    fn term() -> Leadership {
        Leadership::of(Term::of(Instant::now(), Duration::from_secs(15)))
    }

    async fn may_write(leadership: &Leadership) -> bool {
        let soon = Duration::from_millis(1);
        let written = tokio::time::timeout(soon, leadership.during(async {})).await;
        written.is_ok()
    }

    /// Whoever labels the lease, for example, takes nothing over.
    #[tokio::test(start_paused = true)]
    async fn a_conflict_on_the_own_lease_is_no_loss() {
        let (mut candidate, writes) = candidate("this", 2, Duration::ZERO);
        let leadership = term();
        let kept = tokio::time::timeout(Duration::from_mins(1), candidate.keep(&leadership)).await;
        assert_eq!(kept.ok(), None, "the work was dropped");
        assert!(may_write(&leadership).await && writes.load(Ordering::SeqCst) > 10);
    }

    /// A slow etcd ends no one's work, and a write waits for a renewal at most.
    #[tokio::test(start_paused = true)]
    async fn slow_answers_are_no_loss() {
        for (conflicts, seconds) in [(0, 4), (1, 2)] {
            let (mut candidate, writes) =
                candidate("this", conflicts, Duration::from_secs(seconds));
            candidate.try_hold().await.expect("an answer");
            let leadership = term();
            let kept = tokio::time::timeout(Duration::from_mins(10), candidate.keep(&leadership));
            let writing = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let asked = Instant::now();
                    assert_eq!(leadership.during(async {}).await, Some(()));
                    assert!(asked.elapsed() < Duration::from_secs(5), "{seconds}");
                }
            };
            tokio::select! {
                kept = kept => assert_eq!(kept.ok(), None, "{seconds}: the work was dropped"),
                () = writing => {}
            }
            assert!(writes.load(Ordering::SeqCst) > 100);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_can_t_be_renewed_for_too_long_is_lost() {
        let (mut candidate, _) = candidate("this", u32::MAX, Duration::ZERO);
        let lost = candidate.keep(&term()).await;
        assert_eq!(lost, "the lease could not be renewed in time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_another_replica_holds_is_lost_at_once() {
        let (mut candidate, writes) = candidate("another", 0, Duration::ZERO);
        assert_eq!(
            candidate.keep(&term()).await,
            "another replica took the lease"
        );
        assert_eq!(writes.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_begins_and_ends_within_the_term() {
        let leadership = term();
        let long = || tokio::time::sleep(Duration::from_secs(30));
        assert_eq!(leadership.during(async { 1 }).await, Some(1));
        let began = Instant::now();
        assert_eq!(leadership.during(long()).await, None);
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(15),
            "it ends when another replica may write"
        );
        assert!(!may_write(&leadership).await, "the lease was not renewed");
        leadership.extend(Term::of(Instant::now(), Duration::from_secs(15)));
        assert!(may_write(&leadership).await);
        assert_eq!(
            Leadership::alone().during(long()).await,
            Some(()),
            "the only replica needs no lease"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_waits_for_the_write_under_way_and_for_no_other() {
        let leadership = term();
        let (begun, ended) = (Instant::now(), Arc::new(AtomicU32::new(0)));
        let write = |seconds| {
            let (leadership, ended) = (leadership.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let work = tokio::time::sleep(Duration::from_secs(seconds));
                leadership.during(work).await;
                ended.fetch_add(1, Ordering::SeqCst);
            })
        };
        let under_way = write(2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stopped = leadership.stop_writing().await;
        let late = write(1);
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(
            under_way.is_finished() && !late.is_finished(),
            "no write begins"
        );
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        drop(stopped);
    }
}
