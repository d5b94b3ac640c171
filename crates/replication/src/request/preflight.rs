//! What S3 accepts with a 200 and then does not replicate: found before anything is written.

use crate::{
    Problem,
    accounts::Account,
    assess::{Resolved, failed},
    names::{InstallationId, KeyArn, OwnedBucket, Prefix, Region},
    observed::{Facet, Observed, Traits},
    policy::{Denial, Document, Request},
    remedy::PolicyOf,
    request::statements,
};
use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// What makes replication fail.
    pub problems: Vec<Problem>,
    /// What may make it fail, or is probably not intended: reported with the conditions, which stay True.
    pub notes: Vec<(ConditionType, String)>,
}

/// Checks what an object depends on. `role` is the ARN of the role that S3 will assume.
#[must_use]
pub fn preflight(
    resolved: &Resolved,
    observed: &Observed,
    installation: &InstallationId,
    account: &Account,
    role: &str,
) -> Preflight {
    let mut look = Observation {
        resolved,
        observed,
        account,
        role,
        found: Preflight::default(),
    };
    look.traits();
    look.denials();
    look.boundary(installation);
    look.found
}

struct Observation<'a> {
    resolved: &'a Resolved,
    observed: &'a Observed,
    account: &'a Account,
    role: &'a str,
    found: Preflight,
}

/// A command and its input, for the owner of what has to change.
fn action(
    document: String,
    account: &impl ToString,
    statement: String,
    command: String,
) -> RequiredAction {
    RequiredAction {
        document,
        account_id: account.to_string(),
        statement,
        command,
    }
}

impl Observation<'_> {
    fn traits_of(&self, bucket: &OwnedBucket) -> Traits {
        self.observed
            .buckets
            .get(bucket)
            .map(|read| read.traits.clone())
            .unwrap_or_default()
    }

    /// "Requirements and considerations for replication" and "Object Lock considerations" in the S3 User Guide.
    fn traits(&mut self) {
        let valid = &self.resolved.valid;
        let (source, destination) = (
            self.traits_of(&valid.source),
            self.traits_of(&valid.destination),
        );
        for (condition, read) in [
            (ConditionType::SourceReady, &source),
            (ConditionType::DestinationReady, &destination),
        ] {
            self.found
                .problems
                .extend(read.failure().map(|failure| failed(condition, failure)));
        }
        let (name, owner) = (&valid.destination.name, &valid.destination.account);
        if destination.requester_pays == Facet::Present(true) {
            let command = format!(
                "aws s3api put-bucket-request-payment --bucket {name} --request-payment-configuration Payer=BucketOwner"
            );
            let message = format!(
                "destination bucket {name} is a Requester Pays bucket, and S3 does not replicate to these across accounts: have the owner of account {owner} run {command}"
            );
            let problem = Problem::new(
                ConditionType::DestinationReady,
                Reason::RequesterPays,
                message,
            );
            let statement = r#"{"Payer": "BucketOwner"}"#.to_owned();
            self.found.problems.push(Problem {
                action: Some(Box::new(action(
                    format!("request payment of bucket {name}"),
                    owner,
                    statement,
                    command,
                ))),
                ..problem
            });
        }
        if valid.keeps_owner
            && destination.owner_enforced == Facet::Present(true)
            && valid.source.account != valid.destination.account
        {
            let message = format!(
                "spec.destination.owner is Source, but bucket {name} enforces that account {owner} owns every object in it: set owner to Destination, or omit owner"
            );
            self.found.problems.push(Problem::new(
                ConditionType::DestinationReady,
                Reason::OwnerNotPossible,
                message,
            ));
        }
        if source.object_lock == Facet::Present(true)
            && destination.object_lock != Facet::Present(true)
        {
            let command = format!(
                "aws s3api put-object-lock-configuration --bucket {name} --object-lock-configuration ObjectLockEnabled=Enabled"
            );
            let message = format!(
                "Object Lock is enabled on source bucket {}, but not on bucket {name}: have the owner of account {owner} run {command}",
                valid.source.name
            );
            let problem = Problem::new(
                ConditionType::DestinationReady,
                Reason::ObjectLockMissing,
                message,
            );
            let statement = r#"{"ObjectLockEnabled": "Enabled"}"#.to_owned();
            self.found.problems.push(Problem {
                action: Some(Box::new(action(
                    format!("Object Lock of bucket {name}"),
                    owner,
                    statement,
                    command,
                ))),
                ..problem
            });
        }
        if valid.sync_replica_modifications
            && matches!(destination.syncs_back, Facet::Present(false))
        {
            let note = format!(
                "changes to replicas are not replicated back, because bucket {name} has no rule to the source bucket with replicaModifications: Sync"
            );
            self.found
                .notes
                .push((ConditionType::ReplicationConfigured, note));
        }
    }

    fn denials(&mut self) {
        let valid = &self.resolved.valid;
        let (source, destination) = (&valid.source, &valid.destination);
        let source_policy = self.traits_of(source).policy;
        let across = self
            .observed
            .buckets
            .get(destination)
            .map(|read| read.policy.clone())
            .unwrap_or_default();
        let destination_policy = if source.account == destination.account {
            self.traits_of(destination).policy
        } else {
            across
        };
        let prefixes: Vec<&Prefix> = valid.rules.iter().map(|rule| &rule.prefix).collect();
        let objects = |bucket: &OwnedBucket| {
            prefixes
                .iter()
                .map(|prefix| bucket.objects(prefix))
                .collect::<Vec<_>>()
        };
        let replica = statements::actions_on_replicas(valid);
        let read = statements::actions_on_source_objects(self.resolved.object_lock);
        self.bucket_denials(
            ConditionType::SourceReady,
            source,
            &source_policy,
            &read,
            &objects(source),
        );
        self.bucket_denials(
            ConditionType::DestinationReady,
            destination,
            &destination_policy,
            &replica,
            &objects(destination),
        );
        let Some(keys) = self.resolved.keys.clone() else {
            return;
        };
        let (source_region, destination_region) =
            (&self.resolved.source_region, &keys.replica.region);
        for key in &keys.source {
            self.key_denials(key, statements::SOURCE_KEY_ACTIONS, source_region);
        }
        self.key_denials(
            &keys.replica,
            statements::REPLICA_KEY_ACTIONS,
            destination_region,
        );
    }

    /// What is known about every request of the role: S3 itself calls over TLS.
    fn request<'r>(
        &self,
        actions: &'r [&'r str],
        resource: String,
        via: Option<&Region>,
    ) -> Request<'r> {
        let id = self.account.id.to_string();
        let root = format!("arn:{}:iam::{id}:root", self.account.partition);
        let mut context = [
            ("aws:securetransport", "true".to_owned()),
            ("aws:principalarn", self.role.to_owned()),
            ("aws:principalaccount", id.clone()),
            ("aws:principaltype", "AssumedRole".to_owned()),
        ]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>();
        if let Some(region) = via {
            context.insert("kms:viaservice", format!("s3.{region}.amazonaws.com"));
            context.insert("kms:calleraccount", id.clone());
        }
        Request {
            principals: vec![self.role.to_owned(), root, id],
            actions,
            resource,
            context,
        }
    }

    fn bucket_denials(
        &mut self,
        condition: ConditionType,
        bucket: &OwnedBucket,
        policy: &Facet<Document>,
        actions: &[&str],
        resources: &[String],
    ) {
        let Some(policy) = policy.present() else {
            return;
        };
        let denials: Vec<_> = resources
            .iter()
            .map(|resource| {
                policy.denies(&self.request(actions, resource.clone(), None), |_| false)
            })
            .collect();
        self.add_denials(
            condition,
            Reason::DeniedByBucketPolicy,
            PolicyOf::Bucket(bucket),
            &denials,
        );
    }

    fn key_denials(&mut self, key: &KeyArn, actions: &[&str], region: &Region) {
        let Some(policy) = self.observed.key_policies.get(key).and_then(Facet::present) else {
            return;
        };
        let denial = policy.denies(
            &self.request(actions, key.to_string(), Some(region)),
            |_| false,
        );
        self.add_denials(
            ConditionType::KeysReady,
            Reason::DeniedByKeyPolicy,
            PolicyOf::Key(key),
            &[denial],
        );
    }

    fn add_denials(
        &mut self,
        condition: ConditionType,
        reason: Reason,
        policy: PolicyOf<'_>,
        denials: &[Denial],
    ) {
        let role = self.role;
        let denied = denials.iter().find_map(|denial| {
            if let Denial::Yes(statement) = denial {
                Some(statement)
            } else {
                None
            }
        });
        let perhaps = denials.iter().find_map(|denial| {
            if let Denial::Perhaps(statement) = denial {
                Some(statement)
            } else {
                None
            }
        });
        if let Some(statement) = denied {
            let message = format!(
                "statement {statement} of the {policy} denies what {role} needs: have the owner of account {} exempt the role, as status.requiredActions shows",
                policy.account()
            );
            let problem = Problem::new(condition, reason, message);
            self.found.problems.push(Problem {
                action: Some(Box::new(policy.except(statement, role))),
                ..problem
            });
        } else if let Some(statement) = perhaps {
            let note = format!(
                "statement {statement} of the {policy} may deny some of what {role} needs: the operator can't evaluate its conditions or resources"
            );
            self.found.notes.push((condition, note));
        }
    }

    /// "Permissions boundaries for IAM entities" in the IAM User Guide.
    fn boundary(&mut self, installation: &InstallationId) {
        let Some(arn) = &self.account.roles.permissions_boundary else {
            return;
        };
        let problem = |message: String| {
            Problem::new(ConditionType::RoleReady, Reason::BoundaryTooNarrow, message)
        };
        let document = match &self.observed.boundary {
            Facet::Present(document) => document,
            Facet::Absent => {
                self.found.problems.push(problem(format!(
                    "permissions boundary {arn} does not exist: {} to create it or to correct roles.permissionsBoundaryARN",
                    self.account.whom_to_ask()
                )));
                return;
            }
            Facet::Failed(failure) => {
                self.found
                    .problems
                    .push(failed(ConditionType::RoleReady, failure));
                return;
            }
            Facet::Unread => return,
        };
        let mut missing = vec![];
        for statement in statements::object_statements(installation, self.resolved) {
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
        if let Some(first) = missing.first() {
            let more = if missing.len() > 1 {
                format!(" and {} more", missing.len() - 1)
            } else {
                String::new()
            };
            let whom = self.account.whom_to_ask();
            self.found
                .problems
                .push(problem(format!("permissions boundary {arn} does not allow {first}{more}, which the role needs: {whom} to add the missing actions")));
        }
    }
}
