//! The one state of AWS that serves all objects on a source bucket, whatever their order.
//!
//! What is unmanaged is carried over, and so is what belongs to objects that do not act now.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Problem,
    accounts::{Account, Accounts},
    assess::Resolved,
    configuration::{
        AccessControlTranslation, Configuration, EncryptionConfiguration, Filter, Metrics, Minutes,
        ReplicationRule, ReplicationTime, RuleDestination, RuleMark, Setting,
        SourceSelectionCriteria,
    },
    merge::{self, foreign_role},
    names::{
        AccountId, BucketName, InstallationId, KeyArn, ObjectKey, OwnedBucket, Prefix, Region,
        RoleName, role_arn, role_name,
    },
    observed::{Facet, Observed},
    policy::{Document, Mark, Purpose, Request, Statement},
    validate::{Valid, ValidRule},
};

/// The role's tag that names the installation that created it.
pub const TAG_INSTALLATION: &str = "bucketops.dev/installation";
/// The role's tag with the number of managed policies to read; without it, none.
pub const TAG_POLICIES: &str = "bucketops.dev/managed-policies";
/// The role's tag that names its source bucket.
pub const TAG_SOURCE_BUCKET: &str = "bucketops.dev/source-bucket";

/// Replication Time Control and its metrics support one threshold only (`ReplicationTimeValue` in the S3 API Reference).
const THRESHOLD: Minutes = Minutes { minutes: 15 };

/// What is composed, and from what.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// All accounts.
    pub accounts: &'a Accounts,
    /// The account of the source bucket.
    pub account: &'a Account,
    /// The source bucket.
    pub source: &'a OwnedBucket,
    /// What exists in AWS.
    pub observed: &'a Observed,
    /// Objects that get what they ask for, in order.
    pub acting: &'a [Resolved],
    /// Those of them whose rules have to wait. The role is created, so that an owner can name it in a policy.
    pub withheld: &'a BTreeSet<ObjectKey>,
    /// Objects whose part does not change, or only as said.
    pub carried: &'a BTreeMap<ObjectKey, Carry>,
}

/// How the part of an object that does not act is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It does not change.
    Unchanged,
    /// Its rules are disabled: it is no longer allowed to have them.
    Disabled,
    /// Its rules are marked as retained: the object is deleted, and its rules stay.
    Retained,
}

/// The state of AWS that serves all objects on a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// `None`: the bucket has no replication configuration.
    pub configuration: Option<Configuration>,
    /// `None`: the bucket needs no role.
    pub role: Option<DesiredRole>,
    /// The operator's statements in bucket policies.
    pub bucket_statements: BTreeMap<OwnedBucket, Vec<Statement>>,
    /// The operator's statements in key policies.
    pub key_statements: BTreeMap<KeyArn, Vec<Statement>>,
    /// Buckets on which versioning is enabled.
    pub versioning: BTreeMap<OwnedBucket, Region>,
}

/// The role of a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredRole {
    /// The account that it is in.
    pub account: AccountId,
    /// Its name.
    pub name: RoleName,
    /// Whether it is an unmanaged role that only gets an inline policy; its path, trust policy, tags and boundary do not change.
    pub merged: bool,
    /// Its path.
    pub path: String,
    /// Its ARN.
    pub arn: String,
    /// Who may assume it.
    pub trust: Document,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its permissions boundary.
    pub boundary: Option<String>,
    /// What it may do.
    pub policy: Document,
}

/// Who may assume a replication role. It has no condition on `aws:SourceAccount` or `aws:SourceArn`: no page of AWS says that S3 sends these
/// keys for replication, and a condition on a key that is not sent is false.
#[must_use]
pub fn trust() -> Document {
    Document::parse(
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#,
    )
    .unwrap_or_default()
}

/// Composes what all objects on a source bucket ask for.
#[must_use]
pub fn compose(claims: &Claims<'_>) -> Desired {
    let rules = rules(claims);
    let foreign = rules
        .iter()
        .any(|rule| rule.mark(claims.installation).is_none());
    let role = role_frame(claims, foreign);
    let configuration = configuration(claims, rules, &role.arn);
    let ours: Vec<_> = configuration
        .iter()
        .flat_map(|c| &c.rules)
        .filter_map(|rule| Some((rule.mark(claims.installation)?, rule.clone())))
        .collect();
    let needs_role = !ours.is_empty()
        || !claims.acting.is_empty()
        || (foreign && !role.merged && configuration.as_ref().is_some_and(|c| c.role == role.arn));
    let wanted = if needs_role {
        wanted_statements(claims)
    } else {
        vec![]
    };
    let carried = if needs_role {
        carried_statements(claims, &ours, &wanted)
    } else {
        vec![]
    };
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
    }
}

/// What the rules of some objects need, whatever else exists on the bucket.
pub(super) struct Required {
    /// Statements of the role.
    pub(super) role: Vec<Statement>,
    /// Statements of the destinations in other accounts.
    pub(super) buckets: BTreeMap<OwnedBucket, Vec<Statement>>,
    /// Statements of the keys.
    pub(super) keys: BTreeMap<KeyArn, Vec<Statement>>,
}

/// What the rules of the acting objects need from `role`, their destinations and their keys.
pub(super) fn required(claims: &Claims<'_>, role: &DesiredRole) -> Required {
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
    statements: &mut BTreeMap<OwnedBucket, Vec<Statement>>,
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
            .filter(|new| existing.iter().all(|old| old.sid() != new.sid()))
            .collect();
        existing.extend(new);
    }
}

/// The role, without its policy: the operator's, or that of the unmanaged rules, which can't have another.
fn role_frame(claims: &Claims<'_>, foreign: bool) -> DesiredRole {
    let name = RoleName::of(claims.installation, claims.source);
    let path = &claims.account.roles.path;
    let mut tags = claims.account.roles.tags.clone();
    tags.insert(TAG_INSTALLATION.into(), claims.installation.to_string());
    tags.insert(TAG_SOURCE_BUCKET.into(), claims.source.name.to_string());
    let existing = claims.observed.role.present().map(|role| role.arn.clone());
    let theirs = foreign_role(claims.observed.configuration.present(), foreign, &name);
    let theirs = theirs.and_then(|arn| Some((role_name(arn)?, arn.to_owned())));
    let merged = theirs.is_some();
    let own = || {
        (
            name.clone(),
            existing.unwrap_or_else(|| {
                role_arn(claims.account.partition, &claims.account.id, path, &name)
            }),
        )
    };
    let (name, arn) = theirs.unwrap_or_else(own);
    DesiredRole {
        account: claims.account.id.clone(),
        arn,
        name,
        merged,
        path: path.clone(),
        trust: trust(),
        tags,
        boundary: claims.account.roles.permissions_boundary.clone(),
        policy: Document::default(),
    }
}

fn existing_rules(claims: &Claims<'_>) -> Vec<ReplicationRule> {
    claims
        .observed
        .configuration
        .present()
        .map(|configuration| configuration.rules.clone())
        .unwrap_or_default()
}

/// All rules that should exist: unmanaged rules first and unchanged, then the operator's in the order of their objects.
fn rules(claims: &Claims<'_>) -> Vec<ReplicationRule> {
    let existing = existing_rules(claims);
    let replaced = taken_over(claims);
    let mut kept = vec![];
    for mut rule in existing.clone() {
        let Some(mark) = rule.mark(claims.installation) else {
            if !rule.id.as_ref().is_some_and(|id| replaced.contains_key(id)) {
                kept.push(rule);
            }
            continue;
        };
        if mark.retained {
            kept.push(rule);
            continue;
        }
        let withheld = claims
            .withheld
            .contains(&mark.object)
            .then_some(&Carry::Unchanged);
        match claims.carried.get(&mark.object).or(withheld) {
            Some(Carry::Unchanged) => {}
            Some(Carry::Disabled) => rule.status = false.into(),
            Some(Carry::Retained) => {
                rule.id = Some(
                    RuleMark {
                        retained: true,
                        ..mark
                    }
                    .id(claims.installation),
                );
            }
            None => continue,
        }
        kept.push(rule);
    }
    // An existing priority is kept, so that adding or removing an object changes no other object's rules. So is that of a rule that is taken over.
    let held = |id: &str| {
        let before = |rule: &&ReplicationRule| {
            let theirs = rule.id.as_deref().unwrap_or_default();
            theirs == id || replaced.get(theirs).is_some_and(|ours| ours == id)
        };
        existing.iter().find(before).and_then(|rule| rule.priority)
    };
    let mut made: Vec<_> = claims
        .acting
        .iter()
        .filter(|resolved| !claims.withheld.contains(&resolved.valid.key))
        .flat_map(|resolved| rules_with_id(claims, resolved))
        .collect();
    let mut taken: BTreeSet<i32> = kept.iter().filter_map(|rule| rule.priority).collect();
    let mut reserved: BTreeSet<i32> = made
        .iter()
        .filter_map(|(_, rule)| held(rule.id.as_deref()?))
        .collect();
    for place in 0..made.len() {
        let (hint, rule) = &made[place];
        let rivals = kept
            .iter()
            .chain(made[..place].iter().map(|(_, rule)| rule))
            .filter(|other| rule.rivals(other));
        let least = rivals
            .filter_map(|rival| rival.priority)
            .max()
            .map_or(1, |priority| priority.saturating_add(1));
        let held = rule.id.as_deref().and_then(held);
        let stays = held.filter(|held| {
            *held >= least && hint.is_none_or(|hint| hint == *held) && !taken.contains(held)
        });
        reserved.retain(|reserved| Some(*reserved) != held);
        let free = || {
            (hint.unwrap_or(1).max(least)..=i32::MAX)
                .find(|priority| !taken.contains(priority) && !reserved.contains(priority))
        };
        let priority = stays.or_else(free);
        taken.extend(priority);
        made[place].1.priority = priority;
    }
    kept.extend(made.into_iter().map(|(_, rule)| rule));
    kept
}

/// The rules of one object with their priority hints. If two overlap, the later one wins: that with the higher hint, then that with the longer
/// prefix.
fn rules_with_id(claims: &Claims<'_>, resolved: &Resolved) -> Vec<(Option<i32>, ReplicationRule)> {
    let mut rules: Vec<_> = resolved.valid.rules.iter().collect();
    rules.sort_by_key(|rule| (rule.priority, rule.prefix.as_str().len(), &rule.name));
    let id = |rule: &ValidRule| {
        RuleMark {
            object: resolved.valid.key.clone(),
            rule: rule.name.clone(),
            retained: false,
        }
        .id(claims.installation)
    };
    rules
        .into_iter()
        .map(|rule| {
            (
                rule.priority,
                replication_rule(resolved, rule, id(rule), None),
            )
        })
        .collect()
}

/// The unmanaged rules that are taken over now, each with the ID of the rule that replaces it.
fn taken_over(claims: &Claims<'_>) -> BTreeMap<String, String> {
    let free = claims
        .acting
        .iter()
        .filter(|resolved| !claims.withheld.contains(&resolved.valid.key));
    free.flat_map(|resolved| {
        let object = &resolved.valid.key;
        let id = |rule: String| {
            RuleMark {
                object: object.clone(),
                rule,
                retained: false,
            }
            .id(claims.installation)
        };
        let taken = merge::taken_over(
            resolved,
            claims.observed.configuration.present(),
            claims.installation,
        )
        .unwrap_or_default();
        taken
            .into_iter()
            .map(move |(theirs, rule)| (theirs, id(rule)))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The rules of one object, without ID and priority.
#[must_use]
pub fn rules_of(resolved: &Resolved) -> Vec<ReplicationRule> {
    resolved
        .valid
        .rules
        .iter()
        .map(|rule| ReplicationRule {
            id: None,
            ..replication_rule(resolved, rule, String::new(), None)
        })
        .collect()
}

fn replication_rule(
    resolved: &Resolved,
    rule: &ValidRule,
    id: String,
    priority: Option<i32>,
) -> ReplicationRule {
    let valid = &resolved.valid;
    let sse_kms_encrypted_objects = resolved.keys.as_ref().map(|_| Setting::new(true));
    let replica_modifications = valid.sync_replica_modifications.then(|| Setting::new(true));
    let criteria = SourceSelectionCriteria {
        sse_kms_encrypted_objects,
        replica_modifications,
    };
    let across = valid.source.account != valid.destination.account;
    ReplicationRule {
        id: Some(id),
        priority,
        prefix: None,
        filter: Some(Filter::new(rule.prefix.as_str(), rule.tags.clone())),
        status: rule.enabled.into(),
        source_selection_criteria: (criteria != SourceSelectionCriteria::default())
            .then_some(criteria),
        existing_object_replication: None,
        destination: RuleDestination {
            bucket: valid.destination.arn(),
            account: (across || valid.owner_override)
                .then(|| valid.destination.account.to_string()),
            storage_class: valid
                .storage_class
                .map(|class| <&str>::from(class).to_owned()),
            access_control_translation: valid.owner_override.then(|| AccessControlTranslation {
                owner: "Destination".into(),
            }),
            encryption_configuration: resolved.keys.as_ref().map(|keys| EncryptionConfiguration {
                replica_kms_key_id: Some(keys.replica.to_string()),
            }),
            replication_time: valid.time_control.then_some(ReplicationTime {
                status: true.into(),
                time: Some(THRESHOLD),
            }),
            metrics: valid.metrics.then_some(Metrics {
                status: true.into(),
                event_threshold: valid.time_control.then_some(THRESHOLD),
            }),
        },
        delete_marker_replication: Some(Setting::new(rule.delete_markers)),
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
    let mut statements = vec![Statement::allow(
        claims.installation,
        Purpose::SourceBucket,
        claims.source.name.as_str(),
        None,
        ACTIONS_ON_SOURCE_BUCKET,
        &[claims.source.arn()],
        &vec![],
    )];
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
    let mut existing = claims.observed.role_statements();
    existing.retain(|existing| {
        let is_carried = existing
            .mark_of(claims.installation)
            .is_some_and(|mark| carried.contains(&mark.owner));
        is_carried
            && !wanted
                .iter()
                .any(|statement| statement.sid() == existing.sid())
    });
    existing
}

/// The role's statements for one object: to read the source objects, to write the replicas, and to use the keys for that alone.
pub(super) fn object_statements(
    installation: &InstallationId,
    resolved: &Resolved,
) -> Vec<Statement> {
    let valid = &resolved.valid;
    let owner = valid.key.to_string();
    let allow = |purpose,
                 actions: &[&str],
                 resources: &[String],
                 conditions: &super::policy::Conditions| {
        Statement::allow(
            installation,
            purpose,
            &owner,
            None,
            actions,
            resources,
            conditions,
        )
    };
    let prefixes = widest(valid.rules.iter().map(|rule| rule.prefix.clone()));
    let under = |bucket: &OwnedBucket| {
        prefixes
            .iter()
            .map(|prefix| bucket.objects(prefix))
            .collect::<Vec<_>>()
    };
    let mut statements = vec![allow(
        Purpose::SourceObjects,
        &actions_on_source_objects(resolved.object_lock),
        &under(&valid.source),
        &vec![],
    )];
    for (actions, prefixes) in by_actions(valid.rules.iter().map(|rule| {
        (
            replica_actions(rule.delete_markers, valid.owner_override),
            rule.prefix.clone(),
        )
    })) {
        let resources: Vec<_> = prefixes
            .iter()
            .map(|prefix| valid.destination.objects(prefix))
            .collect();
        // Without it, a bucket that another account creates under the name of a deleted destination would receive the data.
        let account = (
            "StringEqualsIfExists",
            "aws:ResourceAccount".to_owned(),
            vec![valid.destination.account.to_string()],
        );
        statements.push(allow(
            Purpose::Replicas,
            &actions,
            &resources,
            &vec![account],
        ));
    }
    if let Some(keys) = &resolved.keys {
        // With an S3 Bucket Key the encryption context is the bucket's ARN, otherwise the object's. Each object has its own setting,
        // so both forms are needed ("Replicating encrypted objects" in the S3 User Guide).
        let context = |bucket: &OwnedBucket| {
            std::iter::once(bucket.arn())
                .chain(under(bucket))
                .collect::<Vec<_>>()
        };
        let conditions = |bucket: &OwnedBucket, region: &Region| {
            vec![
                (
                    "StringEquals",
                    "kms:ViaService".to_owned(),
                    vec![via_service(region)],
                ),
                (
                    "StringLike",
                    "kms:EncryptionContext:aws:s3:arn".to_owned(),
                    context(bucket),
                ),
            ]
        };
        let source: Vec<_> = keys.source.iter().map(ToString::to_string).collect();
        statements.push(allow(
            Purpose::SourceKeys,
            SOURCE_KEY_ACTIONS,
            &source,
            &conditions(&valid.source, &resolved.source_region),
        ));
        statements.push(allow(
            Purpose::ReplicaKey,
            REPLICA_KEY_ACTIONS,
            &[keys.replica.to_string()],
            &conditions(&valid.destination, &keys.replica.region),
        ));
    }
    statements
}

/// What the role does with source objects; with Object Lock, it reads their settings too ("Setting up permissions for live replication" in the
/// S3 User Guide).
pub(super) fn actions_on_source_objects(object_lock: bool) -> Vec<&'static str> {
    let mut actions = vec![
        "s3:GetObjectVersionForReplication",
        "s3:GetObjectVersionAcl",
        "s3:GetObjectVersionTagging",
    ];
    if object_lock {
        actions.extend(["s3:GetObjectRetention", "s3:GetObjectLegalHold"]);
    }
    actions
}

/// What the role does at the destination for any rule of an object.
pub(super) fn actions_on_replicas(valid: &Valid) -> Vec<&'static str> {
    replica_actions(
        valid.rules.iter().any(|rule| rule.delete_markers),
        valid.owner_override,
    )
}

/// The ARN of the role that S3 will assume for an object: the unmanaged role that the operator's rules are merged under, or the operator's.
pub(super) fn role_arn_of(
    installation: &InstallationId,
    account: &Account,
    source: &OwnedBucket,
    observed: &Observed,
    blockers: &[Problem],
) -> String {
    let name = RoleName::of(installation, source);
    let configuration = observed.configuration.present();
    let foreign = configuration.is_some_and(|existing| {
        existing
            .rules
            .iter()
            .any(|rule| rule.mark(installation).is_none())
    });
    let theirs = foreign_role(configuration, foreign, &name).filter(|_| blockers.is_empty());
    let own = || {
        observed.role.present().map_or_else(
            || role_arn(account.partition, &account.id, &account.roles.path, &name),
            |role| role.arn.clone(),
        )
    };
    theirs.map_or_else(own, ToOwned::to_owned)
}

pub(super) const ACTIONS_ON_SOURCE_BUCKET: &[&str] =
    &["s3:GetReplicationConfiguration", "s3:ListBucket"];
pub(super) const SOURCE_KEY_ACTIONS: &[&str] = &["kms:Decrypt"];
/// `Encrypt` for every replica; `GenerateDataKey` and `Decrypt` if a bucket key is used ("Replicating encrypted objects" and "Receiving
/// replication failure events" in the S3 User Guide).
pub(super) const REPLICA_KEY_ACTIONS: &[&str] =
    &["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"];

pub(super) fn replica_actions(delete_markers: bool, owner_override: bool) -> Vec<&'static str> {
    let mut actions = vec!["s3:ReplicateObject", "s3:ReplicateTags"];
    if delete_markers {
        actions.push("s3:ReplicateDelete");
    }
    if owner_override {
        actions.push("s3:ObjectOwnerOverrideToBucketOwner");
    }
    actions
}

fn via_service(region: &Region) -> String {
    format!("s3.{region}.amazonaws.com")
}

fn by_actions(
    rules: impl Iterator<Item = (Vec<&'static str>, Prefix)>,
) -> BTreeMap<Vec<&'static str>, Vec<Prefix>> {
    let mut groups: BTreeMap<_, Vec<Prefix>> = BTreeMap::new();
    for (actions, prefix) in rules {
        groups.entry(actions).or_default().push(prefix);
    }
    groups
        .into_iter()
        .map(|(actions, prefixes)| (actions, widest(prefixes.into_iter())))
        .collect()
}

/// The prefixes without those that another one covers, in order.
fn widest(prefixes: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    let mut widest: Vec<Prefix> = vec![];
    for prefix in prefixes.collect::<BTreeSet<_>>() {
        if !widest.iter().any(|wider| wider.covers(&prefix)) {
            widest.push(prefix);
        }
    }
    widest
}

/// The statements that destinations in other accounts need for the operator's rules, one for each set of actions.
fn bucket_statements<'a>(
    claims: &Claims<'_>,
    role: &DesiredRole,
    rules: impl Iterator<Item = &'a ReplicationRule>,
) -> BTreeMap<OwnedBucket, Vec<Statement>> {
    let mut by_bucket: BTreeMap<OwnedBucket, Vec<(Vec<&'static str>, Prefix)>> = BTreeMap::new();
    for rule in rules {
        let Some(bucket) = destination_of(rule, claims.source) else {
            continue;
        };
        if bucket.account == claims.source.account {
            continue;
        }
        let delete_markers = rule.delete_marker_replication == Some(Setting::new(true));
        let actions = replica_actions(
            delete_markers,
            rule.destination.access_control_translation.is_some(),
        );
        let Ok(prefix) = rule.selected_prefix().parse() else {
            continue;
        };
        by_bucket.entry(bucket).or_default().push((actions, prefix));
    }
    let owner = RoleName::of(claims.installation, claims.source);
    let statements = |bucket: &OwnedBucket, rules: Vec<(Vec<&'static str>, Prefix)>| {
        by_actions(rules.into_iter())
            .into_iter()
            .map(|(actions, prefixes)| {
                let resources: Vec<_> = prefixes
                    .iter()
                    .map(|prefix| bucket.objects(prefix))
                    .collect();
                Statement::allow(
                    claims.installation,
                    Purpose::Replicas,
                    owner.as_str(),
                    Some(&role.arn),
                    &actions,
                    &resources,
                    &vec![],
                )
            })
            .collect()
    };
    by_bucket
        .into_iter()
        .map(|(bucket, rules)| {
            let made = statements(&bucket, rules);
            (bucket, made)
        })
        .collect()
}

/// The destination bucket of one of the operator's rules. Without an account, it is in the source's account.
#[must_use]
pub fn destination_of(rule: &ReplicationRule, source: &OwnedBucket) -> Option<OwnedBucket> {
    let name: BucketName = rule.destination.bucket.rsplit(':').next()?.parse().ok()?;
    let account = match &rule.destination.account {
        Some(account) => account.parse().ok()?,
        None => source.account.clone(),
    };
    Some(OwnedBucket {
        partition: source.partition,
        account,
        name,
    })
}

/// The statements that key policies need for what the role's own policy allows with keys, if they do not allow that already. What is only
/// carried keeps its statement, but never gets one: an earlier visit may have removed it before a step that AWS refused, and would remove it
/// again.
fn key_statements(
    claims: &Claims<'_>,
    role: &DesiredRole,
    wanted: &[Statement],
    carried: &[Statement],
) -> BTreeMap<KeyArn, Vec<Statement>> {
    let mut uses: BTreeMap<(KeyArn, Purpose), (BTreeSet<String>, bool)> = BTreeMap::new();
    for (statement, adds) in wanted
        .iter()
        .map(|statement| (statement, true))
        .chain(carried.iter().map(|statement| (statement, false)))
    {
        let Some(purpose) = statement.mark().map(|mark| mark.purpose) else {
            continue;
        };
        if !matches!(purpose, Purpose::SourceKeys | Purpose::ReplicaKey) {
            continue;
        }
        for key in statement
            .strings("Resource")
            .into_iter()
            .filter_map(|arn| arn.parse().ok())
        {
            let via = statement
                .condition("StringEquals", "kms:ViaService")
                .into_iter()
                .map(ToOwned::to_owned);
            let (services, is_added) = uses.entry((key, purpose)).or_default();
            services.extend(via);
            *is_added |= adds;
        }
    }
    let owner = RoleName::of(claims.installation, claims.source);
    let mut statements: BTreeMap<KeyArn, Vec<Statement>> = BTreeMap::new();
    for ((key, purpose), (via, is_added)) in uses {
        let actions = if purpose == Purpose::SourceKeys {
            SOURCE_KEY_ACTIONS
        } else {
            REPLICA_KEY_ACTIONS
        };
        let services: Vec<_> = via.into_iter().collect();
        let condition = vec![(
            "StringEquals",
            "kms:ViaService".to_owned(),
            services.clone(),
        )];
        let wanted = Statement::allow(
            claims.installation,
            Purpose::KeyUse,
            owner.as_str(),
            Some(&role.arn),
            actions,
            &["*".to_owned()],
            &condition,
        );
        let policy = claims
            .observed
            .key_policies
            .get(&key)
            .and_then(Facet::present);
        let exists = policy.is_some_and(|policy| {
            policy
                .statements()
                .iter()
                .any(|statement| statement.sid() == wanted.sid())
        });
        if !exists
            && (!is_added || key_allows_already(claims, role, &key, policy, actions, &services))
        {
            continue;
        }
        statements.entry(key).or_default().push(wanted);
    }
    statements
}

/// Whether the policy has the statement `wanted`, or already allows `role` the same.
#[must_use]
pub fn allows_already(policy: Option<&Document>, wanted: &Statement, role: &str) -> bool {
    let Some(policy) = policy else { return false };
    let same = policy
        .statements()
        .iter()
        .any(|statement| statement.canonical() == wanted.canonical());
    let via = wanted.condition("StringEquals", "kms:ViaService");
    let context = via
        .first()
        .map(|service| ("kms:viaservice", (*service).to_owned()))
        .into_iter()
        .collect();
    let (actions, resources) = (wanted.strings("Action"), wanted.strings("Resource"));
    same || resources.iter().all(|resource| {
        let request = Request {
            principals: vec![role.to_owned()],
            actions: &actions,
            resource: (*resource).to_owned(),
            context: std::clone::Clone::clone(&context),
        };
        policy.allows(&request, |_| false)
    })
}

fn key_allows_already(
    claims: &Claims<'_>,
    role: &DesiredRole,
    key: &KeyArn,
    policy: Option<&Document>,
    actions: &[&str],
    services: &[String],
) -> bool {
    let Some(policy) = policy else { return false };
    let account = &claims.account.id;
    services.iter().all(|service| {
        let request = Request {
            principals: vec![
                role.arn.clone(),
                format!("arn:{}:iam::{account}:root", claims.account.partition),
                account.to_string(),
            ],
            actions,
            resource: key.to_string(),
            context: [
                ("kms:viaservice", service.clone()),
                ("kms:calleraccount", account.to_string()),
                ("aws:principalaccount", account.to_string()),
                ("aws:principalarn", role.arn.clone()),
            ]
            .into(),
        };
        policy.allows(&request, |statement| {
            statement.mark_of(claims.installation).is_some()
        })
    })
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

/// The buckets and keys whose policies may have statements of the operator, by the role's policy and the operator's rules: they are read in
/// addition to what objects name now. Only those in this partition count.
#[must_use]
pub fn ledger(
    installation: &InstallationId,
    source: &OwnedBucket,
    configuration: Option<&Configuration>,
    role_statements: &[Statement],
) -> (BTreeSet<OwnedBucket>, BTreeSet<KeyArn>) {
    let mut buckets = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for rule in configuration
        .iter()
        .flat_map(|configuration| &configuration.rules)
        .filter(|rule| rule.mark(installation).is_some())
    {
        buckets.extend(destination_of(rule, source));
        let key = rule
            .destination
            .encryption_configuration
            .as_ref()
            .and_then(|encryption| encryption.replica_kms_key_id.as_deref());
        keys.extend(key.and_then(|key| key.parse::<KeyArn>().ok()));
    }
    for statement in role_statements
        .iter()
        .filter(|statement| statement.mark_of(installation).is_some())
    {
        match statement.mark().map(|mark| mark.purpose) {
            Some(Purpose::Replicas) => {
                let accounts = statement.condition("StringEqualsIfExists", "aws:ResourceAccount");
                let Some(account) = accounts
                    .first()
                    .and_then(|account| account.parse::<AccountId>().ok())
                else {
                    continue;
                };
                for resource in statement.strings("Resource") {
                    let name = resource
                        .rsplit(':')
                        .next()
                        .and_then(|path| path.split('/').next())
                        .and_then(|name| name.parse().ok());
                    buckets.extend(name.map(|name| OwnedBucket {
                        partition: source.partition,
                        account: account.clone(),
                        name,
                    }));
                }
            }
            Some(Purpose::SourceKeys | Purpose::ReplicaKey) => {
                keys.extend(
                    statement
                        .strings("Resource")
                        .into_iter()
                        .filter_map(|arn| arn.parse::<KeyArn>().ok()),
                );
            }
            _ => {}
        }
    }
    buckets.retain(|bucket| bucket != source);
    (buckets, keys)
}
