//! What all parts of a plan work on.

use std::collections::BTreeSet;

use crate::{
    composition::desired::Desired,
    keys::KeyArn,
    names::{InstallationId, ObjectKey, OwnedBucket, Region},
    observation::ledger::ledger,
    observed::{Facet, Observed},
    plan::{
        basis::{Basis, Draft, Users},
        step::Step,
    },
    policy::{Mark, Statement},
    shared_policy::{SharedPolicy, SourceRole},
};

pub(super) struct Planner<'a> {
    pub(super) installation: &'a InstallationId,
    pub(super) source: &'a OwnedBucket,
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) users: &'a Users,
    /// The policies that lose no statement now.
    pub(super) used: Places,
    /// Whether the configuration is written even if it does not change.
    pub(super) probes: bool,
}

impl<'a> Planner<'a> {
    pub(super) fn of(basis: &Basis<'a>, used: Places) -> Self {
        Self {
            installation: basis.installation,
            source: basis.source,
            desired: basis.desired,
            observed: basis.observed,
            users: basis.users,
            used,
            probes: basis.probes,
        }
    }
}

/// The buckets and keys that may have statements of the operator.
pub(super) type Places = (BTreeSet<OwnedBucket>, BTreeSet<KeyArn>);

/// Whether the policy is of one of these.
pub(super) fn contains(places: &Places, policy: &SharedPolicy) -> bool {
    match policy {
        SharedPolicy::OfBucket(bucket) => places.0.contains(bucket),
        SharedPolicy::OfKey(key) => places.1.contains(key),
    }
}

/// What `objects` use by the role's existing policies, which name a place before any statement is added there and until the last is removed.
pub(super) fn used_by(
    installation: &InstallationId,
    source: &OwnedBucket,
    observed: &Observed,
    objects: &BTreeSet<ObjectKey>,
) -> Places {
    let owners: BTreeSet<_> = objects
        .iter()
        .map(|object| Mark::owner(&object.to_string()))
        .collect();
    let mut statements = observed.role_statements();
    statements.retain(|statement| {
        statement
            .mark_of(installation)
            .is_some_and(|mark| owners.contains(&mark.owner))
    });
    ledger(installation, source, None, &statements)
}

impl Planner<'_> {
    pub(super) fn versioning(&self) -> Vec<Draft> {
        let enable = |(bucket, region): (&OwnedBucket, &Region)| {
            let concerns = self
                .users
                .buckets
                .get(bucket)
                .unwrap_or(&self.users.all)
                .clone();
            Draft {
                step: Step::EnableVersioning {
                    bucket: bucket.clone(),
                    region: region.clone(),
                },
                concerns,
            }
        };
        self.desired.versioning.iter().map(enable).collect()
    }

    pub(super) fn configuration(&self) -> Option<Draft> {
        let bucket = self.source.clone();
        let region = self.observed.region(&bucket)?.clone();
        let existing = match &self.observed.configuration {
            Facet::Present(existing) => Some(existing),
            Facet::Absent => None,
            Facet::Unread | Facet::Failed(_) => return None,
        };
        let step = match (existing, &self.desired.configuration) {
            (None, None) => return None,
            (Some(existing), Some(wanted)) if existing.means(wanted) && !self.probes => {
                return None;
            }
            (existing, Some(wanted)) => Step::PutReplication {
                bucket,
                region,
                existing: existing.cloned(),
                configuration: wanted.clone(),
            },
            (Some(existing), None) => Step::DeleteReplication {
                bucket,
                region,
                existing: existing.clone(),
            },
        };
        let concerns = self.changed_owners(existing, self.desired.configuration.as_ref());
        let is_unchanged = match &step {
            Step::PutReplication { configuration, .. } => {
                existing.is_some_and(|existing| existing.means(configuration))
            }
            _ => false,
        };
        Some(Draft {
            step,
            concerns: if concerns.is_empty() && !is_unchanged {
                self.users.all.clone()
            } else {
                concerns
            },
        })
    }

    /// Whether the statement is for the role of this source bucket alone.
    pub(super) fn is_role_statement(&self, statement: &Statement) -> bool {
        let owner = Mark::owner(self.source_role().name.as_str());
        statement
            .mark_of(self.installation)
            .is_some_and(|mark| mark.owner == owner)
    }

    /// The role by which this source bucket is known in policies that it shares with others.
    pub(super) fn source_role(&self) -> SourceRole {
        SourceRole::of(self.installation, self.source)
    }

    pub(super) fn for_all(&self, step: Step) -> Draft {
        Draft {
            step,
            concerns: self.users.all.clone(),
        }
    }
}
