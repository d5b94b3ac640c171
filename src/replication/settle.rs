//! When the rules of an object may be written: once the permissions that they need have settled.
//!
//! S3 never retries an object that failed while a permission was missing. Each object waits for its own permissions, so that a neighbor on the
//! bucket that changes again and again blocks no other object.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    assess::Resolved,
    compose::{self, Claims, DesiredRole},
    names::{ObjectKey, fingerprint},
    observed::{Facet, Observed},
    policy::{Document, Statement},
};

/// What the rules of an object need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// A fingerprint of it. As long as it is the same, what was granted stays useful.
    pub fingerprint: String,
    /// Whether AWS was seen to allow all of it, as far as that can be read.
    pub granted: bool,
}

/// What the rules of each acting object that are not withheld need from `role`. Whether it is granted is only read for those whose rules are
/// `changing`: what is in use already was. Rules that are withheld settle only once someone grants what they need.
#[must_use]
pub fn needs(
    claims: &Claims<'_>,
    role: &DesiredRole,
    changing: &BTreeSet<ObjectKey>,
) -> BTreeMap<ObjectKey, Need> {
    let need = |resolved: &Resolved| {
        let key = resolved.valid.key.clone();
        let statements = compose::object_statements(claims.installation, resolved);
        let texts: Vec<_> = statements
            .iter()
            .map(|statement| statement.json().to_string())
            .chain([role.arn.clone()])
            .collect();
        let fingerprint = fingerprint(&texts.iter().map(String::as_str).collect::<Vec<_>>(), 32);
        let granted = !changing.contains(&key) || is_granted(claims, resolved);
        (
            key,
            Need {
                fingerprint,
                granted,
            },
        )
    };
    let free = claims
        .acting
        .iter()
        .filter(|resolved| !claims.withheld.contains(&resolved.valid.key));
    free.map(need).collect()
}

/// Whether role, destination and keys were seen to allow what the object's rules need, as if it were alone on the bucket.
fn is_granted(claims: &Claims<'_>, resolved: &Resolved) -> bool {
    let (nobody, nothing) = (BTreeSet::new(), BTreeMap::new());
    let alone = Claims {
        acting: std::slice::from_ref(resolved),
        withheld: &nobody,
        carried: &nothing,
        ..*claims
    };
    let desired = compose::compose(&alone);
    let Some(role) = &desired.role else {
        return false;
    };
    let observed = claims.observed;
    let readable = |account| claims.accounts.managed(account).is_some();
    let holds = |policy: Option<&Document>, statements: &[Statement]| {
        statements
            .iter()
            .all(|statement| compose::allows_already(policy, statement, &role.arn))
    };
    let buckets = desired
        .bucket_statements
        .iter()
        .filter(|(bucket, _)| readable(&bucket.account));
    let keys = desired
        .key_statements
        .iter()
        .filter(|(key, _)| readable(&key.account));
    is_role_ready(observed, role)
        && buckets
            .map(|(bucket, statements)| {
                (
                    observed
                        .buckets
                        .get(bucket)
                        .and_then(|read| read.policy.present()),
                    statements,
                )
            })
            .all(|(policy, statements)| holds(policy, statements))
        && keys
            .map(|(key, statements)| {
                (
                    observed.key_policies.get(key).and_then(Facet::present),
                    statements,
                )
            })
            .all(|(policy, statements)| holds(policy, statements))
}

/// Whether the role was seen with all that it needs, and S3 may assume it.
fn is_role_ready(observed: &Observed, role: &DesiredRole) -> bool {
    let existing = if role.merged {
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
            .map(super::role_policies::RolePolicies::statements)
    };
    let existing: BTreeSet<_> = existing
        .iter()
        .flatten()
        .map(|statement| statement.canonical().to_string())
        .collect();
    role.policy
        .statements()
        .iter()
        .all(|statement| existing.contains(&statement.canonical().to_string()))
}
