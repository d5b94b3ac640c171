//! The changes of the policies of destinations and keys: they grow before the configuration is written, and shrink after it.

use crate::{
    edit::StatementEdit,
    observed::Facet,
    plan::{basis::Draft, planner::Planner, step::Step},
    policy::{Document, Statement},
};

/// When a policy may lose statements.
#[derive(Clone, Copy)]
struct Timing {
    /// A new configuration is about to be written.
    transition: bool,
    /// Rules that are not written now may use what it would lose.
    used: bool,
}

/// A policy's two changes: to the former and new statements together, then to the new ones alone.
type Change = (Option<Edited>, Option<Edited>);

/// An edit of a policy, and what the policy becomes by it if no one changed it since it was read.
struct Edited {
    edit: StatementEdit,
    document: Document,
}

impl Planner<'_> {
    pub(super) fn bucket_policies(&self, transition: bool) -> (Vec<Draft>, Vec<Draft>) {
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
            let timing = Timing {
                transition,
                used: self.used.0.contains(bucket),
            };
            let (growth, shrinkage) = self.change(existing, wanted, timing);
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

    pub(super) fn key_policies(&self, transition: bool) -> (Vec<Draft>, Vec<Draft>) {
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
            let timing = Timing {
                transition,
                used: self.used.1.contains(key),
            };
            let (growth, shrinkage) = self.change(existing, wanted, timing);
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
    /// policy that is in use only grows.
    fn change(&self, existing: &Document, wanted: &[Statement], timing: Timing) -> Change {
        let is_ours = |statement: &Statement| {
            statement.mark_of(self.installation).is_some() && self.is_role_statement(statement)
        };
        let last = existing.merged(wanted, is_ours);
        let differs = |document: &Document, from: &Document| !document.means(from);
        let (installation, owner) = (self.installation, self.role_owner());
        let replace = |document: Document| {
            let edit = StatementEdit::replacing(&document, installation, &owner);
            Edited { edit, document }
        };
        if !timing.transition && !timing.used {
            return (differs(&last, existing).then(|| replace(last)), None);
        }
        let grown = existing.merged(wanted, |_| false);
        let shrinks = !timing.used && differs(&last, &grown);
        let growth = differs(&grown, existing).then(|| Edited {
            edit: StatementEdit::adding(&grown, installation, &owner),
            document: grown,
        });
        (growth, shrinks.then(|| replace(last)))
    }
}
