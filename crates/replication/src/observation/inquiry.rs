//! What is being asked: the scope, what was answered, and the questions so far.

use std::collections::BTreeSet;

use crate::{
    names::{OwnedBucket, Region},
    observed::{Bucket, Depth, Facet, Observed, Scope},
    question::Question,
};

/// What is being asked.
pub(super) struct Inquiry<'a> {
    pub(super) scope: &'a Scope,
    pub(super) observed: &'a Observed,
    pub(super) questions: BTreeSet<Question>,
}

impl Inquiry<'_> {
    /// Asks if the scope is that deep, the answer `matters` and is not there yet.
    pub(super) fn at<T>(
        &mut self,
        depth: Depth,
        matters: bool,
        answered: &Facet<T>,
        question: impl FnOnce() -> Question,
    ) {
        if matters && self.scope.depth >= depth && matches!(answered, Facet::Unread) {
            self.questions.insert(question());
        }
    }

    pub(super) fn seen_of(&self, bucket: &OwnedBucket) -> Bucket {
        self.observed
            .buckets
            .get(bucket)
            .cloned()
            .unwrap_or_default()
    }

    /// What was seen of the bucket, once its Region is known.
    pub(super) fn located(&mut self, bucket: &OwnedBucket) -> Option<(Bucket, Region)> {
        let seen = self.seen_of(bucket);
        self.at(Depth::Foundation, true, &seen.region, || {
            Question::Region(bucket.clone())
        });
        let region = seen.region.present().cloned()?;
        Some((seen, region))
    }
}
