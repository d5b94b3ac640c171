//! Policies that their owners write: if one lacks what an object needs, the object's rules wait, and its status says what has to be applied.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

use crate::{
    Problem,
    arns::RoleArn,
    composition::{desired::PlaceStatement, statements::allows_already},
    names::{AccountId, ObjectKey, fingerprint},
    observed::Facet,
    policy::Document,
    remedy::PolicyOf,
    request::s3_requests::RoleFacts,
    visit::{
        disposition::{Disposition, Dispositions, External},
        round::Round,
        stage::Stage,
    },
};

/// What owners have to apply, for each object.
#[derive(Default)]
struct Waits {
    /// In accounts that can be read.
    checked: BTreeMap<ObjectKey, Vec<Problem>>,
    /// In accounts that can't be read.
    external: BTreeMap<ObjectKey, Unreadable>,
}

/// What an object needs of policies that can't be read.
#[derive(Default)]
struct Unreadable {
    actions: Vec<RequiredAction>,
    of_keys: bool,
}

/// Lets objects wait for the owners of policies.
pub(super) fn wait(stage: &Stage<'_>, mut dispositions: Dispositions) -> Dispositions {
    for observing in [false, true] {
        let round = Round::new(stage, &dispositions, &BTreeSet::new(), observing, true);
        let mut waits = Waits::of(stage, &round);
        for object in &stage.objects {
            let key = &object.key;
            match dispositions.get_mut(key) {
                Some(Disposition::Acting {
                    problems, external, ..
                }) if !observing => {
                    problems.extend(waits.checked.remove(key).unwrap_or_default());
                    let needed = waits.external.remove(key);
                    *external =
                        needed.map(|needed| Box::new(needed.attested(object.applied.as_ref())));
                }
                Some(Disposition::Observing { problems, .. }) if observing => {
                    problems.extend(waits.checked.remove(key).unwrap_or_default());
                }
                _ => {}
            }
        }
        if !dispositions
            .values()
            .any(|disposition| matches!(disposition, Disposition::Observing { .. }))
        {
            break;
        }
    }
    dispositions
}

impl Unreadable {
    fn attested(self, applied: Option<&String>) -> External {
        let texts: Vec<_> = self
            .actions
            .iter()
            .flat_map(|action| [action.document.as_str(), action.statement.as_str()])
            .collect();
        let fingerprint = fingerprint(&texts, 16);
        External {
            attested: applied == Some(&fingerprint),
            actions: self.actions,
            of_keys: self.of_keys,
            fingerprint,
        }
    }
}

/// A policy that its owner writes, as it was read, with the objects that use it.
struct Checked<'a> {
    of: PolicyOf<'a>,
    account: &'a AccountId,
    policy: Option<&'a Document>,
    users: Option<&'a BTreeSet<ObjectKey>>,
}

impl Waits {
    fn of(stage: &Stage<'_>, round: &Round<'_>) -> Self {
        let mut waits = Self::default();
        let Some(role) = &round.desired.role else {
            return waits;
        };
        let (accounts, observed) = (stage.view.accounts, stage.observed);
        for (bucket, statements) in &round.desired.bucket_statements {
            if PolicyOf::Bucket(bucket).is_written(accounts) {
                continue;
            }
            let checked = Checked {
                of: PolicyOf::Bucket(bucket),
                account: &bucket.account,
                policy: observed
                    .buckets
                    .get(bucket)
                    .and_then(|read| read.policy.present()),
                users: round.users.buckets.get(bucket),
            };
            waits.add(stage, &checked, statements, &role.arn);
        }
        for (key, statements) in &round.desired.key_statements {
            if PolicyOf::Key(key).is_written(accounts) {
                continue;
            }
            let checked = Checked {
                of: PolicyOf::Key(key),
                account: &key.account,
                policy: observed.key_policies.get(key).and_then(Facet::present),
                users: round.users.keys.get(key),
            };
            waits.add(stage, &checked, statements, &role.arn);
        }
        waits
    }

    /// Adds the statements that the policy lacks.
    fn add(
        &mut self,
        stage: &Stage<'_>,
        checked: &Checked<'_>,
        statements: &[PlaceStatement],
        role: &RoleArn,
    ) {
        let external = stage.view.accounts.managed(checked.account).is_none();
        let facts = RoleFacts::of(role, stage.view.accounts);
        let lacks = |statement: &&PlaceStatement| {
            !allows_already(checked.policy, statement, checked.of, facts)
        };
        for statement in statements.iter().filter(lacks) {
            let action = checked.of.add(&statement.statement);
            let problem = Problem {
                action: Some(Box::new(action.clone())),
                ..checked.lacks(role)
            };
            for user in checked.users.into_iter().flatten().cloned() {
                if external {
                    let needed = self.external.entry(user).or_default();
                    needed.actions.push(action.clone());
                    needed.of_keys |= matches!(checked.of, PolicyOf::Key(_));
                } else {
                    self.checked.entry(user).or_default().push(problem.clone());
                }
            }
        }
    }
}

impl Checked<'_> {
    fn lacks(&self, role: &RoleArn) -> Problem {
        let account = self.account;
        match self.of {
            PolicyOf::Bucket(bucket) => Problem::new(
                ConditionType::DestinationReady,
                Reason::BucketPolicyNeeded,
                format!(
                    "the policy of bucket {} does not allow {role} to replicate into it: have the owner of account {account} apply the statement in status.requiredActions",
                    bucket.name
                ),
            ),
            PolicyOf::Key(key) => Problem::new(
                ConditionType::KeysReady,
                Reason::KeyPolicyNeeded,
                format!(
                    "the policy of key {key} does not allow {role} to use it: have the owner of account {account} apply the statement in status.requiredActions"
                ),
            ),
        }
    }
}
