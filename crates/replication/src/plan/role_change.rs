//! The changes of the role and its policies. The tag that counts the managed policies grows before and shrinks after them.

use crate::{
    arns::RoleArn,
    composition::{
        desired::{DesiredRole, RoleOwnership},
        spread::Spread,
    },
    names::{InstallationId, OwnedBucket, RoleName},
    observation::ledger::{TAG_INSTALLATION, TAG_POLICIES, TAG_SOURCE_BUCKET, ledger},
    observed::{Facet, Role},
    plan::{
        basis::Draft,
        planner::Planner,
        releases::unused_by,
        role_steps::{self, removal},
        step::Step,
    },
    policy::{Document, Statement},
    role_policies::{PolicyOwner, RolePolicies},
};

/// The steps for a role, those that add permissions, and those that remove some.
#[derive(Default)]
pub(super) struct RoleChange {
    pub(super) role: Vec<Draft>,
    pub(super) grown: Vec<Draft>,
    pub(super) shrunk: Vec<Draft>,
}

pub(super) struct Spreads {
    pub(super) grown: Spread,
    pub(super) last: Spread,
}

impl Planner<'_> {
    fn role(&self, wanted: &DesiredRole) -> Vec<Draft> {
        let Some(existing) = self.observed.role.present() else {
            return vec![self.for_all(Step::CreateRole(Box::new(wanted.clone())))];
        };
        let mut steps = vec![];
        if !existing.trust.means(&wanted.trust) {
            steps.push(Step::UpdateTrustPolicy(Box::new(wanted.clone())));
        }
        if wanted
            .tags
            .iter()
            .any(|(key, value)| existing.tags.get(key) != Some(value))
        {
            steps.push(Step::TagRole(Box::new(wanted.clone())));
        }
        if let Some(boundary) = wanted
            .boundary
            .clone()
            .filter(|boundary| existing.boundary.as_ref() != Some(boundary))
        {
            steps.push(Step::PutRolePermissionsBoundary {
                role: Box::new(wanted.clone()),
                boundary,
            });
        }
        steps.into_iter().map(|step| self.for_all(step)).collect()
    }

    /// The role and its policies. The tag that counts the managed policies grows before and shrinks after them, so that all of them are found.
    pub(super) fn role_change(&self, transition: bool) -> RoleChange {
        let written = |role: &&DesiredRole| role.ownership != RoleOwnership::Checked;
        let Some(wanted) = self.desired.role.as_ref().filter(written) else {
            return RoleChange::default();
        };
        let (existing, name) = (
            self.existing_policies(wanted),
            RoleName::of(self.installation, self.source),
        );
        let spreads = self.spreads(wanted, transition);
        let owner = PolicyOwner {
            role: &wanted.arn.name,
            ..PolicyOwner::of(self.source, &wanted.arn.path, &name)
        };
        let existing_count = existing
            .managed
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default();
        let tagged = |last: u32| {
            let mut tagged = wanted.clone();
            let counted = self
                .observed
                .role
                .present()
                .is_some_and(|role| role.tags.contains_key(TAG_POLICIES));
            if last > 0 || counted {
                tagged.tags.insert(TAG_POLICIES.into(), last.to_string());
            }
            tagged
        };
        let planned = |before: &RolePolicies, spread: &Spread| -> Vec<Draft> {
            let concerns = self.concerned(&before.document(), &spread.all());
            role_steps::steps(spread, before, &owner)
                .into_iter()
                .map(|step| Draft {
                    step,
                    concerns: concerns.clone(),
                })
                .collect()
        };
        let (grown, last) = (&spreads.grown, &spreads.last);
        let most = existing_count.max(grown.last());
        let between = grown.applied_to(&existing);
        let mut shrunk = planned(&between, last);
        if last.last() < most {
            shrunk.push(self.for_all(Step::TagRole(Box::new(tagged(last.last())))));
        }
        let role = if wanted.ownership == RoleOwnership::Merged {
            vec![]
        } else {
            self.role(&tagged(most))
        };
        RoleChange {
            role,
            grown: planned(&existing, grown),
            shrunk,
        }
    }

    /// The operator's existing policies on the wanted role.
    fn existing_policies(&self, wanted: &DesiredRole) -> RolePolicies {
        if wanted.ownership == RoleOwnership::Merged {
            let inline = self
                .observed
                .merged
                .get(&wanted.arn)
                .and_then(Facet::present)
                .cloned();
            return RolePolicies {
                inline,
                ..RolePolicies::default()
            };
        }
        self.observed
            .role_policies
            .present()
            .cloned()
            .unwrap_or_default()
    }

    /// What the role's policies contain before the configuration is written, and after.
    pub(super) fn spreads(&self, wanted: &DesiredRole, transition: bool) -> Spreads {
        let existing = self.existing_policies(wanted);
        let places =
            |statements: &[Statement]| ledger(self.installation, self.source, None, statements);
        let statements = wanted.policy.statements();
        let ((buckets, keys), (wanted_buckets, wanted_keys)) = (
            places(&self.observed.role_statements()),
            places(&statements),
        );
        // What the policies stop naming has to be cleaned up first, also if an earlier visit was interrupted: a place, or a statement there.
        let forgets = || {
            !buckets.is_subset(&wanted_buckets)
                || !keys.is_subset(&wanted_keys)
                || !unused_by(self.installation, self.observed, self.desired).is_empty()
        };
        let document = existing.document();
        let last = document.merged(&statements, |statement| {
            statement.mark_of(self.installation).is_some()
        });
        let grown = if transition || forgets() {
            document.merged(&statements, |_| false)
        } else {
            last.clone()
        };
        if wanted.ownership == RoleOwnership::Merged {
            return Spreads {
                grown: Spread::inline(grown),
                last: Spread::inline(last),
            };
        }
        let grown = Spread::of(&existing, &grown.statements());
        let last = Spread::of(&grown.applied_to(&existing), &last.statements());
        Spreads { grown, last }
    }

    /// What roles that are not wanted lose: the operator's role is deleted, unmanaged roles only lose the operator's policy.
    pub(super) fn role_removal(&self) -> Vec<Draft> {
        let wanted = self.desired.role.as_ref();
        let (account, policy) = (
            self.source.account.clone(),
            RoleName::of(self.installation, self.source),
        );
        let has_policy = |(arn, read): &(&RoleArn, &Facet<Document>)| {
            read.present().is_some() && wanted.is_none_or(|wanted| wanted.arn != **arn)
        };
        let unmanaged = self.observed.merged.iter().filter(has_policy);
        let mut steps: Vec<_> = unmanaged
            .map(|(arn, _)| Step::DeleteRolePolicy {
                account: account.clone(),
                role: arn.name.clone(),
                policy: policy.clone(),
            })
            .collect();
        if wanted.is_none_or(|wanted| wanted.ownership != RoleOwnership::Own) {
            steps.extend(self.own_role_removal());
        }
        steps.into_iter().map(|step| self.for_all(step)).collect()
    }

    fn own_role_removal(&self) -> Vec<Step> {
        let Some(role) = self
            .observed
            .role
            .present()
            .filter(|role| is_ours(role, self.installation, self.source))
        else {
            return vec![];
        };
        let (account, name) = (
            self.source.account.clone(),
            RoleName::of(self.installation, self.source),
        );
        let mut steps = vec![];
        if let Some(policies) = self.observed.role_policies.present() {
            let owner = PolicyOwner::of(self.source, &role.arn.path, &name);
            steps.extend(
                policies
                    .managed
                    .iter()
                    .flat_map(|(number, policy)| removal(policy, &name, owner.policy(*number))),
            );
            if policies.inline.is_some() {
                steps.push(Step::DeleteRolePolicy {
                    account: account.clone(),
                    role: name.clone(),
                    policy: name.clone(),
                });
            }
        }
        steps.push(Step::DeleteRole {
            account,
            role: name,
        });
        steps
    }
}

/// Whether an existing role with the operator's name for it was created by the operator. An unmanaged role of the same name is never changed.
#[must_use]
pub fn is_ours(role: &Role, installation: &InstallationId, source: &OwnedBucket) -> bool {
    role.tags.get(TAG_INSTALLATION).map(String::as_str) == Some(installation.as_str())
        && role.tags.get(TAG_SOURCE_BUCKET).map(String::as_str) == Some(source.name.as_str())
}
