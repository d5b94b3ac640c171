//! What is known of a source bucket from one visit to the next, and changes so rarely that a drift check does not read it again. It is kept for every
//! bucket, and so kept small.

use crate::{
    arns::{ManagedPolicyArn, RoleArn},
    keys::KeyReference,
    names::{OwnedBucket, Region},
    observed::{Bucket, Facet, KeyDescription, KeyQuery, ManagedRead, Observed, Traits},
    policy::Document,
};

/// What is known of a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// See [`Observed::was_versioned`].
    pub was_versioned: bool,
    /// See [`Observed::known_role`].
    pub role: Option<RoleArn>,
    buckets: Box<[(OwnedBucket, KnownBucket)]>,
    keys: Box<[(KeyQuery, Facet<KeyDescription>)]>,
    managed: Box<[(ManagedPolicyArn, ManagedRead)]>,
}

#[derive(Clone, Debug, PartialEq)]
struct KnownBucket {
    region: Facet<Region>,
    switches: [Switch; 5],
    /// `None`: it was not read.
    policy: Option<Box<Facet<Document>>>,
}

/// What is known of something that is on or off, in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    Unread,
    Absent,
    Off,
    On,
}

impl Switch {
    fn of(read: &Facet<bool>) -> Self {
        match read {
            Facet::Present(true) => Self::On,
            Facet::Present(false) => Self::Off,
            Facet::Absent => Self::Absent,
            Facet::Unread | Facet::Failed(_) => Self::Unread,
        }
    }

    fn facet(self) -> Facet<bool> {
        match self {
            Self::On => Facet::Present(true),
            Self::Off => Facet::Present(false),
            Self::Absent => Facet::Absent,
            Self::Unread => Facet::Unread,
        }
    }
}

impl KnownBucket {
    fn of(read: &Bucket) -> Self {
        let unread = Traits::default();
        let traits = if read.traits.failure().is_none() {
            &read.traits
        } else {
            &unread
        };
        let switches = [
            &traits.requester_pays,
            &traits.owner_enforced,
            &traits.blocks_sse_c,
            &traits.object_lock,
            &traits.syncs_back,
        ];
        let policy = &traits.policy;
        Self {
            region: read.region.lasting(),
            switches: switches.map(Switch::of),
            policy: (*policy != Facet::Unread).then(|| Box::new(policy.clone())),
        }
    }

    fn bucket(&self) -> Bucket {
        let [
            requester_pays,
            owner_enforced,
            blocks_sse_c,
            object_lock,
            syncs_back,
        ] = self.switches.map(Switch::facet);
        Bucket {
            region: self.region.clone(),
            traits: Traits {
                requester_pays,
                owner_enforced,
                blocks_sse_c,
                object_lock,
                syncs_back,
                policy: self.policy.as_deref().cloned().unwrap_or_default(),
            },
            ..Bucket::default()
        }
    }
}

impl Known {
    /// What of `observed` a drift check of `source` does not read again.
    #[must_use]
    pub fn of(observed: &Observed, source: &OwnedBucket) -> Self {
        let buckets = observed.buckets.iter();
        let managed = observed.managed.iter();
        // Another default key, or another key behind an alias, makes new objects fail: both are read each time.
        let keys = observed
            .keys
            .iter()
            .filter(|(query, _)| matches!(query.reference, KeyReference::Key(_)));
        Self {
            was_versioned: observed.configuration.present().is_some()
                && observed.is_versioned(source),
            role: observed.role.present().map(|role| role.arn.clone()),
            buckets: buckets
                .map(|(bucket, read)| (bucket.clone(), KnownBucket::of(read)))
                .collect(),
            keys: keys
                .map(|(query, read)| (query.clone(), read.lasting()))
                .collect(),
            managed: managed
                .filter(|(_, read)| read.document.present().is_some())
                .map(|(arn, read)| (arn.clone(), read.clone()))
                .collect(),
        }
    }

    /// The same as if it was just observed; the rest is unread.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let buckets = self.buckets.iter();
        Observed {
            was_versioned: self.was_versioned,
            known_role: self.role.clone(),
            buckets: buckets
                .map(|(bucket, known)| (bucket.clone(), known.bucket()))
                .collect(),
            keys: self.keys.iter().cloned().collect(),
            managed: self.managed.iter().cloned().collect(),
            ..Observed::default()
        }
    }
}
