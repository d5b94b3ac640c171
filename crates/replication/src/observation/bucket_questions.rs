//! What to ask about the source bucket and the destinations.

use crate::{
    names::{OwnedBucket, Region},
    observation::inquiry::Inquiry,
    observed::{Depth, Facet, Traits},
    question::Question,
};

impl Inquiry<'_> {
    pub(super) fn source(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        let bucket = &scope.source;
        let Some((seen, region)) = self.located(bucket) else {
            return;
        };
        let of = |make: fn(OwnedBucket, Region) -> Question| {
            let (bucket, region) = (bucket.clone(), region.clone());
            move || make(bucket, region)
        };
        let matters = !scope.removing;
        let is_implied = observed.was_versioned
            && matches!(observed.configuration, Facet::Unread | Facet::Present(_));
        self.at(
            Depth::Foundation,
            matters && !is_implied,
            &seen.versioning,
            of(Question::Versioning),
        );
        self.at(
            Depth::Foundation,
            scope.default_encryption,
            &observed.default_encryption,
            of(Question::Encryption),
        );
        self.at(
            Depth::Traits,
            matters,
            &seen.traits.object_lock,
            of(Question::ObjectLock),
        );
        self.at(
            Depth::Traits,
            matters,
            &seen.traits.policy,
            of(Question::BucketPolicy),
        );
        self.at(
            Depth::Everything,
            true,
            &observed.configuration,
            of(Question::Configuration),
        );
        self.at(
            Depth::Everything,
            scope.tags,
            &seen.tags,
            of(Question::Tags),
        );
    }

    pub(super) fn destination(&mut self, bucket: &OwnedBucket) {
        let scope = self.scope;
        let Some((seen, region)) = self.located(bucket) else {
            return;
        };
        let of = |make: fn(OwnedBucket, Region) -> Question| {
            let (bucket, region) = (bucket.clone(), region.clone());
            move || make(bucket, region)
        };
        // Within one account the role's own policy is enough, so the bucket's policy is not written, but it can deny.
        let across = bucket.account != scope.source.account;
        let matters = !scope.removing && scope.destinations.contains(bucket);
        let traits = &seen.traits;
        self.at(
            Depth::Foundation,
            !scope.removing,
            &seen.versioning,
            of(Question::Versioning),
        );
        self.at(
            Depth::Policies,
            across,
            &seen.policy,
            of(Question::BucketPolicy),
        );
        self.at(
            Depth::Traits,
            matters && !across,
            &traits.policy,
            of(Question::BucketPolicy),
        );
        self.traits(bucket, &region, &seen.traits);
        self.at(
            Depth::Everything,
            scope.tags,
            &seen.tags,
            of(Question::Tags),
        );
    }

    /// What decides whether a destination can be replicated to.
    fn traits(&mut self, bucket: &OwnedBucket, region: &Region, traits: &Traits) {
        let scope = self.scope;
        let of = |make: fn(OwnedBucket, Region) -> Question| {
            let (bucket, region) = (bucket.clone(), region.clone());
            move || make(bucket, region)
        };
        let across = bucket.account != scope.source.account;
        let matters = !scope.removing && scope.destinations.contains(bucket);
        let takes_sse_c = self.seen_of(&scope.source).traits.blocks_sse_c == Facet::Present(false);
        self.at(
            Depth::Everything,
            matters && takes_sse_c,
            &traits.blocks_sse_c,
            of(Question::Encryption),
        );
        let locked = self.seen_of(&scope.source).traits.object_lock == Facet::Present(true);
        // Requester Pays is rare, so that it is asked last, as is what makes only a note.
        self.at(
            Depth::Everything,
            matters && across,
            &traits.requester_pays,
            of(Question::RequesterPays),
        );
        self.at(
            Depth::Traits,
            matters && scope.ownership.contains(bucket),
            &traits.owner_enforced,
            of(Question::OwnerEnforced),
        );
        self.at(
            Depth::Everything,
            matters && scope.acls.contains(bucket),
            &traits.owner_enforced,
            of(Question::OwnerEnforced),
        );
        self.at(
            Depth::Traits,
            matters && scope.synced.contains(bucket),
            &traits.syncs_back,
            of(Question::Configuration),
        );
        self.at(
            Depth::Traits,
            locked && scope.destinations.contains(bucket),
            &traits.object_lock,
            of(Question::ObjectLock),
        );
    }
}
