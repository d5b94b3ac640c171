//! What S3 accepts with a 200 and then does not replicate: a list of checks, made before anything is written.

use crate::request::{
    bucket_checks::{
        chain, customer_keys, object_lock, owner_of_replicas, replica_modifications,
        requester_pays, traits_are_known,
    },
    facts::Check,
    foreign_role::foreign_role,
    policy_checks::{boundary, destination_policy, key_policies, source_policy},
};

pub use crate::request::facts::{Facts, Preflight};

/// All checks, in the order in which their findings are reported.
const CHECKS: [Check; 12] = [
    traits_are_known,
    requester_pays,
    owner_of_replicas,
    customer_keys,
    object_lock,
    replica_modifications,
    chain,
    source_policy,
    destination_policy,
    key_policies,
    boundary,
    foreign_role,
];

/// Checks what an object depends on.
#[must_use]
pub fn preflight(facts: &Facts<'_>) -> Preflight {
    let mut found = Preflight::default();
    for check in CHECKS {
        check(facts, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::{AwsAccount, condition::Reason};
    use serde_json::json;

    use super::*;
    use crate::{
        Object,
        accounts::Accounts,
        assess::{Resolved, ResolvedKeys},
        keys::KeyArn,
        names::BucketName,
        observed::{Bucket, Facet, ManagedRead, Observed, Traits},
        policy::Document,
        validate::validate,
    };

    const ROLE: &str = "arn:aws:iam::111111111111:role/brepl-test-source-d74c4c7f";
    const BOUNDARY: &str = "arn:aws:iam::111111111111:policy/boundary";

    /// An object across two accounts, for which everything is right.
    struct Ground {
        accounts: Accounts,
        resolved: Resolved,
        observed: Observed,
        upstream: BTreeSet<BucketName>,
    }

    fn key(id: &str, account: &str, region: &str) -> KeyArn {
        let arn = format!("arn:aws:kms:{region}:{account}:key/{id}");
        arn.parse().expect("a key")
    }

    fn ground() -> Ground {
        let account = |name: &str, id: &str, roles: serde_json::Value| -> AwsAccount {
            serde_json::from_value(json!({
                "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name},
                "spec": {"accountID": id, "roles": roles, "grants": [{
                    "namespaces": {"matchLabels": {"team": "finance"}}, "kmsKeys": ["*"],
                    "sources": [{"bucket": "*", "destinationAccountNames": ["dr"]}], "destinations": [{"bucket": "*"}],
                }]},
            }))
            .expect("an account")
        };
        let accounts = Accounts::new([
            &account(
                "prod",
                "111111111111",
                json!({"permissionsBoundaryARN": BOUNDARY}),
            ),
            &account("dr", "222222222222", json!({})),
        ]);
        let (source, replica) = (
            key("src", "111111111111", "us-east-1"),
            key("dst", "222222222222", "us-west-2"),
        );
        let object = serde_json::from_value(json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
            "metadata": {"name": "tax", "namespace": "finance"},
            "spec": {
                "source": {"accountName": "prod", "bucket": "source", "kmsKeys": [source.to_string()]},
                "destination": {"accountName": "dr", "bucket": "dest", "kmsKey": replica.to_string(), "owner": "Source"},
                "replicaModifications": "Sync",
                "rules": [{"name": "a", "prefix": "Tax"}],
            },
        }));
        let labels = [("team".to_owned(), "finance".to_owned())].into();
        let object = Object::of(&object.expect("an object"), labels);
        let valid = validate(&object, &accounts).expect("it is valid");
        let mut observed = Observed::default();
        for bucket in [&valid.source, &valid.destination] {
            observed.buckets.insert(bucket.clone(), Bucket::default());
        }
        let resolved = Resolved {
            valid,
            source_region: "us-east-1".parse().expect("a Region"),
            destination_region: "us-west-2".parse().ok(),
            keys: Some(ResolvedKeys {
                source: BTreeSet::from([source]),
                replica,
            }),
            object_lock: false,
            notes: vec![],
        };
        Ground {
            accounts,
            resolved,
            observed,
            upstream: BTreeSet::new(),
        }
    }

    impl Ground {
        fn source(&mut self) -> &mut Traits {
            let bucket = self.resolved.valid.source.clone();
            &mut self.observed.buckets.entry(bucket).or_default().traits
        }

        fn destination(&mut self) -> &mut Bucket {
            let bucket = self.resolved.valid.destination.clone();
            self.observed.buckets.entry(bucket).or_default()
        }

        /// The reasons of the problems that `check` finds, and whether each has an action; then the number of notes.
        fn find(&self, check: Check) -> (Vec<(Reason, bool)>, usize) {
            let installation = "test".parse().expect("an id");
            let mut found = Preflight::default();
            check(
                &Facts::new(
                    &self.resolved,
                    &self.observed,
                    &installation,
                    &self.accounts,
                    self.accounts.by_name("prod").expect("an account"),
                    &ROLE.parse().expect("a role"),
                    &self.upstream,
                ),
                &mut found,
            );
            let problems = found.problems.iter();
            let problems = problems.map(|problem| (problem.reason, problem.action.is_some()));
            (problems.collect(), found.notes.len())
        }
    }

    fn deny(action: &str, condition: &str) -> Facet<Document> {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"No","Effect":"Deny","Principal":"*","Action":"{action}","Resource":"*"{condition}}}]}}"#
        );
        Facet::Present(Document::parse(&text).expect("a document"))
    }

    const UNKNOWN: &str = r#","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#;

    #[test]
    fn nothing_is_found_where_all_is_right() {
        for check in CHECKS {
            assert_eq!(ground().find(check), (vec![], 0));
        }
    }

    #[test]
    fn replicas_that_the_destination_may_not_be_able_to_read() {
        let mut ground = ground();
        ground.resolved.valid.keeps_owner = false;
        for (enforced, notes) in [
            (Facet::Absent, 1),
            (Facet::Present(false), 1),
            (Facet::Present(true), 0),
        ] {
            ground.destination().traits.owner_enforced = enforced;
            assert_eq!(ground.find(owner_of_replicas), (vec![], notes));
        }
        ground.destination().traits.owner_enforced = Facet::Absent;
        ground.resolved.valid.owner_override = true;
        assert_eq!(ground.find(owner_of_replicas), (vec![], 0));
    }

    #[test]
    fn objects_with_keys_of_customers_are_blocked() {
        let mut ground = ground();
        for (source, destination, notes) in [(false, true, 1), (true, true, 0), (false, false, 0)] {
            ground.source().blocks_sse_c = Facet::Present(source);
            ground.destination().traits.blocks_sse_c = Facet::Present(destination);
            assert_eq!(ground.find(customer_keys), (vec![], notes));
        }
    }

    #[test]
    fn replicas_are_not_replicated_on() {
        let mut ground = ground();
        ground.upstream.insert("first".parse().expect("a bucket"));
        assert_eq!(ground.find(chain), (vec![], 1));
        let both_ways = ground.resolved.valid.destination.name.clone();
        ground.upstream = BTreeSet::from([both_ways]);
        assert_eq!(ground.find(chain), (vec![], 0));
    }

    #[test]
    fn an_organization_that_an_account_names_decides() {
        let organization = |id: &str| {
            let mut ground = ground();
            let account = |name: &str, number: &str| -> AwsAccount {
                serde_json::from_value(json!({
                    "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name},
                    "spec": {"accountID": number, "organizationID": id},
                }))
                .expect("an account")
            };
            ground.accounts = Accounts::new([
                &account("prod", "111111111111"),
                &account("dr", "222222222222"),
            ]);
            ground.source().policy = deny("s3:*", UNKNOWN);
            ground.find(source_policy)
        };
        let denied = (vec![(Reason::DeniedByBucketPolicy, true)], 0);
        assert_eq!(organization("o-1"), denied);
        assert_eq!(organization("o-2"), (vec![], 0));
        assert_eq!(organization("None"), (vec![], 0));
    }

    #[test]
    fn traits_that_can_t_be_read() {
        let mut ground = ground();
        ground.source().object_lock = Facet::Failed(crate::observed::Failure {
            kind: crate::observed::FailureKind::Denied,
            action: "s3:GetBucketObjectLockConfiguration".into(),
            message: "denied".into(),
        });
        let found = ground.find(traits_are_known);
        assert_eq!(found, (vec![(Reason::AccessDenied, false)], 0));
    }

    #[test]
    fn requester_pays_is_found() {
        let mut ground = ground();
        ground.destination().traits.requester_pays = Facet::Present(true);
        let found = ground.find(requester_pays);
        assert_eq!(found, (vec![(Reason::RequesterPays, true)], 0));
    }

    #[test]
    fn an_owner_that_the_bucket_does_not_allow() {
        let mut ground = ground();
        ground.destination().traits.owner_enforced = Facet::Present(true);
        let found = ground.find(owner_of_replicas);
        assert_eq!(found, (vec![(Reason::OwnerNotPossible, false)], 0));
        ground.resolved.valid.keeps_owner = false;
        assert_eq!(ground.find(owner_of_replicas), (vec![], 0));
    }

    #[test]
    fn object_lock_on_the_source_alone() {
        let mut ground = ground();
        ground.source().object_lock = Facet::Present(true);
        let found = ground.find(object_lock);
        assert_eq!(found, (vec![(Reason::ObjectLockMissing, true)], 0));
        ground.destination().traits.object_lock = Facet::Present(true);
        assert_eq!(ground.find(object_lock), (vec![], 0));
    }

    #[test]
    fn modifications_that_nothing_replicates_back() {
        let mut ground = ground();
        ground.destination().traits.syncs_back = Facet::Present(false);
        assert_eq!(ground.find(replica_modifications), (vec![], 1));
        ground.resolved.valid.sync_replica_modifications = false;
        assert_eq!(ground.find(replica_modifications), (vec![], 0));
    }

    #[test]
    fn a_source_policy_that_denies_reading() {
        let mut ground = ground();
        ground.source().policy = deny("s3:GetObjectVersionForReplication", "");
        let found = ground.find(source_policy);
        assert_eq!(found, (vec![(Reason::DeniedByBucketPolicy, true)], 0));
        ground.source().policy = deny("s3:GetObjectVersionForReplication", UNKNOWN);
        assert_eq!(ground.find(source_policy), (vec![], 1));
        ground.source().policy = deny("s3:DeleteBucket", "");
        assert_eq!(ground.find(source_policy), (vec![], 0));
    }

    #[test]
    fn a_destination_policy_that_denies_writing() {
        let mut ground = ground();
        ground.destination().policy = deny("s3:ReplicateObject", "");
        let found = ground.find(destination_policy);
        assert_eq!(found, (vec![(Reason::DeniedByBucketPolicy, true)], 0));
        ground.destination().policy = deny("s3:ReplicateObject", UNKNOWN);
        assert_eq!(ground.find(destination_policy), (vec![], 1));
    }

    #[test]
    fn a_key_policy_that_denies_its_use() {
        let keys = ground().resolved.keys.expect("keys");
        for (key, action) in [
            (keys.source.first().expect("a key"), "kms:Decrypt"),
            (&keys.replica, "kms:Encrypt"),
        ] {
            let mut ground = ground();
            let policies = &mut ground.observed.key_policies;
            policies.insert(key.clone(), deny(action, ""));
            let found = ground.find(key_policies);
            assert_eq!(
                found,
                (vec![(Reason::DeniedByKeyPolicy, true)], 0),
                "{action}"
            );
        }
    }

    /// What a statement in the policy of the destination or the source makes of the object.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Outcome {
        Denied,
        Noted,
        Nothing,
    }

    fn outcome(source: bool, statement: &serde_json::Value) -> Outcome {
        let text = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let policy = Facet::Present(Document::parse(&text).expect("a document"));
        let mut ground = ground();
        let (problems, notes) = if source {
            ground.source().policy = policy;
            ground.find(source_policy)
        } else {
            ground.destination().policy = policy;
            ground.find(destination_policy)
        };
        match (problems.as_slice(), notes) {
            ([(Reason::DeniedByBucketPolicy, true)], 0) => Outcome::Denied,
            ([], 1) => Outcome::Noted,
            other => {
                assert_eq!(other, (&[] as &[_], 0), "{statement}");
                Outcome::Nothing
            }
        }
    }

    #[test]
    fn public_cases_of_statements_that_deny() {
        use Outcome::{Denied, Noted, Nothing};
        let root = "arn:aws:iam::111111111111:root";
        let session =
            "arn:aws:sts::111111111111:assumed-role/brepl-test-source-d74c4c7f/s3-replication";
        let objects = "arn:aws:s3:::dest/*";
        let not_principal = |names: &[&str]| json!({"Effect": "Deny", "NotPrincipal": {"AWS": names}, "Action": "s3:*", "Resource": objects});
        let not_action = |actions: &[&str]| json!({"Effect": "Deny", "Principal": "*", "NotAction": actions, "Resource": objects});
        let only_if = |condition: serde_json::Value| json!({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": objects, "Condition": condition});
        for (statement, expected) in [
            // japan-d2/secure-stack-template-aws#34 and "NotPrincipal" in the IAM User Guide; the role has a permissions boundary here.
            (
                not_principal(&["arn:aws:iam::111111111111:role/break-glass", root]),
                Denied,
            ),
            (not_principal(&[ROLE, session, root]), Denied),
            // red-hat-storage/ocs-ci#14333.
            (
                not_action(&["s3:GetObject*", "s3:Replicate*", "s3:ObjectOwner*"]),
                Nothing,
            ),
            (not_action(&["s3:GetObject*", "s3:PutObject*"]), Denied),
            (
                not_action(&["s3:ReplicateObject", "s3:ReplicateDelete"]),
                Noted,
            ),
            // An AWS blog on cross-account access.
            (
                only_if(
                    json!({"StringNotEquals": {"aws:ResourceAccount": "${aws:ResourceAccount}"}}),
                ),
                Nothing,
            ),
            (
                only_if(
                    json!({"StringNotEquals": {"aws:PrincipalAccount": "${aws:ResourceAccount}"}}),
                ),
                Denied,
            ),
            (
                only_if(
                    json!({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111111111111:role/brepl-*"}}),
                ),
                Nothing,
            ),
            // ministryofjustice/opg-digideps#2920, terraform-provider-aws#18031, aws-cdk#27279.
            (
                only_if(json!({"StringNotEquals": {"aws:SourceVpce": "vpce-0abc"}})),
                Denied,
            ),
            (
                only_if(json!({"Null": {"aws:MultiFactorAuthAge": "true"}})),
                Denied,
            ),
            (
                only_if(json!({"Bool": {"aws:PrincipalIsAWSService": "false"}})),
                Denied,
            ),
            (
                only_if(json!({"StringNotLike": {"aws:userId": ["AROAADMINS:*", "111111111111"]}})),
                Denied,
            ),
            (
                only_if(json!({"NumericLessThan": {"s3:TlsVersion": "1.2"}})),
                Nothing,
            ),
            (
                only_if(json!({"Bool": {"aws:SecureTransport": "false"}})),
                Nothing,
            ),
            (
                only_if(json!({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}})),
                Denied,
            ),
            (
                only_if(json!({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}})),
                Denied,
            ),
            (
                only_if(json!({"NotIpAddress": {"aws:SourceIp": "0.0.0.0/0"}})),
                Noted,
            ),
            (
                only_if(json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-example"}})),
                Noted,
            ),
        ] {
            assert_eq!(outcome(false, &statement), expected, "{statement}");
        }
        for action in ["s3:GetReplicationConfiguration", "s3:ListBucket*"] {
            let statement = json!({"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": action, "Resource": "arn:aws:s3:::source",
                "Condition": {"StringNotLike": {"aws:PrincipalArn": ["arn:aws:iam::111111111111:role/admin"]}}});
            assert_eq!(outcome(true, &statement), Denied, "{statement}");
        }
    }

    #[test]
    fn a_boundary_that_is_missing_or_too_narrow() {
        let allow = |action: &str| {
            let text = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
            );
            Facet::Present(Document::parse(&text).expect("a document"))
        };
        let document = |statement: &str| {
            let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
            Facet::Present(Document::parse(&text).expect("a document"))
        };
        let narrow = (vec![(Reason::BoundaryTooNarrow, false)], 0);
        for (document, expected) in [
            (Facet::Absent, narrow.clone()),
            (allow("s3:*"), narrow),
            (allow("*"), (vec![], 0)),
            // PowerUserAccess, which is denied only what is certain: NotAction, and a condition that is not known.
            (
                document(
                    r#"{"Effect":"Allow","NotAction":["iam:*","organizations:*"],"Resource":"*"}"#,
                ),
                (vec![], 0),
            ),
            (
                document(
                    r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceOrgID":"o-1"}}}"#,
                ),
                (vec![], 1),
            ),
            (
                document(r#"{"Effect":"Allow","NotAction":"s3:ListBucket","Resource":"*"}"#),
                (vec![(Reason::BoundaryTooNarrow, false)], 0),
            ),
        ] {
            let mut ground = ground();
            let read = ManagedRead {
                version: Facet::Present("v1".to_owned()),
                document,
            };
            ground
                .observed
                .managed
                .insert(BOUNDARY.parse().expect("a policy"), read);
            assert_eq!(ground.find(boundary), expected);
        }
    }
}
