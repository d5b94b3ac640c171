//! Converts between the SDK's types and the operator's: replication configurations, element by element, and policy documents.

use aws_sdk_s3::{error::BuildError, types as sdk};
use percent_encoding::percent_decode_str;

use crate::replication::{
    configuration::{
        AccessControlTranslation, And, Configuration, EncryptionConfiguration, Filter, Metrics,
        Minutes, ReplicationRule, ReplicationTime, RuleDestination, Setting,
        SourceSelectionCriteria, Status, Tag,
    },
    policy::Document,
};

/// Reads a policy document as IAM sends it, which is URL-encoded (`GetRolePolicy` in the IAM API Reference).
///
/// # Errors
/// When it is no JSON object.
pub fn iam_document(text: &str) -> Result<Document, serde_json::Error> {
    Document::parse(&percent_decode_str(text).decode_utf8_lossy())
}

/// A configuration as it was read.
#[must_use]
pub fn configuration_from_sdk(configuration: &sdk::ReplicationConfiguration) -> Configuration {
    Configuration {
        role: configuration.role().to_owned(),
        rules: configuration.rules().iter().map(rule_from_sdk).collect(),
    }
}

fn setting(status: &str) -> Setting {
    Setting {
        status: status_from(status),
    }
}

fn status_from(status: &str) -> Status {
    Status::from(status == "Enabled")
}

fn rule_from_sdk(rule: &sdk::ReplicationRule) -> ReplicationRule {
    // The element is deprecated, but an unmanaged rule that has it keeps it.
    #[allow(deprecated, reason = "unmanaged rules of the earlier schema have it")]
    let prefix = rule.prefix().map(ToOwned::to_owned);
    ReplicationRule {
        id: rule.id().map(ToOwned::to_owned),
        priority: rule.priority(),
        prefix,
        filter: rule.filter().map(|filter| Filter {
            prefix: filter.prefix().map(ToOwned::to_owned),
            tag: filter.tag().map(tag_from_sdk),
            and: filter.and().map(|and| And {
                prefix: and.prefix().map(ToOwned::to_owned),
                tags: and.tags().iter().map(tag_from_sdk).collect(),
            }),
        }),
        status: status_from(rule.status().as_str()),
        source_selection_criteria: rule.source_selection_criteria().map(|criteria| {
            SourceSelectionCriteria {
                sse_kms_encrypted_objects: criteria
                    .sse_kms_encrypted_objects()
                    .map(|objects| setting(objects.status().as_str())),
                replica_modifications: criteria
                    .replica_modifications()
                    .map(|modifications| setting(modifications.status().as_str())),
            }
        }),
        existing_object_replication: rule
            .existing_object_replication()
            .map(|existing| setting(existing.status().as_str())),
        destination: rule
            .destination()
            .map(destination_from_sdk)
            .unwrap_or_default(),
        delete_marker_replication: rule
            .delete_marker_replication()
            .and_then(|markers| Some(setting(markers.status()?.as_str()))),
    }
}

fn tag_from_sdk(tag: &sdk::Tag) -> Tag {
    Tag {
        key: tag.key().to_owned(),
        value: tag.value().to_owned(),
    }
}

fn destination_from_sdk(destination: &sdk::Destination) -> RuleDestination {
    RuleDestination {
        bucket: destination.bucket().to_owned(),
        account: destination.account().map(ToOwned::to_owned),
        storage_class: destination
            .storage_class()
            .map(|class| class.as_str().to_owned()),
        access_control_translation: destination.access_control_translation().map(|translation| {
            AccessControlTranslation {
                owner: translation.owner().as_str().to_owned(),
            }
        }),
        encryption_configuration: destination.encryption_configuration().map(|encryption| {
            EncryptionConfiguration {
                replica_kms_key_id: encryption.replica_kms_key_id().map(ToOwned::to_owned),
            }
        }),
        replication_time: destination.replication_time().map(|time| ReplicationTime {
            status: status_from(time.status().as_str()),
            time: time.time().and_then(|value| {
                Some(Minutes {
                    minutes: value.minutes()?,
                })
            }),
        }),
        metrics: destination.metrics().map(|metrics| Metrics {
            status: status_from(metrics.status().as_str()),
            event_threshold: metrics.event_threshold().and_then(|value| {
                Some(Minutes {
                    minutes: value.minutes()?,
                })
            }),
        }),
    }
}

/// A configuration as it is sent.
///
/// # Errors
/// When an element that S3 needs is missing, which does not happen to rules that were read or composed.
pub fn configuration_to_sdk(
    configuration: &Configuration,
) -> Result<sdk::ReplicationConfiguration, BuildError> {
    let rules = configuration
        .rules
        .iter()
        .map(rule_to_sdk)
        .collect::<Result<_, _>>()?;
    sdk::ReplicationConfiguration::builder()
        .role(&configuration.role)
        .set_rules(Some(rules))
        .build()
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Enabled => "Enabled",
        Status::Disabled => "Disabled",
    }
}

fn rule_to_sdk(rule: &ReplicationRule) -> Result<sdk::ReplicationRule, BuildError> {
    #[allow(deprecated, reason = "unmanaged rules of the earlier schema have it")]
    let mut builder = sdk::ReplicationRule::builder()
        .set_id(rule.id.clone())
        .set_priority(rule.priority)
        .set_prefix(rule.prefix.clone())
        .status(word(rule.status).into())
        .destination(destination_to_sdk(&rule.destination)?);
    if let Some(filter) = &rule.filter {
        builder = builder.filter(filter_to_sdk(filter)?);
    }
    if let Some(criteria) = &rule.source_selection_criteria {
        let mut made = sdk::SourceSelectionCriteria::builder();
        if let Some(objects) = criteria.sse_kms_encrypted_objects {
            made = made.sse_kms_encrypted_objects(
                sdk::SseKmsEncryptedObjects::builder()
                    .status(word(objects.status).into())
                    .build()?,
            );
        }
        if let Some(modifications) = criteria.replica_modifications {
            made = made.replica_modifications(
                sdk::ReplicaModifications::builder()
                    .status(word(modifications.status).into())
                    .build()?,
            );
        }
        builder = builder.source_selection_criteria(made.build());
    }
    if let Some(existing) = rule.existing_object_replication {
        builder = builder.existing_object_replication(
            sdk::ExistingObjectReplication::builder()
                .status(word(existing.status).into())
                .build()?,
        );
    }
    if let Some(markers) = rule.delete_marker_replication {
        builder = builder.delete_marker_replication(
            sdk::DeleteMarkerReplication::builder()
                .status(word(markers.status).into())
                .build(),
        );
    }
    builder.build()
}

fn tag_to_sdk(tag: &Tag) -> Result<sdk::Tag, BuildError> {
    sdk::Tag::builder().key(&tag.key).value(&tag.value).build()
}

fn filter_to_sdk(filter: &Filter) -> Result<sdk::ReplicationRuleFilter, BuildError> {
    let and = match &filter.and {
        Some(and) => {
            let tags = and
                .tags
                .iter()
                .map(tag_to_sdk)
                .collect::<Result<Vec<_>, _>>()?;
            Some(
                sdk::ReplicationRuleAndOperator::builder()
                    .set_prefix(and.prefix.clone())
                    .set_tags(Some(tags))
                    .build(),
            )
        }
        None => None,
    };
    let tag = filter.tag.as_ref().map(tag_to_sdk).transpose()?;
    Ok(sdk::ReplicationRuleFilter::builder()
        .set_prefix(filter.prefix.clone())
        .set_tag(tag)
        .set_and(and)
        .build())
}

fn destination_to_sdk(destination: &RuleDestination) -> Result<sdk::Destination, BuildError> {
    let mut builder = sdk::Destination::builder()
        .bucket(&destination.bucket)
        .set_account(destination.account.clone())
        .set_storage_class(destination.storage_class.as_deref().map(Into::into));
    if let Some(translation) = &destination.access_control_translation {
        builder = builder.access_control_translation(
            sdk::AccessControlTranslation::builder()
                .owner(translation.owner.as_str().into())
                .build()?,
        );
    }
    if let Some(encryption) = &destination.encryption_configuration {
        let made = sdk::EncryptionConfiguration::builder()
            .set_replica_kms_key_id(encryption.replica_kms_key_id.clone());
        builder = builder.encryption_configuration(made.build());
    }
    let minutes = |value: Minutes| {
        sdk::ReplicationTimeValue::builder()
            .minutes(value.minutes)
            .build()
    };
    if let Some(time) = &destination.replication_time {
        builder = builder.replication_time(
            sdk::ReplicationTime::builder()
                .status(word(time.status).into())
                .set_time(time.time.map(minutes))
                .build()?,
        );
    }
    if let Some(metrics) = &destination.metrics {
        let made = sdk::Metrics::builder()
            .status(word(metrics.status).into())
            .set_event_threshold(metrics.event_threshold.map(minutes));
        builder = builder.metrics(made.build()?);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_with_every_element_comes_back_as_it_went() {
        let text = r#"{"Role":"arn:aws:iam::111111111111:role/r","Rules":[
            {"ID":"full","Priority":7,"Filter":{"And":{"Prefix":"a","Tags":[{"Key":"k","Value":"v"}]}},"Status":"Disabled",
             "SourceSelectionCriteria":{"SseKmsEncryptedObjects":{"Status":"Enabled"},"ReplicaModifications":{"Status":"Disabled"}},
             "ExistingObjectReplication":{"Status":"Enabled"},
             "Destination":{"Bucket":"arn:aws:s3:::d","Account":"222222222222","StorageClass":"GLACIER_IR","AccessControlTranslation":{"Owner":"Destination"},
               "EncryptionConfiguration":{"ReplicaKmsKeyID":"arn:aws:kms:us-west-2:222222222222:key/k"},
               "ReplicationTime":{"Status":"Enabled","Time":{"Minutes":15}},"Metrics":{"Status":"Enabled","EventThreshold":{"Minutes":15}}},
             "DeleteMarkerReplication":{"Status":"Enabled"}},
            {"ID":"tag","Priority":1,"Filter":{"Tag":{"Key":"k","Value":"v"}},"Status":"Enabled","Destination":{"Bucket":"arn:aws:s3:::e"}},
            {"ID":"old","Prefix":"Tax","Status":"Enabled","Destination":{"Bucket":"arn:aws:s3:::f"}}]}"#;
        let configuration: Configuration = serde_json::from_str(text).expect("a configuration");
        let sent = configuration_to_sdk(&configuration).expect("sendable");
        assert_eq!(configuration_from_sdk(&sent), configuration);
    }

    #[test]
    fn documents_of_iam_are_decoded() {
        let document = iam_document("%7B%22Statement%22%3A%5B%5D%7D").expect("a document");
        assert_eq!(document.compact(), r#"{"Statement":[]}"#);
    }
}
