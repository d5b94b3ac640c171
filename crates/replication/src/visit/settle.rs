//! When the rules of an object may be written: once the permissions that they need have settled.
//!
//! S3 never retries an object that failed while a permission was missing. Each object waits for its own permissions, so that a neighbor on the
//! bucket that changes again and again blocks no other object.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    assess::Resolved,
    compose,
    composition::claims::Claims,
    composition::{
        desired::{DesiredRole, PlaceStatement, RoleOwnership},
        statements::allows_already,
    },
    names::{ObjectKey, fingerprint},
    observed::{Facet, Observed},
    policy::{Document, Statement},
    remedy::PolicyOf,
    request::s3_requests::RoleFacts,
    request::statements::object_statements,
};

/// What the rules of an object need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// A fingerprint of it. As long as it is the same, what was granted stays useful.
    pub fingerprint: String,
    /// Whether AWS was seen to allow all of it, as far as that can be read.
    pub granted: bool,
}

/// What the rules of each acting object that are not withheld need from `role`. Rules that are withheld settle only once someone grants what
/// they need.
#[must_use]
pub fn needs(claims: &Claims<'_>, role: &DesiredRole) -> BTreeMap<ObjectKey, Need> {
    let need = |resolved: &Resolved| {
        let key = resolved.valid.key.clone();
        let statements = object_statements(claims.installation, resolved);
        let texts: Vec<_> = statements
            .iter()
            .map(|statement| statement.json().to_string())
            .chain([role.arn.to_string()])
            .collect();
        let fingerprint = fingerprint(&texts.iter().map(String::as_str).collect::<Vec<_>>(), 32);
        let granted = is_granted(claims, role, resolved);
        let need = Need {
            fingerprint,
            granted,
        };
        (key, need)
    };
    let free = claims
        .acting
        .iter()
        .filter(|resolved| !claims.withheld.contains(&resolved.valid.key));
    free.map(need).collect()
}

/// Whether `role`, the destination and the keys were seen to allow what the object's rules need. What other rules on the bucket need does not
/// count: the owner of a retained rule's destination may no longer allow it.
fn is_granted(claims: &Claims<'_>, role: &DesiredRole, resolved: &Resolved) -> bool {
    let alone = Claims {
        acting: std::slice::from_ref(resolved),
        ..*claims
    };
    let required = compose::required(&alone, role);
    let observed = claims.observed;
    let readable = |account| claims.accounts.managed(account).is_some();
    let facts = RoleFacts::of(&role.arn, claims.accounts);
    let holds = |of, policy: Option<&Document>, statements: &[PlaceStatement]| {
        statements
            .iter()
            .all(|statement| allows_already(policy, statement, of, facts))
    };
    let policy_of_bucket = |bucket| observed.buckets.get(bucket)?.policy.present();
    let policy_of_key = |key| observed.key_policies.get(key).and_then(Facet::present);
    let mut buckets = required
        .buckets
        .iter()
        .filter(|(bucket, _)| readable(&bucket.account));
    let mut keys = required
        .keys
        .iter()
        .filter(|(key, _)| readable(&key.account));
    is_role_ready(observed, role, &required.role)
        && buckets.all(|(bucket, statements)| {
            holds(
                PolicyOf::Bucket(bucket),
                policy_of_bucket(bucket),
                statements,
            )
        })
        && keys.all(|(key, statements)| holds(PolicyOf::Key(key), policy_of_key(key), statements))
}

/// Whether the role was seen with the statements, and S3 may assume it.
fn is_role_ready(observed: &Observed, role: &DesiredRole, needed: &[Statement]) -> bool {
    // Its permissions were checked before.
    if role.ownership == RoleOwnership::Checked {
        return true;
    }
    let existing = if role.ownership == RoleOwnership::Merged {
        observed
            .merged
            .get(&role.arn)
            .and_then(Facet::present)
            .map(Document::statements)
    } else {
        let own = observed
            .role
            .present()
            .filter(|own| own.arn == role.arn && own.trust.means(&role.trust));
        own.and(observed.role_policies.present())
            .map(crate::role_policies::RolePolicies::statements)
    };
    let existing: BTreeSet<_> = existing
        .iter()
        .flatten()
        .map(|statement| statement.canonical().to_string())
        .collect();
    needed
        .iter()
        .all(|statement| existing.contains(&statement.canonical().to_string()))
}
