//! The one state of AWS that serves all objects on a source bucket, whatever their order.
//!
//! What is unmanaged is carried over, and so is what belongs to objects that do not act now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    Problem,
    accounts::Account,
    arns::RoleArn,
    composition::{
        claims::Claims,
        desired::{Desired, DesiredRole, PlaceStatement, RoleOwnership, trust},
        drain::{TAG_DRAINING_SINCE, tagged},
        priorities::rules,
        statements::{bucket_statements, key_statements},
    },
    configuration::{Configuration, ReplicationRule, RuleMark},
    keys::KeyArn,
    merge::foreign_role,
    names::{InstallationId, ObjectKey, OwnedBucket, Region, RoleName},
    observation::ledger::{TAG_INSTALLATION, TAG_SOURCE_BUCKET},
    observed::{Facet, Observed},
    policy::{Document, Mark, Statement},
    request::{
        rules::rules_of,
        statements::{object_statements, source_statement},
    },
};

/// Composes what all objects on a source bucket ask for.
#[must_use]
pub fn compose(claims: &Claims<'_>) -> Desired {
    #[cfg(test)]
    crate::counts::count(&crate::counts::COMPOSED);
    let rules = rules(claims);
    let foreign = rules
        .iter()
        .any(|rule| rule.mark(claims.installation).is_none());
    let mut role = role_frame(claims, foreign);
    let ownership = role.ownership;
    let since = claims
        .drain
        .and_then(|drain| drain.since(claims.observed, ownership));
    let over = claims.drain.is_some_and(|drain| drain.is_over(since));
    let drains = ownership != RoleOwnership::Checked && claims.drain.is_some() && !over;
    let configuration = configuration(claims, rules, &role.arn.to_string());
    let ours: Vec<_> = configuration
        .iter()
        .flat_map(|c| &c.rules)
        .filter_map(|rule| Some((rule.mark(claims.installation)?, rule.clone())))
        .collect();
    let needs_role = !ours.is_empty()
        || !claims.acting.is_empty()
        || (foreign
            && role.ownership == RoleOwnership::Own
            && configuration
                .as_ref()
                .is_some_and(|c| c.role_arn().as_ref() == Some(&role.arn)));
    let (wanted, carried) = if needs_role {
        let wanted = wanted_statements(claims);
        let carried = carried_statements(claims, &ours, &wanted, drains);
        (wanted, carried)
    } else {
        (vec![], vec![])
    };
    let former = former(claims, &wanted);
    let drain = claims.drain.filter(|_| drains && !former.is_empty());
    let draining_since = drain.map(|drain| {
        let changes = changes(claims, configuration.as_ref(), &wanted);
        drain.begun(since, changes)
    });
    set_tag(claims, &mut role, draining_since);
    let mut bucket_statements = bucket_statements(claims, &role, ours.iter().map(|(_, rule)| rule));
    if !claims.withheld.is_empty() {
        announce(claims, &role, &mut bucket_statements);
    }
    let key_statements = key_statements(claims, &role, &wanted, &carried);
    let versioning = versioning(claims);
    let policy = Document::of(wanted.into_iter().chain(carried));
    let role = needs_role.then_some(DesiredRole { policy, ..role });
    Desired {
        configuration,
        role,
        bucket_statements,
        key_statements,
        versioning,
        drained: over && !former.is_empty(),
        draining: if drains { former } else { BTreeSet::new() },
        draining_since,
    }
}

/// The objects that act, and for which the role has permissions that their rules no longer need.
fn former(claims: &Claims<'_>, wanted: &[Statement]) -> BTreeSet<ObjectKey> {
    let existing = claims.observed.role_statements();
    let is_wanted = |sid| wanted.iter().any(|statement| statement.sid() == sid);
    let owners: BTreeSet<_> = existing
        .iter()
        .filter(|statement| !is_wanted(statement.sid()))
        .filter_map(|statement| Some(statement.mark_of(claims.installation)?.owner))
        .collect();
    let acting = claims.acting.iter().map(|resolved| &resolved.valid.key);
    acting
        .filter(|key| !claims.withheld.contains(*key))
        .filter(|key| owners.contains(&Mark::owner(&key.to_string())))
        .cloned()
        .collect()
}

/// Says by a tag of the role since when it has permissions of former rules, so that a restart does not begin anew.
fn set_tag(claims: &Claims<'_>, role: &mut DesiredRole, draining_since: Option<Timestamp>) {
    let tag = match draining_since {
        Some(since) => since.to_string(),
        // An object whose new rules wait has more of them soon.
        None if tagged(claims.observed).is_some() && claims.withheld.is_empty() => String::new(),
        None => return,
    };
    role.tags.insert(TAG_DRAINING_SINCE.to_owned(), tag);
}

/// Whether the rules change, or the role's policy grows.
fn changes(
    claims: &Claims<'_>,
    configuration: Option<&Configuration>,
    wanted: &[Statement],
) -> bool {
    let existing = claims.observed.role_statements();
    let is_new =
        |statement: &Statement| existing.iter().all(|other| other.sid() != statement.sid());
    let before = claims.observed.configuration.present();
    let same = before
        .zip(configuration)
        .is_some_and(|(before, wanted)| before.means(wanted));
    !same || wanted.iter().any(is_new)
}

/// What the rules of some objects need, whatever else exists on the bucket.
pub(crate) struct Required {
    /// Statements of the role.
    pub(crate) role: Vec<Statement>,
    /// Statements of the destinations in other accounts.
    pub(crate) buckets: BTreeMap<OwnedBucket, Vec<PlaceStatement>>,
    /// Statements of the keys.
    pub(crate) keys: BTreeMap<KeyArn, Vec<PlaceStatement>>,
}

/// What the rules of the acting objects need from `role`, their destinations and their keys.
pub(crate) fn required(claims: &Claims<'_>, role: &DesiredRole) -> Required {
    let rules: Vec<_> = claims.acting.iter().flat_map(rules_of).collect();
    let role_statements = wanted_statements(claims);
    Required {
        buckets: bucket_statements(claims, role, rules.iter()),
        keys: key_statements(claims, role, &role_statements, &[]),
        role: role_statements,
    }
}

/// Adds the statements that will exist once no rule waits, so that none is removed in between.
fn announce(
    claims: &Claims<'_>,
    role: &DesiredRole,
    statements: &mut BTreeMap<OwnedBucket, Vec<PlaceStatement>>,
) {
    let free = Claims {
        withheld: &BTreeSet::new(),
        ..*claims
    };
    let rules: Vec<_> = rules(&free)
        .into_iter()
        .filter(|rule| rule.mark(claims.installation).is_some())
        .collect();
    for (bucket, announced) in bucket_statements(&free, role, rules.iter()) {
        let existing = statements.entry(bucket).or_default();
        let new: Vec<_> = announced
            .into_iter()
            .filter(|new| existing.iter().all(|old| old.statement != new.statement))
            .collect();
        existing.extend(new);
    }
}

/// The role, without its policy: the operator's, or that of the unmanaged rules, which can't have another.
fn role_frame(claims: &Claims<'_>, foreign: bool) -> DesiredRole {
    let name = RoleName::of(claims.installation, claims.source);
    let mut tags = claims.account.roles.tags.clone();
    tags.insert(TAG_INSTALLATION.into(), claims.installation.to_string());
    tags.insert(TAG_SOURCE_BUCKET.into(), claims.source.name.to_string());
    let existing = claims.observed.role.present().map(|role| role.arn.clone());
    let configuration = claims.observed.configuration.present();
    let theirs = foreign_role(configuration, foreign, &name).and_then(|arn| arn.parse().ok());
    let named = claims.account.roles.named.get(&claims.source.name).cloned();
    let ownership = match &theirs {
        _ if claims.account.roles.are_checked() => RoleOwnership::Checked,
        Some(_) => RoleOwnership::Merged,
        None => RoleOwnership::Own,
    };
    let own = || existing.unwrap_or_else(|| role_of(claims.account, name));
    let current = || configuration.and_then(Configuration::role_arn);
    let arn = match ownership {
        // Without a name, rules that exist keep the role that they have.
        RoleOwnership::Checked => named.or_else(current).unwrap_or_else(own),
        RoleOwnership::Merged | RoleOwnership::Own => theirs.unwrap_or_else(own),
    };
    DesiredRole {
        arn,
        ownership,
        trust: trust(),
        tags,
        boundary: claims.account.roles.boundary.clone(),
        policy: Document::default(),
    }
}

/// A configuration without rules of the operator does not change. One without any rules is deleted.
fn configuration(
    claims: &Claims<'_>,
    rules: Vec<ReplicationRule>,
    role: &str,
) -> Option<Configuration> {
    let ours = |rules: &[ReplicationRule]| {
        rules
            .iter()
            .any(|rule| rule.mark(claims.installation).is_some())
    };
    let existing = claims.observed.configuration.present();
    if !ours(&rules) && !existing.is_some_and(|existing| ours(&existing.rules)) {
        return existing.cloned();
    }
    (!rules.is_empty()).then(|| Configuration {
        role: role.to_owned(),
        rules,
    })
}

/// The role's statements for the objects that act.
fn wanted_statements(claims: &Claims<'_>) -> Vec<Statement> {
    let mut statements = vec![source_statement(claims.installation, claims.source)];
    for resolved in claims.acting {
        statements.extend(object_statements(claims.installation, resolved));
    }
    statements
}

/// The role's existing statements that it keeps. An object whose rules do not change keeps its statements. An object whose new rules wait has
/// both, even if no rule of it was read, because that read may lag.
fn carried_statements(
    claims: &Claims<'_>,
    ours: &[(RuleMark, ReplicationRule)],
    wanted: &[Statement],
    drains: bool,
) -> Vec<Statement> {
    let acting = claims
        .acting
        .iter()
        .map(|resolved| &resolved.valid.key)
        .filter(|key| !claims.withheld.contains(key));
    let acting: BTreeSet<_> = acting.map(|key| Mark::owner(&key.to_string())).collect();
    let existing_rules = ours
        .iter()
        .map(|(mark, _)| &mark.object)
        .chain(claims.withheld);
    let carried: BTreeSet<_> = existing_rules
        .map(|object| Mark::owner(&object.to_string()))
        .filter(|owner| !acting.contains(owner))
        .collect();
    let stays = |owner: &String| carried.contains(owner) || (drains && acting.contains(owner));
    let mut existing = claims.observed.role_statements();
    existing.retain(|existing| {
        let is_carried = existing
            .mark_of(claims.installation)
            .is_some_and(|mark| stays(&mark.owner));
        is_carried
            && !wanted
                .iter()
                .any(|statement| statement.sid() == existing.sid())
    });
    existing
}

/// The ARN of the role that S3 will assume for an object: the unmanaged role that the operator's rules are merged under, or the operator's.
pub(crate) fn role_arn_of(
    installation: &InstallationId,
    account: &Account,
    source: &OwnedBucket,
    observed: &Observed,
    blockers: &[Problem],
) -> RoleArn {
    let name = RoleName::of(installation, source);
    let configuration = observed.configuration.present();
    let foreign = configuration.is_some_and(|existing| {
        existing
            .rules
            .iter()
            .any(|rule| rule.mark(installation).is_none())
    });
    if let Some(named) = account.roles.named.get(&source.name) {
        return named.clone();
    }
    let theirs = foreign_role(configuration, foreign, &name).filter(|_| blockers.is_empty());
    let own = || {
        observed
            .role
            .present()
            .map_or_else(|| role_of(account, name.clone()), |role| role.arn.clone())
    };
    theirs
        .and_then(|role| role.parse().ok())
        .unwrap_or_else(own)
}

/// The operator's role of that name, once it is created.
fn role_of(account: &Account, name: RoleName) -> RoleArn {
    RoleArn {
        partition: account.partition,
        account: account.id.clone(),
        path: account.roles.path.clone(),
        name,
    }
}

fn versioning(claims: &Claims<'_>) -> BTreeMap<OwnedBucket, Region> {
    let off = |bucket: &OwnedBucket| {
        claims
            .observed
            .buckets
            .get(bucket)
            .is_some_and(|read| read.versioning != Facet::Present(true))
    };
    claims
        .acting
        .iter()
        .filter(|resolved| resolved.valid.enable_versioning)
        .flat_map(|resolved| {
            [
                Some((
                    resolved.valid.source.clone(),
                    resolved.source_region.clone(),
                )),
                resolved
                    .destination_region
                    .clone()
                    .map(|region| (resolved.valid.destination.clone(), region)),
            ]
        })
        .flatten()
        .filter(|(bucket, _)| off(bucket))
        .collect()
}
