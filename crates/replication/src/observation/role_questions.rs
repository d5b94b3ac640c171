//! What to ask about roles and their policies.

use std::collections::BTreeSet;

use crate::{
    arns::{ManagedPolicyArn, RoleArn},
    configuration::{Configuration, ReplicationRule},
    observation::inquiry::Inquiry,
    observed::{Depth, Facet, Scope},
    question::Question,
    role_policies::PolicyOwner,
};

impl Inquiry<'_> {
    pub(super) fn role(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        if !scope.writes_roles {
            return;
        }
        let account = &scope.source.account;
        self.at(Depth::Everything, true, &observed.role, || {
            Question::Role(account.clone(), scope.role.clone())
        });
        let arn = match &observed.role {
            Facet::Present(role) => Some(&role.arn),
            Facet::Unread => observed.known_role.as_ref(),
            Facet::Absent | Facet::Failed(_) => None,
        };
        let read = &observed.role_read;
        if let Some(arn) = arn {
            self.at(Depth::Everything, true, &read.inline, || {
                Question::InlinePolicy {
                    role: arn.clone(),
                    policy: scope.role.clone(),
                }
            });
        }
        let Facet::Present(role) = &observed.role else {
            return;
        };
        let numbers = role.managed_policies();
        self.at(
            Depth::Everything,
            !numbers.is_empty(),
            &read.attached,
            || Question::AttachedPolicies(account.clone(), scope.role.clone()),
        );
        let owner = PolicyOwner::of(&scope.source, &role.arn.path, &scope.role);
        for policy in numbers.map(|number| owner.policy(number)) {
            let seen = read.managed.get(&policy).cloned().unwrap_or_default();
            self.at(Depth::Everything, true, &seen.versions, || {
                Question::PolicyVersions(policy.clone())
            });
            if let Facet::Present(versions) = &seen.versions {
                self.at(Depth::Everything, true, &seen.document, || {
                    Question::PolicyDocument {
                        policy,
                        version: versions.default.clone(),
                    }
                });
            }
        }
    }

    pub(super) fn unmanaged_roles(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        if matches!(observed.configuration, Facet::Unread) {
            return;
        }
        for arn in roles_to_read(scope, observed.configuration.present()) {
            let seen = observed.merged.get(&arn).cloned().unwrap_or_default();
            self.at(Depth::Everything, true, &seen, || Question::InlinePolicy {
                role: arn,
                policy: scope.role.clone(),
            });
        }
    }

    pub(super) fn boundary(&mut self) {
        let scope = self.scope;
        let matters = !scope.removing && scope.writes_roles;
        if let Some(boundary) = scope.boundary.as_ref().filter(|_| matters) {
            self.managed_policy(Depth::Traits, boundary);
        }
    }

    fn managed_policy(&mut self, depth: Depth, policy: &ManagedPolicyArn) {
        let seen = self
            .observed
            .managed
            .get(policy)
            .cloned()
            .unwrap_or_default();
        let (account, policy) = (self.scope.source.account.clone(), policy.clone());
        match seen.version {
            Facet::Present(version) => {
                self.at(depth, true, &seen.document, || Question::ManagedDocument {
                    account,
                    policy,
                    version,
                });
            }
            version => self.at(depth, true, &version, || {
                Question::ManagedVersion(account, policy)
            }),
        }
    }

    /// Asks for all policies of the roles that S3 assumes for the operator's rules and that the operator does not manage.
    pub(super) fn foreign_roles(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        let merged = observed.configuration.present();
        let merged = merged.and_then(Configuration::role_arn);
        let merged = merged.filter(|role| scope.merges && scope.mergeable.contains(role));
        let roles: BTreeSet<_> = scope.named_role.iter().cloned().chain(merged).collect();
        for role in roles.into_iter().filter(|_| !scope.removing) {
            let seen = observed
                .foreign_roles
                .get(&role)
                .cloned()
                .unwrap_or_default();
            self.at(Depth::Everything, true, &seen.role, || {
                Question::ForeignRole(role.clone())
            });
            let Facet::Present(read) = &seen.role else {
                continue;
            };
            self.at(Depth::Everything, true, &seen.names, || {
                Question::InlinePolicyNames(role.clone())
            });
            self.at(Depth::Everything, true, &seen.attached, || {
                Question::ForeignAttachedPolicies(role.clone())
            });
            for policy in seen.names.present().into_iter().flatten() {
                let document = seen.inline.get(policy).cloned().unwrap_or_default();
                self.at(Depth::Everything, true, &document, || {
                    Question::ForeignInlinePolicy {
                        role: role.clone(),
                        policy: policy.clone(),
                    }
                });
            }
            let attached = seen.attached.present().into_iter().flatten();
            for policy in attached.chain(&read.boundary) {
                self.managed_policy(Depth::Everything, policy);
            }
        }
    }
}

/// The unmanaged roles that may have an inline policy of the operator: if objects ask to merge, those that the platform team lists, and that of
/// a configuration with rules of both.
fn roles_to_read(scope: &Scope, configuration: Option<&Configuration>) -> BTreeSet<RoleArn> {
    if !scope.writes_roles {
        return BTreeSet::new();
    }
    let mut roles = if scope.merges {
        scope.mergeable.clone()
    } else {
        BTreeSet::new()
    };
    let Some(configuration) = configuration else {
        return roles;
    };
    let is_ours = |rule: &ReplicationRule| rule.mark(&scope.installation).is_some();
    let (ours, theirs): (Vec<_>, Vec<_>) =
        configuration.rules.iter().partition(|rule| is_ours(rule));
    let unmanaged = configuration
        .role_arn()
        .filter(|role| !ours.is_empty() && role.name != scope.role)
        .filter(|role| !theirs.is_empty() || scope.mergeable.contains(role));
    roles.extend(unmanaged);
    roles
}
