//! A configuration that another writer created: whether the operator's rules may be added to it, and which of its rules they take over.

use std::collections::BTreeMap;

use crate::{
    Problem,
    accounts::Account,
    arns::RoleArn,
    assess::Resolved,
    configuration::{Configuration, ReplicationRule, Setting, SourceSelectionCriteria, Status},
    names::{InstallationId, OwnedBucket, RoleName},
    request::rules::rules_of,
};
use api::condition::{ConditionType, Reason};

/// The unmanaged role of `configuration`. Without unmanaged rules there is none: then only the role was changed, and that is corrected.
#[must_use]
pub fn foreign_role<'a>(
    configuration: Option<&'a Configuration>,
    has_foreign_rules: bool,
    own: &RoleName,
) -> Option<&'a str> {
    configuration
        .filter(|_| has_foreign_rules)
        .filter(|configuration| {
            configuration
                .role_arn()
                .is_none_or(|role| role.name != *own)
        })
        .map(|configuration| configuration.role.as_str())
}

/// The unmanaged rules that an object takes over by its annotation: their IDs, each with the name of the object's rule.
///
/// # Errors
/// When a rule in the annotation differs from every rule of the object.
pub fn taken_over(
    resolved: &Resolved,
    configuration: Option<&Configuration>,
    installation: &InstallationId,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut taken = BTreeMap::new();
    let foreign = configuration
        .into_iter()
        .flat_map(|configuration| &configuration.rules)
        .filter(|rule| rule.mark(installation).is_none());
    for rule in foreign {
        let Some(id) = rule
            .id
            .as_ref()
            .filter(|id| resolved.valid.take_over.contains(*id))
        else {
            continue;
        };
        let theirs = essence(rule, &resolved.valid.destination);
        let ours = rules_of(resolved);
        let equal = ours
            .iter()
            .zip(&resolved.valid.rules)
            .find(|(ours, _)| essence(ours, &resolved.valid.destination).means(&theirs));
        let Some((_, named)) = equal else {
            let message = format!(
                "rule {id} on bucket {}, which the annotation {} names, differs from every rule of the object: it is {}",
                resolved.valid.source.name,
                api::TAKE_OVER,
                serde_json::json!(theirs)
            );
            return Err(Problem::new(
                ConditionType::ReplicationConfigured,
                Reason::RuleDiffers,
                message,
            ));
        };
        taken.insert(id.clone(), named.name.clone());
    }
    Ok(taken)
}

/// What a rule does: without its ID and priority, without elements that are off, and with the account of its destination, which is often left
/// out.
fn essence(rule: &ReplicationRule, destination: &OwnedBucket) -> ReplicationRule {
    let on = |setting: Option<Setting>| setting.filter(|setting| setting.status == Status::Enabled);
    let mut rule = ReplicationRule {
        id: None,
        priority: None,
        ..rule.as_version_2()
    };
    rule.existing_object_replication = on(rule.existing_object_replication);
    let criteria = rule
        .source_selection_criteria
        .map(|criteria| SourceSelectionCriteria {
            sse_kms_encrypted_objects: on(criteria.sse_kms_encrypted_objects),
            replica_modifications: on(criteria.replica_modifications),
        });
    rule.source_selection_criteria =
        criteria.filter(|criteria| *criteria != SourceSelectionCriteria::default());
    rule.destination.metrics = rule
        .destination
        .metrics
        .filter(|metrics| metrics.status == Status::Enabled);
    rule.destination.replication_time = rule
        .destination
        .replication_time
        .filter(|time| time.status == Status::Enabled);
    if rule.destination.bucket == destination.arn().to_string() {
        rule.destination
            .account
            .get_or_insert_with(|| destination.account.to_string());
    }
    rule
}

/// What in the existing configuration blocks an object.
#[must_use]
pub fn obstacle(
    resolved: &Resolved,
    configuration: &Configuration,
    installation: &InstallationId,
    account: &Account,
) -> Option<Problem> {
    let taken = match taken_over(resolved, Some(configuration), installation) {
        Ok(taken) => taken,
        Err(problem) => return Some(problem),
    };
    let is_taken =
        |rule: &&ReplicationRule| rule.id.as_ref().is_some_and(|id| taken.contains_key(id));
    let foreign: Vec<_> = configuration
        .rules
        .iter()
        .filter(|rule| rule.mark(installation).is_none() && !is_taken(rule))
        .collect();
    let own = RoleName::of(installation, &resolved.valid.source);
    let role = foreign_role(Some(configuration), !foreign.is_empty(), &own);
    let of_role = role.and_then(|role| role_in_the_way(resolved, role, account));
    let of_role = of_role.map(|problem| with_unmatched(problem, resolved, configuration));
    of_role.or_else(|| no_longer_accepted(&foreign, &resolved.valid.source)).or_else(|| {
        let old = foreign.iter().find(|rule| rule.filter.is_none())?;
        let id = old.id.as_deref().unwrap_or("without ID");
        let message = format!(
            "rule {id} on bucket {} has the earlier schema (V1), which can't be combined with the operator's rules: rewrite it with a Filter, or take it over with the annotation {}",
            resolved.valid.source.name,
            api::TAKE_OVER
        );
        Some(problem(Reason::ForeignVersion1Rules, message))
    })
}

/// Says if the annotation names rules that the configuration does not have.
fn with_unmatched(problem: Problem, resolved: &Resolved, configuration: &Configuration) -> Problem {
    let existing: Vec<_> = configuration
        .rules
        .iter()
        .filter_map(|rule| rule.id.as_deref())
        .collect();
    let unmatched = resolved.valid.take_over.iter();
    let unmatched: Vec<_> = unmatched
        .filter(|id| !existing.contains(&id.as_str()))
        .map(|id| format!("{id:?}"))
        .collect();
    if unmatched.is_empty() {
        return problem;
    }
    let message = format!(
        "{}. The annotation {} names {}, but the rules are {existing:?}: an ID with a comma or with spaces at its ends needs a JSON array",
        problem.message,
        api::TAKE_OVER,
        unmatched.join(" and ")
    );
    Problem { message, ..problem }
}

/// An unmanaged rule with an element that S3 no longer accepts: it refuses any write of a configuration that has it ("`ExistingObjectReplication`" in
/// the S3 API Reference).
fn no_longer_accepted(foreign: &[&ReplicationRule], source: &OwnedBucket) -> Option<Problem> {
    let old = foreign
        .iter()
        .find(|rule| rule.existing_object_replication.is_some())?;
    let message = format!(
        "rule {} on bucket {} has the element ExistingObjectReplication, which S3 no longer accepts, so that it would refuse any write of the configuration: remove the element, or take over the rule with the annotation {}",
        old.id.as_deref().unwrap_or("without ID"),
        source.name,
        api::TAKE_OVER
    );
    Some(problem(Reason::ForeignRuleNotPreservable, message))
}

fn problem(reason: Reason, message: String) -> Problem {
    Problem::new(ConditionType::ReplicationConfigured, reason, message)
}

/// Why the operator's rules can't be added to a configuration with the unmanaged `role`.
fn role_in_the_way(resolved: &Resolved, role: &str, account: &Account) -> Option<Problem> {
    let source = &resolved.valid.source;
    let name = &source.name;
    let arn = role.parse::<RoleArn>().ok();
    if account.roles.are_checked() {
        let named = account.roles.named.get(name);
        if named.is_some() && named == arn.as_ref() {
            return None;
        }
        let message = format!(
            "bucket {name} already has a replication configuration with the unmanaged role {role}: {} to list that role for the bucket in roles.named of AWSAccount {}, or take over its rules with the annotation {}",
            account.whom_to_ask(),
            account.name,
            api::TAKE_OVER
        );
        return Some(problem(Reason::ForeignConfiguration, message));
    }
    if arn.as_ref().is_some_and(|role| role.name.is_for(source)) {
        let message = format!(
            "another installation of this operator manages bucket {name} with role {role}: use one installation for the bucket"
        );
        return Some(problem(Reason::OtherInstallation, message));
    }
    if !resolved.valid.merge {
        let message = format!(
            "bucket {name} already has a replication configuration with the unmanaged role {role}: set spec.existingConfiguration to Merge to add to the configuration, take over its rules with the annotation {}, or remove the configuration",
            api::TAKE_OVER
        );
        return Some(problem(Reason::ForeignConfiguration, message));
    }
    if arn.is_none_or(|role| !account.roles.mergeable.contains(&role)) {
        let message = format!(
            "bucket {name} already has a replication configuration with role {role}, which AWSAccount {} does not list in roles.mergeableRoleARNs: {} to list it",
            account.name,
            account.whom_to_ask()
        );
        return Some(problem(Reason::RoleNotMergeable, message));
    }
    None
}
