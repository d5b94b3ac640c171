//! The changes of the policies of destinations and keys: they grow before the configuration is written, and shrink after it.

use crate::{
    composition::desired::PlaceStatement,
    edit::StatementEdit,
    observed::Facet,
    plan::{
        basis::Draft,
        planner::{Planner, contains},
        releases::Releases,
        step::Step,
    },
    policy::{Document, Statement},
    shared_policy::SharedPolicy,
};

/// A policy, as it exists, and the statements that it should have for the source bucket.
struct Place<'a> {
    policy: SharedPolicy,
    existing: &'a Document,
    wanted: &'a [PlaceStatement],
}

/// A policy's two changes: to the former and new statements together, then to the new ones alone.
type Change = (Option<Edited>, Option<Edited>);

/// An edit of a policy, and what the policy becomes by it if no one changed it since it was read.
struct Edited {
    edit: StatementEdit,
    document: Document,
}

impl Planner<'_> {
    pub(super) fn bucket_policies(
        &self,
        transition: bool,
        releases: &Releases<'_>,
    ) -> (Vec<Draft>, Vec<Draft>) {
        let (mut grown, mut shrunk) = (vec![], vec![]);
        for (bucket, read) in &self.observed.buckets {
            let (Some(region), nothing) = (read.region.present(), Document::default()) else {
                continue;
            };
            let existing = match &read.policy {
                Facet::Present(policy) => policy,
                Facet::Absent => &nothing,
                Facet::Unread | Facet::Failed(_) => continue,
            };
            let wanted = self
                .desired
                .bucket_statements
                .get(bucket)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let place = Place {
                policy: SharedPolicy::OfBucket(bucket.clone()),
                existing,
                wanted,
            };
            let (growth, shrinkage) = self.change(&place, transition, releases);
            let step = |Edited { edit, document }: Edited| {
                let concerns = self.users_of(
                    self.users.buckets.get(bucket),
                    &format!("{}/", bucket.arn()),
                );
                let (bucket, region) = (bucket.clone(), region.clone());
                let step = if document.is_empty() {
                    Step::DeleteBucketPolicy {
                        bucket,
                        region,
                        edit,
                    }
                } else {
                    Step::PutBucketPolicy {
                        bucket,
                        region,
                        edit,
                        document,
                    }
                };
                Draft { step, concerns }
            };
            grown.extend(growth.map(step));
            shrunk.extend(shrinkage.map(step));
        }
        (grown, shrunk)
    }

    pub(super) fn key_policies(
        &self,
        transition: bool,
        releases: &Releases<'_>,
    ) -> (Vec<Draft>, Vec<Draft>) {
        let (mut grown, mut shrunk) = (vec![], vec![]);
        for (key, read) in &self.observed.key_policies {
            let Some(existing) = read.present() else {
                continue;
            };
            let wanted = self
                .desired
                .key_statements
                .get(key)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let place = Place {
                policy: SharedPolicy::OfKey(key.clone()),
                existing,
                wanted,
            };
            let (growth, shrinkage) = self.change(&place, transition, releases);
            let step = |Edited { edit, document }: Edited| {
                let concerns = self.users_of(self.users.keys.get(key), &key.to_string());
                Draft {
                    step: Step::PutKeyPolicy {
                        key: key.clone(),
                        edit,
                        document,
                    },
                    concerns,
                }
            };
            grown.extend(growth.map(step));
            shrunk.extend(shrinkage.map(step));
        }
        (grown, shrunk)
    }

    /// If a new configuration is about to be written, former statements stay until it is; otherwise the policy gets its final state at once. A
    /// policy that is in use keeps the statements for this source bucket's role alone. What is released is not in use: the role's policy, as it
    /// should be, does not need it.
    fn change(&self, place: &Place<'_>, transition: bool, releases: &Releases<'_>) -> Change {
        let existing = place.existing;
        let mut wanted: Vec<Statement> = vec![];
        for PlaceStatement { statement, .. } in place.wanted {
            if !wanted.contains(statement) {
                wanted.push(statement.clone());
            }
        }
        let is_wanted = |sid: Option<&str>| wanted.iter().any(|wanted| wanted.sid() == sid);
        let mut unneeded = releases.from(&place.policy, existing);
        unneeded.retain(|sid, _| !is_wanted(Some(sid)));
        // Rules that are not written now may use what the policy would lose.
        let used = contains(&self.used, &place.policy);
        let last = existing.merged(&wanted, |statement| {
            (!used && self.is_role_statement(statement))
                || statement
                    .sid()
                    .is_some_and(|sid| unneeded.contains_key(sid))
        });
        let differs = |document: &Document, from: &Document| !document.means(from);
        let adding = StatementEdit::adding(&wanted, self.installation, &self.source_role());
        let finishing = || Edited {
            edit: adding.clone().releasing(unneeded.clone()).replacing(!used),
            document: last.clone(),
        };
        if !transition && !used {
            return (differs(&last, existing).then(finishing), None);
        }
        let grown = existing.merged(&wanted, |_| false);
        let shrinkage = differs(&last, &grown).then(finishing);
        let growth = differs(&grown, existing).then(|| Edited {
            edit: adding.clone(),
            document: grown,
        });
        (growth, shrinkage)
    }
}
