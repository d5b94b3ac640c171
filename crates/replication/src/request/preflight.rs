//! What S3 accepts with a 200 and then does not replicate: a list of checks, made before anything is written.

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

use crate::{
    Problem,
    accounts::Account,
    arns::RoleArn,
    assess::{Resolved, failed},
    evaluation::{Cause, Denial, Truth},
    names::{InstallationId, OwnedBucket, RoleName},
    observed::{Facet, Observed, Traits},
    policy::Document,
    remedy::PolicyOf,
    request::s3_requests::{On, RoleFacts, S3Request, s3_requests},
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// What makes replication fail.
    pub problems: Vec<Problem>,
    /// What may make it fail, or is probably not intended: reported with the conditions, which stay True.
    pub notes: Vec<(ConditionType, String)>,
}

/// What the checks are made on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    resolved: &'a Resolved,
    observed: &'a Observed,
    account: &'a Account,
    role: &'a RoleArn,
    requests: Vec<S3Request<'a>>,
}

impl<'a> Facts<'a> {
    /// What an object asks for and what exists in AWS; the account of the source bucket, and the role that S3 will assume.
    #[must_use]
    pub fn new(
        resolved: &'a Resolved,
        observed: &'a Observed,
        installation: &InstallationId,
        account: &'a Account,
        role: &'a RoleArn,
    ) -> Self {
        let own = role.name == RoleName::of(installation, &resolved.valid.source);
        let existing = observed.role.present().filter(|found| found.arn == *role);
        let known = RoleFacts {
            arn: role,
            id: existing.map(|role| role.id.as_str()),
            bounded: own.then(|| account.roles.boundary.is_some()),
        };
        Self {
            resolved,
            observed,
            account,
            role,
            requests: s3_requests(resolved, known),
        }
    }
}

/// A check adds what it finds.
type Check = fn(&Facts<'_>, &mut Preflight);

/// "Troubleshooting replication" in the S3 User Guide says that objects with tags are not replicated without these, "Setting up permissions for live
/// replication" that they are, without their tags.
const MAY_BE_DENIED: [&str; 2] = ["s3:ReplicateTags", "s3:GetObjectVersionTagging"];
const WITHOUT_TAGS: &str = "objects with tags are replicated without them, or not at all";

/// All checks, in the order in which their findings are reported.
const CHECKS: [Check; 9] = [
    traits_are_known,
    requester_pays,
    owner_of_replicas,
    object_lock,
    replica_modifications,
    source_policy,
    destination_policy,
    key_policies,
    boundary,
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

/// What can't be read can't be checked.
fn traits_are_known(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    for (condition, bucket) in [
        (ConditionType::SourceReady, &valid.source),
        (ConditionType::DestinationReady, &valid.destination),
    ] {
        let traits = facts.traits_of(bucket);
        let failure = traits.failure().map(|failure| failed(condition, failure));
        found.problems.extend(failure);
    }
}

/// "Requirements and considerations for replication" in the S3 User Guide.
fn requester_pays(facts: &Facts<'_>, found: &mut Preflight) {
    let destination = &facts.resolved.valid.destination;
    if facts.traits_of(destination).requester_pays != Facet::Present(true) {
        return;
    }
    let (name, owner) = (&destination.name, &destination.account);
    let command = format!(
        "aws s3api put-bucket-request-payment --bucket {name} --request-payment-configuration Payer=BucketOwner"
    );
    let message = format!(
        "destination bucket {name} is a Requester Pays bucket, and S3 does not replicate to these across accounts: have the owner of account {owner} run {command}"
    );
    let action = RequiredAction {
        document: format!("request payment of bucket {name}"),
        account_id: owner.to_string(),
        statement: r#"{"Payer": "BucketOwner"}"#.to_owned(),
        command,
    };
    found.problems.push(Problem {
        action: Some(Box::new(action)),
        ..Problem::new(
            ConditionType::DestinationReady,
            Reason::RequesterPays,
            message,
        )
    });
}

/// "Controlling ownership of objects" in the S3 User Guide.
fn owner_of_replicas(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let (name, owner) = (&valid.destination.name, &valid.destination.account);
    let enforced = facts.traits_of(&valid.destination).owner_enforced == Facet::Present(true);
    if valid.keeps_owner && enforced && valid.source.account != *owner {
        let message = format!(
            "spec.destination.owner is Source, but bucket {name} enforces that account {owner} owns every object in it: set owner to Destination, or omit owner"
        );
        found.problems.push(Problem::new(
            ConditionType::DestinationReady,
            Reason::OwnerNotPossible,
            message,
        ));
    }
}

/// "Object Lock considerations" in the S3 User Guide.
fn object_lock(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let is_locked = |bucket| facts.traits_of(bucket).object_lock == Facet::Present(true);
    if !is_locked(&valid.source) || is_locked(&valid.destination) {
        return;
    }
    let (name, owner) = (&valid.destination.name, &valid.destination.account);
    let command = format!(
        "aws s3api put-object-lock-configuration --bucket {name} --object-lock-configuration ObjectLockEnabled=Enabled"
    );
    let message = format!(
        "Object Lock is enabled on source bucket {}, but not on bucket {name}: have the owner of account {owner} run {command}",
        valid.source.name
    );
    let action = RequiredAction {
        document: format!("Object Lock of bucket {name}"),
        account_id: owner.to_string(),
        statement: r#"{"ObjectLockEnabled": "Enabled"}"#.to_owned(),
        command,
    };
    found.problems.push(Problem {
        action: Some(Box::new(action)),
        ..Problem::new(
            ConditionType::DestinationReady,
            Reason::ObjectLockMissing,
            message,
        )
    });
}

/// "Replicating metadata changes with replica modification sync" in the S3 User Guide.
fn replica_modifications(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let syncs_back = facts.traits_of(&valid.destination).syncs_back;
    if valid.sync_replica_modifications && syncs_back == Facet::Present(false) {
        let note = format!(
            "changes to replicas are not replicated back, because bucket {} has no rule to the source bucket with replicaModifications: Sync",
            valid.destination.name
        );
        found
            .notes
            .push((ConditionType::ReplicationConfigured, note));
    }
}

/// A statement of the source's policy that denies reading.
fn source_policy(facts: &Facts<'_>, found: &mut Preflight) {
    let source = &facts.resolved.valid.source;
    let policy = facts.traits_of(source).policy;
    facts.denials(On::Source, PolicyOf::Bucket(source), &policy, found);
}

/// A statement of the destination's policy that denies writing.
fn destination_policy(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let destination = &valid.destination;
    let across = facts.observed.buckets.get(destination);
    let policy = if valid.source.account == destination.account {
        facts.traits_of(destination).policy
    } else {
        across.map(|read| read.policy.clone()).unwrap_or_default()
    };
    facts.denials(
        On::Destination,
        PolicyOf::Bucket(destination),
        &policy,
        found,
    );
}

/// Statements of key policies that deny decrypting or encrypting.
fn key_policies(facts: &Facts<'_>, found: &mut Preflight) {
    let Some(keys) = &facts.resolved.keys else {
        return;
    };
    let others = keys.source.iter().filter(|key| **key != keys.replica);
    for key in others.chain([&keys.replica]) {
        let policy = facts.observed.key_policies.get(key).cloned();
        let policy = policy.unwrap_or_default();
        facts.denials(On::Key(key), PolicyOf::Key(key), &policy, found);
    }
}

/// "Permissions boundaries for IAM entities" in the IAM User Guide.
fn boundary(facts: &Facts<'_>, found: &mut Preflight) {
    let account = facts.account;
    let Some(arn) = &account.roles.boundary else {
        return;
    };
    let narrow = |message: String| {
        Problem::new(ConditionType::RoleReady, Reason::BoundaryTooNarrow, message)
    };
    let whom = account.whom_to_ask();
    match &facts.observed.boundary {
        Facet::Unread => {}
        Facet::Failed(failure) => {
            found
                .problems
                .push(failed(ConditionType::RoleReady, failure));
        }
        Facet::Absent => found.problems.push(narrow(format!(
            "permissions boundary {arn} does not exist: {whom} to create it or to correct roles.permissionsBoundaryARN"
        ))),
        Facet::Present(document) => {
            let (missing, unknown) = facts.missing_in(document);
            if let Some(first) = missing.first() {
                let more = match missing.len() {
                    1 => String::new(),
                    several => format!(" and {} more", several - 1),
                };
                found.problems.push(narrow(format!(
                    "permissions boundary {arn} does not allow {first}{more}, which the role needs: {whom} to add the missing actions"
                )));
            } else if let Some((first, cause)) = unknown.first() {
                let note = format!(
                    "permissions boundary {arn} may not allow {first}, which the role needs: {cause}"
                );
                found.notes.push((ConditionType::RoleReady, note));
            }
        }
    }
}

impl Facts<'_> {
    fn traits_of(&self, bucket: &OwnedBucket) -> Traits {
        let read = self.observed.buckets.get(bucket);
        read.map(|read| read.traits.clone()).unwrap_or_default()
    }

    /// What the role needs and `document` certainly does not allow, and what it may not allow, with the cause.
    fn missing_in(&self, document: &Document) -> (Vec<String>, Vec<(String, Cause)>) {
        let (mut missing, mut unknown) = (vec![], vec![]);
        for asked in &self.requests {
            let needed = format!("{} on {}", asked.action, asked.resource);
            match document.permits(&asked.request()) {
                Truth::Yes => {}
                Truth::No => missing.push(needed),
                Truth::Unknown(cause) => unknown.push((needed, cause)),
            }
        }
        (missing, unknown)
    }

    /// Adds the first denial of a policy that is certain, or else the first that is possible.
    fn denials(
        &self,
        on: On<'_>,
        of: PolicyOf<'_>,
        policy: &Facet<Document>,
        found: &mut Preflight,
    ) {
        let Some(policy) = policy.present() else {
            return;
        };
        let (condition, reason) = match on {
            On::Source => (ConditionType::SourceReady, Reason::DeniedByBucketPolicy),
            On::Destination => (
                ConditionType::DestinationReady,
                Reason::DeniedByBucketPolicy,
            ),
            On::Key(_) => (ConditionType::KeysReady, Reason::DeniedByKeyPolicy),
        };
        let role = self.role;
        let mut possible = None;
        for asked in self.requests.iter().filter(|asked| asked.on == on) {
            match policy.denies(&asked.request()) {
                Denial::No => {}
                Denial::Perhaps(statement, cause) => {
                    possible.get_or_insert((statement, cause.to_string(), asked.action));
                }
                Denial::Yes(statement) if MAY_BE_DENIED.contains(&asked.action) => {
                    possible.get_or_insert((statement, String::from(WITHOUT_TAGS), asked.action));
                }
                Denial::Yes(statement) => {
                    let message = format!(
                        "statement {statement} of the {of} denies {}, which {role} needs: have the owner of account {} exempt the role, as status.requiredActions shows",
                        asked.action,
                        of.account()
                    );
                    found.problems.push(Problem {
                        action: Some(Box::new(of.except(&statement, role))),
                        ..Problem::new(condition, reason, message)
                    });
                    return;
                }
            }
        }
        if let Some((statement, cause, action)) = possible {
            let note = format!(
                "statement {statement} of the {of} may deny {action}, which {role} needs: {cause}"
            );
            found.notes.push((condition, note));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::AwsAccount;
    use serde_json::json;

    use super::*;
    use crate::{
        Object, accounts::Accounts, assess::ResolvedKeys, keys::KeyArn, observed::Bucket,
        validate::validate,
    };

    const ROLE: &str = "arn:aws:iam::111111111111:role/brepl-test-source-d74c4c7f";
    const BOUNDARY: &str = "arn:aws:iam::111111111111:policy/boundary";

    /// An object across two accounts, for which everything is right.
    struct Ground {
        accounts: Accounts,
        resolved: Resolved,
        observed: Observed,
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
                    self.accounts.by_name("prod").expect("an account"),
                    &ROLE.parse().expect("a role"),
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
            ground.observed.boundary = document;
            assert_eq!(ground.find(boundary), expected);
        }
    }
}
