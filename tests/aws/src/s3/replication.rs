//! The replication configuration, and what S3 refuses in it ("`PutBucketReplication`" in the S3 API Reference, "Replication configuration file
//! elements" in the S3 User Guide).

use std::collections::BTreeSet;

use documents::{
    arns::{BucketArn, RoleArn},
    configuration::{Configuration, ReplicationRule, Setting, Status},
    evaluation::{Context, ResourcePolicy},
    keys::KeyArn,
};
use serde_json::json;

use super::Call;
use crate::{
    judge::Asked,
    message::{Refusal, Response},
    state::{Bucket, State},
    xml,
};

pub(super) fn call(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    match call.request.method.as_str() {
        "GET" => {
            let configuration = call
                .bucket(state, "s3:GetReplicationConfiguration")?
                .replication
                .clone();
            let configuration = configuration.ok_or_else(|| {
                let message = "The replication configuration was not found";
                Refusal::new(404, "ReplicationConfigurationNotFoundError", message)
            })?;
            Ok(Response::xml(xml::element(
                "ReplicationConfiguration",
                &json!(configuration),
            )))
        }
        // There is no action of its own for it.
        "DELETE" => {
            call.bucket(state, "s3:PutReplicationConfiguration")?
                .replication = None;
            Ok(Response::empty(204))
        }
        _ => put(state, call),
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::new(400, "MalformedXML", message)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidRequest", message)
}

fn argument(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidArgument", message)
}

fn put(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let bucket = call
        .bucket(state, "s3:PutReplicationConfiguration")?
        .clone();
    let mut configuration: Configuration = serde_json::from_value(call.body()?)
        .map_err(|_| malformed("The XML you provided was not well-formed or did not validate against our published schema"))?;
    pass_role(call, &bucket, &configuration)?;
    if bucket.versioning != Some(true) {
        return Err(invalid(
            "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
        ));
    }
    if configuration.rules.is_empty() || configuration.rules.len() > 1_000 {
        return Err(malformed("a configuration has 1 to 1,000 rules"));
    }
    let mut ids = BTreeSet::new();
    for (number, rule) in configuration.rules.iter_mut().enumerate() {
        let id = rule.id.get_or_insert_with(|| format!("rule-{number}"));
        if id.chars().count() > 255 {
            return Err(argument("ID length should not exceed allowed limit of 255"));
        }
        if !ids.insert(id.clone()) {
            return Err(argument("Rule Id must be unique."));
        }
    }
    schema(&configuration)?;
    for rule in &configuration.rules {
        elements(rule)?;
        destination(state, &call.bucket, rule)?;
    }
    let text = json!(configuration).to_string();
    let is_refused = |texts: &Vec<String>| texts.iter().all(|refused| text.contains(refused));
    if state.refused.iter().any(is_refused) {
        return Err(argument("a rule is not accepted, as a test says"));
    }
    call.bucket(state, "s3:PutReplicationConfiguration")?
        .replication = Some(configuration);
    Ok(Response::empty(200))
}

/// A role can be passed to a service of its own account alone ("Grant a user permissions to pass a role to an AWS service" in the IAM User Guide).
fn pass_role(
    call: &Call<'_>,
    bucket: &Bucket,
    configuration: &Configuration,
) -> Result<(), Refusal> {
    let role: RoleArn = configuration
        .role
        .parse()
        .map_err(|_| argument("Invalid role ARN"))?;
    if role.account != bucket.owner {
        let message = "Cross-account pass role is not allowed.";
        return Err(Refusal::new(403, "AccessDenied", message));
    }
    call.who.may(&Asked {
        action: "iam:PassRole",
        resource: role.to_string(),
        owner: &role.account,
        policy: ResourcePolicy::None,
        context: Context::complete().with("iam:PassedToService", "s3.amazonaws.com"),
    })
}

/// What rules of one configuration have to have in common.
fn schema(configuration: &Configuration) -> Result<(), Refusal> {
    let second = configuration
        .rules
        .iter()
        .filter(|rule| rule.filter.is_some())
        .count();
    if second != 0 && second != configuration.rules.len() {
        return Err(invalid(
            "All rules in the configuration must have the same schema version",
        ));
    }
    let mut priorities = BTreeSet::new();
    for rule in &configuration.rules {
        if rule.filter.is_some() == rule.prefix.is_some() {
            return Err(malformed("a rule has either Filter or Prefix"));
        }
        if rule.filter.is_none() {
            continue;
        }
        let Some(priority) = rule.priority else {
            return Err(invalid(
                "Priority must be specified for this version of Cross Region Replication configuration schema.",
            ));
        };
        if rule.delete_marker_replication.is_none() {
            return Err(invalid(
                "DeleteMarkerReplication must be specified for this version of Cross Region Replication configuration schema.",
            ));
        }
        // Whether it is unique in the configuration or for a destination is not documented.
        if !priorities.insert(priority) {
            return Err(invalid(format!(
                "Found duplicate priority {priority} in the replication configuration"
            )));
        }
    }
    Ok(())
}

/// What the elements of a rule have to be.
fn elements(rule: &ReplicationRule) -> Result<(), Refusal> {
    let (filter, destination) = (rule.filter.clone().unwrap_or_default(), &rule.destination);
    if rule.existing_object_replication.is_some() {
        return Err(malformed(
            "ExistingObjectReplication is no longer supported",
        ));
    }
    let markers = rule.delete_marker_replication == Some(Setting::new(true));
    if markers && !filter.tags().is_empty() {
        return Err(invalid(
            "Delete marker replication is not supported if any Tag filter is specified.",
        ));
    }
    let mut keys = BTreeSet::new();
    for tag in filter.tags() {
        if tag.key.is_empty()
            || tag.key.chars().count() > 128
            || tag.value.chars().count() > 256
            || !keys.insert(&tag.key)
        {
            return Err(Refusal::new(
                400,
                "InvalidTag",
                "The tag provided was not a valid tag",
            ));
        }
    }
    let selects = rule
        .source_selection_criteria
        .as_ref()
        .and_then(|criteria| criteria.sse_kms_encrypted_objects)
        == Some(Setting::new(true));
    let key = destination
        .encryption_configuration
        .as_ref()
        .and_then(|encryption| encryption.replica_kms_key_id.clone());
    if selects != key.is_some() {
        return Err(invalid(
            "SseKmsEncryptedObjects and EncryptionConfiguration must be specified together.",
        ));
    }
    if key
        .as_deref()
        .is_some_and(|key| key.parse::<KeyArn>().is_err() && !key.contains(":alias/"))
    {
        return Err(argument("Invalid ReplicaKmsKeyID ARN."));
    }
    let metrics = destination
        .metrics
        .as_ref()
        .is_some_and(|metrics| metrics.status == Status::Enabled);
    let timed = destination
        .replication_time
        .as_ref()
        .is_some_and(|time| time.status == Status::Enabled);
    if timed && !metrics {
        return Err(invalid(
            "Metrics must be enabled to use Replication Time Control.",
        ));
    }
    let minutes = destination
        .replication_time
        .as_ref()
        .and_then(|time| time.time.as_ref());
    if timed && minutes.is_none_or(|time| time.minutes != 15) {
        return Err(argument("ReplicationTime supports 15 minutes alone."));
    }
    if destination.access_control_translation.is_some() && destination.account.is_none() {
        return Err(argument(
            "Account must be specified with AccessControlTranslation.",
        ));
    }
    Ok(())
}

/// The destination exists and is versioned, and is of the account that the rule names. Whether S3 looks that up across accounts is not documented.
fn destination(state: &State, source: &str, rule: &ReplicationRule) -> Result<(), Refusal> {
    let arn: BucketArn = rule
        .destination
        .bucket
        .parse()
        .map_err(|_| argument("Invalid bucket ARN"))?;
    let found = state
        .buckets
        .get(arn.name.as_str())
        .ok_or_else(|| invalid("Destination bucket must exist."))?;
    if found.versioning != Some(true) {
        return Err(invalid("Destination bucket must have versioning enabled."));
    }
    let account = rule
        .destination
        .account
        .as_deref()
        .unwrap_or(found.owner.as_str());
    if account != found.owner.as_str() {
        return Err(invalid("Account does not own the destination bucket."));
    }
    if arn.name.as_str() == source {
        return Err(invalid(
            "Destination bucket cannot be the same as the source bucket.",
        ));
    }
    Ok(())
}
