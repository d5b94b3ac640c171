//! Reads that several source buckets need, such as those of a destination: made once, and shared for a short time.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::replication::question::{Answer, Question};

/// The answers of the last moments. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SharedReads {
    answers: Arc<Mutex<Answers>>,
    /// How long an answer is shared. Zero: not at all.
    valid: Duration,
}

type Last = Arc<tokio::sync::Mutex<Option<(Instant, Answer)>>>;

#[derive(Debug, Default)]
struct Answers {
    last: HashMap<Question, Last>,
    /// How many were left when old ones were last dropped.
    left: usize,
}

/// Up to this many answers are kept without checking how old they are.
const FEW: usize = 64;

impl Answers {
    /// Drops old answers whenever their number has doubled.
    fn tidy(&mut self, valid: Duration) {
        if self.last.len() < FEW.max(2 * self.left) {
            return;
        }
        let is_used = |last: &Last| {
            Arc::strong_count(last) > 1
                || last
                    .try_lock()
                    .is_ok_and(|last| matches!(&*last, Some((since, _)) if since.elapsed() < valid))
        };
        self.last.retain(|_, last| is_used(last));
        self.left = self.last.len();
    }
}

impl SharedReads {
    /// Reads whose answers are shared for `valid`.
    #[must_use]
    pub fn new(valid: Duration) -> Self {
        Self {
            answers: Arc::default(),
            valid,
        }
    }

    /// The answer to `question`: that of a read of the last moments, or of `ask`. Those who come while it is asked wait for that answer, a failed one
    /// included; later ones ask again after a failure.
    pub async fn answer(&self, question: &Question, ask: impl Future<Output = Answer>) -> Answer {
        if self.valid.is_zero() || !is_shared(question) {
            return ask.await;
        }
        let began = Instant::now();
        let last = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.tidy(self.valid);
            Arc::clone(answers.last.entry(question.clone()).or_default())
        };
        let mut last = last.lock().await;
        if let Some((since, answer)) = &*last
            && (*since > began || (since.elapsed() < self.valid && answer.failure().is_none()))
        {
            return answer.clone();
        }
        let answer = ask.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Forgets the answer to `question`, because it is being changed. A read that is under way is not shared with those who come from now on.
    pub fn forget(&self, question: &Question) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last.remove(question);
    }
}

/// Whether other source buckets may ask the same: not what is of one source bucket alone.
fn is_shared(question: &Question) -> bool {
    match question {
        Question::Region(_)
        | Question::Versioning(..)
        | Question::ObjectLock(..)
        | Question::RequesterPays(..)
        | Question::OwnerEnforced(..)
        | Question::BucketPolicy(..)
        | Question::Key { .. }
        | Question::KeyPolicy(_)
        | Question::ManagedVersion(..)
        | Question::ManagedDocument { .. } => true,
        Question::Encryption(..)
        | Question::Configuration(..)
        | Question::Tags(..)
        | Question::Role(..)
        | Question::InlinePolicy { .. }
        | Question::AttachedPolicies(..)
        | Question::PolicyVersions(_)
        | Question::PolicyDocument { .. }
        | Question::ForeignRole(_)
        | Question::InlinePolicyNames(_)
        | Question::ForeignInlinePolicy { .. }
        | Question::ForeignAttachedPolicies(_) => false,
    }
}
