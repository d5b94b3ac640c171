//! What S3 accepts with a 200 and then does not replicate: a list of checks, made before anything is written.

use std::collections::BTreeMap;

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

use crate::{
    Problem,
    accounts::Account,
    assess::{Resolved, failed},
    evaluation::{Denial, DenyingStatement, Request},
    keys::KeyArn,
    names::{InstallationId, OwnedBucket, Region, account_root, via_service},
    observed::{Facet, Observed, Traits},
    policy::Document,
    remedy::PolicyOf,
    request::statements,
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
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the object asks for.
    pub resolved: &'a Resolved,
    /// What exists in AWS.
    pub observed: &'a Observed,
    /// This installation.
    pub installation: &'a InstallationId,
    /// The account of the source bucket.
    pub account: &'a Account,
    /// The ARN of the role that S3 will assume.
    pub role: &'a str,
}

/// A check adds what it finds.
type Check = fn(&Facts<'_>, &mut Preflight);

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
    let actions = statements::actions_on_source_objects(facts.resolved.object_lock);
    let policy = facts.traits_of(source).policy;
    facts.bucket_denials(ConditionType::SourceReady, source, &policy, &actions, found);
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
    facts.bucket_denials(
        ConditionType::DestinationReady,
        destination,
        &policy,
        &statements::actions_on_replicas(valid),
        found,
    );
}

/// Statements of key policies that deny decrypting or encrypting.
fn key_policies(facts: &Facts<'_>, found: &mut Preflight) {
    let Some(keys) = &facts.resolved.keys else {
        return;
    };
    let region = &facts.resolved.source_region;
    for key in &keys.source {
        facts.key_denial(key, statements::SOURCE_KEY_ACTIONS, region, found);
    }
    let actions = statements::REPLICA_KEY_ACTIONS;
    facts.key_denial(&keys.replica, actions, &keys.replica.region, found);
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
            let missing = facts.missing_in(document);
            let Some(first) = missing.first() else { return };
            let more = match missing.len() {
                1 => String::new(),
                several => format!(" and {} more", several - 1),
            };
            found.problems.push(narrow(format!(
                "permissions boundary {arn} does not allow {first}{more}, which the role needs: {whom} to add the missing actions"
            )));
        }
    }
}

impl Facts<'_> {
    fn traits_of(&self, bucket: &OwnedBucket) -> Traits {
        let read = self.observed.buckets.get(bucket);
        read.map(|read| read.traits.clone()).unwrap_or_default()
    }

    /// What is known about every request of the role: S3 itself calls over TLS.
    fn request<'r>(
        &self,
        actions: &'r [&'r str],
        resource: String,
        via: Option<&Region>,
    ) -> Request<'r> {
        let (account, id) = (self.account, self.account.id.to_string());
        let mut context: BTreeMap<_, _> = [
            ("aws:securetransport", "true".to_owned()),
            ("aws:principalarn", self.role.to_owned()),
            ("aws:principalaccount", id.clone()),
            ("aws:principaltype", "AssumedRole".to_owned()),
        ]
        .into();
        if let Some(region) = via {
            context.insert("kms:viaservice", via_service(region));
            context.insert("kms:calleraccount", id.clone());
        }
        let root = account_root(account.partition, &account.id);
        Request {
            principals: vec![self.role.to_owned(), root, id],
            actions,
            resource,
            context,
        }
    }

    /// What the role needs and `document` does not allow.
    fn missing_in(&self, document: &Document) -> Vec<String> {
        let mut missing = vec![];
        for statement in statements::object_statements(self.installation, self.resolved) {
            let via = statement
                .condition("StringEquals", "kms:ViaService")
                .first()
                .and_then(|via| via.split('.').nth(1)?.parse::<Region>().ok());
            for action in statement.strings("Action") {
                for resource in statement.strings("Resource") {
                    let actions = [action];
                    let mut request = self.request(&actions, resource.to_owned(), via.as_ref());
                    let denied = matches!(document.denies(&request, |_| false), Denial::Yes(_));
                    request.principals.clear();
                    if denied || !document.allows(&request, |_| false) {
                        missing.push(format!("{action} on {resource}"));
                    }
                }
            }
        }
        missing
    }

    fn bucket_denials(
        &self,
        condition: ConditionType,
        bucket: &OwnedBucket,
        policy: &Facet<Document>,
        actions: &[&str],
        found: &mut Preflight,
    ) {
        let Some(policy) = policy.present() else {
            return;
        };
        let rules = self.resolved.valid.rules.iter();
        let denials: Vec<_> = rules
            .map(|rule| self.request(actions, bucket.objects(&rule.prefix), None))
            .map(|request| policy.denies(&request, |_| false))
            .collect();
        let of = PolicyOf::Bucket(bucket);
        self.add_denials(condition, Reason::DeniedByBucketPolicy, of, &denials, found);
    }

    fn key_denial(&self, key: &KeyArn, actions: &[&str], via: &Region, found: &mut Preflight) {
        let policy = self.observed.key_policies.get(key);
        let Some(policy) = policy.and_then(Facet::present) else {
            return;
        };
        let request = self.request(actions, key.to_string(), Some(via));
        let denial = policy.denies(&request, |_| false);
        self.add_denials(
            ConditionType::KeysReady,
            Reason::DeniedByKeyPolicy,
            PolicyOf::Key(key),
            &[denial],
            found,
        );
    }

    /// Adds the first denial that is certain, or else the first that is possible.
    fn add_denials(
        &self,
        condition: ConditionType,
        reason: Reason,
        policy: PolicyOf<'_>,
        denials: &[Denial],
        found: &mut Preflight,
    ) {
        let role = self.role;
        let first =
            |wanted: fn(&Denial) -> Option<&DenyingStatement>| denials.iter().find_map(wanted);
        let certain = first(|denial| match denial {
            Denial::Yes(statement) => Some(statement),
            Denial::Perhaps(_) | Denial::No => None,
        });
        let possible = first(|denial| match denial {
            Denial::Perhaps(statement) => Some(statement),
            Denial::Yes(_) | Denial::No => None,
        });
        if let Some(statement) = certain {
            let message = format!(
                "statement {statement} of the {policy} denies what {role} needs: have the owner of account {} exempt the role, as status.requiredActions shows",
                policy.account()
            );
            found.problems.push(Problem {
                action: Some(Box::new(policy.except(statement, role))),
                ..Problem::new(condition, reason, message)
            });
        } else if let Some(statement) = possible {
            let note = format!(
                "statement {statement} of the {policy} may deny some of what {role} needs: the operator can't evaluate its conditions or resources"
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
        Object, accounts::Accounts, assess::ResolvedKeys, observed::Bucket, validate::validate,
    };

    const ROLE: &str = "arn:aws:iam::111111111111:role/brepl-test-source-1";
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
                &Facts {
                    resolved: &self.resolved,
                    observed: &self.observed,
                    installation: &installation,
                    account: self.accounts.by_name("prod").expect("an account"),
                    role: ROLE,
                },
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

    #[test]
    fn a_boundary_that_is_missing_or_too_narrow() {
        let allow = |action: &str| {
            let text = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
            );
            Facet::Present(Document::parse(&text).expect("a document"))
        };
        let narrow = (vec![(Reason::BoundaryTooNarrow, false)], 0);
        for (document, expected) in [
            (Facet::Absent, narrow.clone()),
            (allow("s3:*"), narrow),
            (allow("*"), (vec![], 0)),
        ] {
            let mut ground = ground();
            ground.observed.boundary = document;
            assert_eq!(ground.find(boundary), expected);
        }
    }
}
