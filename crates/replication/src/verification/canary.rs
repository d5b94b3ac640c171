//! Canaries: small objects of the operator in the source bucket, of which S3 has to make replicas.

use api::verification::CanaryStatus;

use crate::{
    configuration::{ReplicationRule, Status, Tag},
    keys::KeyArn,
    names::{InstallationId, ObjectKey, OwnedBucket, Region},
    validate::ValidRule,
};

/// The folder of all canaries, below the prefix of a rule. The operator's own policy allows it to write objects there, and nowhere else.
pub const FOLDER: &str = ".bucketops-canary/";

/// The most bytes of an object key ("Naming Amazon S3 objects" in the S3 User Guide).
pub(super) const LONGEST_KEY: usize = 1024;

/// A canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The name of its rule.
    pub rule: String,
    /// Its object key, always the same for an object, a rule and a KMS key, so that what an interrupted process left is found.
    pub key: String,
    /// The tags that the rule selects.
    pub tags: Vec<Tag>,
    /// The KMS key that encrypts it; `None`: S3's own.
    pub kms_key: Option<KeyArn>,
}

impl Canary {
    /// The canaries of an object: one for each rule, and at least one for each source key.
    pub(super) fn all(
        installation: &InstallationId,
        object: &ObjectKey,
        rules: &[&ValidRule],
        keys: &[KeyArn],
    ) -> Vec<Self> {
        let number = if rules.is_empty() {
            0
        } else {
            rules.len().max(keys.len())
        };
        let rules = rules.iter().cycle();
        let keyed = keys.iter().map(Some).cycle();
        let without = std::iter::repeat(None);
        let keyed: Box<dyn Iterator<Item = Option<&KeyArn>>> = if keys.is_empty() {
            Box::new(without)
        } else {
            Box::new(keyed)
        };
        let numbered = rules.zip(keyed).take(number).enumerate();
        numbered
            .map(|(number, (rule, key))| Self {
                rule: rule.name.clone(),
                key: format!(
                    "{}{FOLDER}{installation}/{object}/{}-{number}",
                    rule.prefix, rule.name
                ),
                tags: rule.tags.clone(),
                kms_key: key.cloned(),
            })
            .collect()
    }

    /// Whether a key is that of a canary of an object.
    #[must_use]
    pub fn is_key_of(key: &str, installation: &InstallationId, object: &ObjectKey) -> bool {
        key.contains(&format!("{FOLDER}{installation}/{object}/"))
    }

    /// Whether a rule selects it ("Replication configuration file elements" in the S3 User Guide).
    pub(super) fn is_selected_by(&self, rule: &ReplicationRule) -> bool {
        let mut tags = rule.filter.iter().flat_map(|filter| filter.tags());
        rule.status == Status::Enabled
            && self.key.starts_with(rule.selected_prefix())
            && tags.all(|tag| self.tags.contains(tag))
    }

    /// The entry of the status that says where it may exist.
    pub(super) fn recorded(
        &self,
        source_region: &Region,
        destination: &OwnedBucket,
        destination_region: &Region,
    ) -> CanaryStatus {
        CanaryStatus {
            rule: self.rule.clone(),
            key_name: self.key.clone(),
            source_region: source_region.to_string(),
            destination_bucket: destination.name.to_string(),
            destination_account_id: destination.account.to_string(),
            destination_region: destination_region.to_string(),
        }
    }
}

/// Where a canary is, as `ListObjectVersions` and `HeadObject` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is in the destination bucket.
    Replica {
        /// How the replica is encrypted.
        encryption: ReplicaEncryption,
        /// Whether the owner of the source object owns the replica.
        kept_owner: bool,
    },
    /// It is not there.
    Source(SourceStatus),
}

/// How a replica is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaEncryption {
    /// With a KMS key, by its ARN.
    Kms(String),
    /// Without.
    WithoutKms,
    /// The source's account owns the replica, and the destination's can't read it.
    Unreadable,
}

/// What S3 says of the source object ("Getting replication status information" in the S3 User Guide).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// Replication is pending.
    Pending,
    /// S3 says that it is done, and the replica is not visible yet, or was removed.
    Completed,
    /// Replication failed, and S3 does not retry it.
    Failed,
    /// No rule selected the object.
    NotSelected,
    /// Someone removed it.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Filter, RuleDestination};

    fn rule(name: &str, prefix: &str) -> ValidRule {
        ValidRule {
            name: name.to_owned(),
            prefix: prefix.parse().expect("a prefix"),
            tags: vec![],
            delete_markers: false,
            priority: None,
            enabled: true,
        }
    }

    fn all(rules: &[ValidRule], keys: usize) -> Vec<Canary> {
        let object = ObjectKey {
            namespace: "finance".into(),
            name: "tax".into(),
        };
        let key = |n| format!("arn:aws:kms:us-east-1:111111111111:key/k{n}");
        let keys: Vec<_> = (0..keys).map(|n| key(n).parse().expect("a key")).collect();
        let rules: Vec<_> = rules.iter().collect();
        Canary::all(&"test".parse().expect("an id"), &object, &rules, &keys)
    }

    #[test]
    fn each_rule_and_each_key_has_a_canary_of_its_own() {
        let rules = [rule("a", "A/"), rule("b", "")];
        let keys = |number| -> Vec<String> {
            let canaries = all(&rules, number);
            canaries.into_iter().map(|canary| canary.key).collect()
        };
        let folder = ".bucketops-canary/test/finance/tax";
        assert_eq!(
            keys(0),
            [format!("A/{folder}/a-0"), format!("{folder}/b-1")]
        );
        assert_eq!(keys(3)[2], format!("A/{folder}/a-2"));
        let used: Vec<_> = all(&rules, 3)
            .into_iter()
            .filter_map(|canary| canary.kms_key)
            .collect();
        assert_eq!(used.len(), 3);
        assert_eq!(all(&rules, 1)[1].kms_key, all(&rules, 1)[0].kms_key);
        assert_eq!(all(&[], 3), []);
    }

    #[test]
    fn a_rule_selects_a_canary_by_prefix_and_all_of_its_tags() {
        let tag = |key: &str| Tag {
            key: key.to_owned(),
            value: "v".to_owned(),
        };
        let mut canary = all(&[rule("a", "A/")], 0).remove(0);
        canary.tags = vec![tag("one"), tag("two")];
        let selects = |prefix: &str, tags: Vec<Tag>, status| {
            let rule = ReplicationRule {
                id: None,
                priority: Some(1),
                prefix: None,
                filter: Some(Filter::new(prefix, tags)),
                status,
                source_selection_criteria: None,
                existing_object_replication: None,
                delete_marker_replication: None,
                destination: RuleDestination::default(),
            };
            canary.is_selected_by(&rule)
        };
        assert!(selects("", vec![], Status::Enabled));
        assert!(selects("A", vec![tag("two")], Status::Enabled));
        assert!(!selects("A", vec![tag("three")], Status::Enabled));
        assert!(!selects("B", vec![], Status::Enabled));
        assert!(!selects("", vec![], Status::Disabled));
    }
}
