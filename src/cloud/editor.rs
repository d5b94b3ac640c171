//! The editors of policies that several source buckets share: for each policy one edit at a time, on what is read right before it is written.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::known_uses::KnownUses;
use crate::replication::{
    edit::{Journal, Judgement, StatementEdit},
    names::InstallationId,
    observed::{Failure, FailureKind},
    policy::Document,
    shared_policy::{SharedPolicy, SourceRole},
    uses::{Moment, Used},
};
use crate::slot::Slot;

/// An edit that waits longer for those before it fails, and a later visit retries it.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// An editor for each shared policy, for as long as this replica writes. Cheap to clone.
#[derive(Clone)]
pub struct Editors {
    /// A read that is not believed is repeated after this time.
    grace: SignedDuration,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    journals: Arc<Mutex<Journals>>,
    /// Which source buckets use which statements.
    pub uses: KnownUses,
    /// That of the visit whose edits these are, which is given back while an edit waits for others.
    pub(super) slot: Slot,
}

impl fmt::Debug for Editors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editors")
            .field("grace", &self.grace)
            .field("journals", &self.journals)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Journals {
    by_policy: HashMap<SharedPolicy, Arc<tokio::sync::Mutex<Journal>>>,
    /// How many were left when unused journals were last dropped.
    left: usize,
}

/// Up to this many journals are kept without checking which of them are used.
const FEW: usize = 64;

impl Journals {
    /// Drops unused journals that remember nothing, whenever the number of journals has doubled.
    fn tidy(&mut self, now: Timestamp) {
        if self.by_policy.len() < FEW.max(2 * self.left) {
            return;
        }
        let is_used = |journal: &Arc<tokio::sync::Mutex<Journal>>| {
            Arc::strong_count(journal) > 1
                || journal
                    .try_lock()
                    .is_ok_and(|mut journal| !journal.is_over(now))
        };
        self.by_policy.retain(|_, journal| is_used(journal));
        self.left = self.by_policy.len();
    }
}

impl Editors {
    /// Editors that have written nothing yet. A read that is not believed is repeated after `grace`.
    #[must_use]
    pub fn new(grace: Duration, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        Self {
            grace,
            clock: Arc::new(clock),
            journals: Arc::default(),
            uses: KnownUses::default(),
            slot: Slot::default(),
        }
    }

    /// The same editors, for the edits of a visit that has `slot`.
    #[must_use]
    pub fn of_visit(&self, slot: Slot) -> Self {
        Self {
            slot,
            ..self.clone()
        }
    }

    fn journal(&self, policy: &SharedPolicy) -> Arc<tokio::sync::Mutex<Journal>> {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        journals.tidy((self.clock)());
        Arc::clone(journals.by_policy.entry(policy.clone()).or_default())
    }

    /// The time by the clock of the editors.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// What a read of `policy` shows to the visit of the source bucket of `role`, noted for the edit that may follow.
    #[must_use]
    pub fn seen(
        &self,
        policy: &SharedPolicy,
        role: &SourceRole,
        read: Document,
        installation: &InstallationId,
    ) -> Document {
        let now = self.now();
        // While it is edited, the edit's own read is the newer one.
        if let Ok(mut journal) = self.journal(policy).try_lock() {
            journal.show(&read, installation, now);
        }
        self.uses.now().seen(policy, role, read, now)
    }

    /// The moment at which a visit begins that calls [`Editors::note`] in the end.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.uses.now().moment()
    }

    /// Notes what the source bucket of `role` uses, after a visit that began at `since`. False if some of it was removed meanwhile.
    #[must_use]
    pub fn note(&self, role: &SourceRole, uses: &Used, since: Moment) -> bool {
        let now = self.now();
        self.uses.now().note(role, uses.clone(), since, now)
    }

    /// Waits for the edits before this one.
    async fn alone<'a>(
        &self,
        journal: &'a tokio::sync::Mutex<Journal>,
    ) -> Option<tokio::sync::MutexGuard<'a, Journal>> {
        if let Ok(journal) = journal.try_lock() {
            return Some(journal);
        }
        let waiting = tokio::time::timeout(LONGEST_WAIT, journal.lock());
        self.slot.given_back(waiting).await.ok()
    }

    /// Applies `edit` to `policy`: waits for the edits before it, reads, and writes only if the meaning changes. Many edits can wait for each other, so
    /// the calls come to be, on the heap, when it is their turn.
    ///
    /// # Errors
    /// When the policy is not read or written, the edits before it take too long, or what was read has to be read again.
    pub async fn edit<R, W>(
        &self,
        policy: &SharedPolicy,
        edit: &StatementEdit,
        read: impl FnOnce() -> R + Send,
        write: impl FnOnce(Document) -> W + Send,
    ) -> Result<(), Failure>
    where
        R: Future<Output = Result<Option<Document>, Failure>> + Send,
        W: Future<Output = Result<(), Failure>> + Send,
    {
        let failed = |kind, message: String| Failure {
            kind,
            action: policy.to_string(),
            message,
        };
        let journal = self.journal(policy);
        let Some(mut journal) = self.alone(&journal).await else {
            let message = format!(
                "other edits of {policy} took longer than {} seconds",
                LONGEST_WAIT.as_secs()
            );
            return Err(failed(FailureKind::Transient, message));
        };
        let read = Box::pin(read()).await?.unwrap_or_default();
        // From here on, no other visit relies on what is removed, even before it is.
        let edit = &edit.begun(policy, &mut self.uses.now(), (self.clock)());
        match journal.judge(edit, &read, self.grace, (self.clock)()) {
            Judgement::Nothing => Ok(()),
            Judgement::ReadAgain => Err(failed(
                FailureKind::Outdated,
                format!("the read of {policy} does not show what the operator just wrote to it"),
            )),
            Judgement::Write(document) => {
                // Noted before, since a visit that is cancelled during the write does not see its outcome.
                let former = journal.clone();
                journal.note(edit, &read, (self.clock)());
                let written = Box::pin(write(document)).await;
                // A write whose outcome is not known may have been made.
                let refused = written
                    .as_ref()
                    .is_err_and(|failure| failure.kind != FailureKind::Transient);
                if refused {
                    *journal = former;
                }
                written
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::replication::policy::{Purpose, Statement};

    fn key(id: &str) -> SharedPolicy {
        SharedPolicy::OfKey(
            format!("arn:aws:kms:us-east-1:111111111111:key/{id}")
                .parse()
                .expect("a key"),
        )
    }

    fn edit(role: &str) -> StatementEdit {
        let installation = "prod".parse().expect("an id");
        let statement = Statement::allow(
            &installation,
            Purpose::KeyUse,
            role,
            None,
            &["kms:Decrypt"],
            &["*".into()],
            &vec![],
        );
        StatementEdit::adding(&[statement], &installation, &source(role)).replacing(true)
    }

    fn source(role: &str) -> SourceRole {
        SourceRole {
            account: "111111111111".parse().expect("an account"),
            name: role.parse().expect("a role"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn edits_of_one_policy_wait_for_each_other_and_lose_nothing() {
        let (editors, policy) = (
            Editors::new(Duration::from_secs(5), Timestamp::now),
            Mutex::new(None::<Document>),
        );
        let (running, policy) = (AtomicUsize::new(0), &policy);
        let edits = (0..30).map(|number| {
            let (editors, running) = (&editors, &running);
            async move {
                let read = async || {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok(policy.lock().expect("unpoisoned").clone())
                };
                let write = async |document: Document| {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    *policy.lock().expect("unpoisoned") = Some(document);
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                editors
                    .edit(&key("a"), &edit(&format!("role{number}")), read, write)
                    .await
            }
        });
        let all: Result<Vec<_>, _> = futures::future::join_all(edits).await.into_iter().collect();
        all.expect("every edit is made");
        assert_eq!(
            policy
                .lock()
                .expect("unpoisoned")
                .as_ref()
                .map(|policy| policy.statements().len()),
            Some(30)
        );
    }

    /// A removal that timed out may have been made: a later read that still shows the statement is not written back by a neighbor.
    #[tokio::test]
    async fn a_write_whose_outcome_is_not_known_is_remembered() {
        for (kind, left) in [(FailureKind::Transient, 1), (FailureKind::Denied, 2)] {
            let editors = Editors::new(Duration::ZERO, Timestamp::now);
            let statements = |role: &str| edit(role).applied_to(&Document::default()).statements();
            let one = Document::of(statements("one"));
            let installation = "prod".parse().expect("an id");
            let gone = StatementEdit::adding(&[], &installation, &source("one")).replacing(true);
            let read = || std::future::ready(Ok(Some(one.clone())));
            let fails = async |_| {
                Err(Failure {
                    kind,
                    action: "test".into(),
                    message: "no answer".into(),
                })
            };
            editors
                .edit(&key("a"), &gone, read, fails)
                .await
                .expect_err("it fails");
            let written = Mutex::new(None);
            let write = async |document: Document| {
                *written.lock().expect("unpoisoned") = Some(document);
                Ok(())
            };
            editors
                .edit(&key("a"), &edit("two"), read, write)
                .await
                .expect("it is written");
            let written = written.lock().expect("unpoisoned").take();
            assert_eq!(
                written.map(|document| document.statements().len()),
                Some(left),
                "{kind:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_holds_up_others_of_the_same_policy_for_a_bounded_time() {
        let editors = Editors::new(Duration::from_secs(5), Timestamp::now);
        let (policy, one) = (key("a"), edit("one"));
        let hangs = editors.edit(&policy, &one, std::future::pending, async |_| Ok(()));
        let waits = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let other = editors
                .edit(
                    &key("b"),
                    &edit("two"),
                    || std::future::ready(Ok(None)),
                    async |_| Ok(()),
                )
                .await;
            assert_eq!(other, Ok(()), "another policy is another matter");
            editors
                .edit(
                    &key("a"),
                    &edit("two"),
                    || std::future::ready(Ok(None)),
                    async |_| Ok(()),
                )
                .await
        };
        tokio::select! {
            _ = hangs => unreachable!("it hangs"),
            waited = waits => assert_eq!(waited.map_err(|failure| failure.kind), Err(FailureKind::Transient)),
        }
    }
}
