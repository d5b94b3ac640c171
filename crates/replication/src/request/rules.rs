//! The rules of one object.

use crate::{
    assess::Resolved,
    configuration::{
        AccessControlTranslation, EncryptionConfiguration, Filter, Metrics, Minutes,
        ReplicationRule, ReplicationTime, RuleDestination, Setting, SourceSelectionCriteria,
    },
    validate::ValidRule,
};

/// Replication Time Control and its metrics support one threshold only (`ReplicationTimeValue` in the S3 API Reference).
const THRESHOLD: Minutes = Minutes { minutes: 15 };

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

pub(crate) fn replication_rule(
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
            bucket: valid.destination.arn().to_string(),
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
