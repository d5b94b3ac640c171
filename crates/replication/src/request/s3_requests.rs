//! The requests that S3 makes when it replicates what an object asks for, and what is known of each: a closed table. Of keys that it lacks, nothing
//! is known.
//!
//! S3 calls as a session of the replication role, and KMS is called by S3 in the name of that session ("Forward access sessions" in the IAM User
//! Guide). "Global" is "AWS global condition context keys" in the IAM User Guide, "Amazon S3" the page of that service in the Service
//! Authorization Reference, and "KMS" is "AWS KMS condition keys" in the KMS Developer Guide.

use std::sync::Arc;

use crate::{
    accounts::{Accounts, Organization},
    arns::RoleArn,
    assess::Resolved,
    evaluation::{Caller, Context, Possible, Request, Resource, Session},
    keys::KeyArn,
    names::{AccountId, OwnedBucket, via_services},
    policy::Statement,
    remedy::PolicyOf,
    request::statements::{
        ACTIONS_ON_SOURCE_BUCKET, REPLICA_KEY_ACTIONS, SOURCE_KEY_ACTIONS,
        actions_on_source_objects, objects_under, replica_actions,
    },
    validate::Valid,
};

/// The session of S3. It is not documented, and seen in events of destinations and in `CloudTrail`.
const SESSION: &str = "s3-replication";

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On<'a> {
    /// The source bucket and its objects.
    Source,
    /// The destination's objects.
    Destination,
    /// A key.
    Key(&'a KeyArn),
}

/// A request of S3.
#[derive(Clone, Debug)]
pub struct S3Request<'a> {
    /// What it is about.
    pub on: On<'a>,
    /// The action.
    pub action: &'a str,
    /// The resource, or all that the object's rules select.
    pub resource: Resource,
    caller: Arc<Caller>,
    context: Arc<Context>,
}

impl S3Request<'_> {
    /// The request, as policies are evaluated for it.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request {
            caller: &self.caller,
            action: self.action,
            resource: &self.resource,
            context: &self.context,
        }
    }
}

/// What is known of the role that S3 assumes.
#[derive(Clone, Copy, Debug)]
pub struct RoleFacts<'a> {
    /// Its ARN.
    pub arn: &'a RoleArn,
    /// Its unique ID, if it exists.
    pub id: Option<&'a str>,
    /// Whether it has a permissions boundary, if that is known.
    pub bounded: Option<bool>,
    /// All accounts, which may say in what organization they are.
    pub accounts: &'a Accounts,
}

impl<'a> RoleFacts<'a> {
    /// A role of which nothing else is known.
    #[must_use]
    pub fn of(arn: &'a RoleArn, accounts: &'a Accounts) -> Self {
        Self {
            arn,
            id: None,
            bounded: None,
            accounts,
        }
    }
}

/// What S3 asks of buckets and keys for an object, as `role`.
#[must_use]
pub fn s3_requests<'a>(resolved: &'a Resolved, role: RoleFacts<'_>) -> Vec<S3Request<'a>> {
    let valid = &resolved.valid;
    let caller = caller(role);
    let mut requests = vec![];
    let mut add = |on, actions: &[&'static str], resource: Resource, context: &Arc<Context>| {
        requests.extend(actions.iter().map(|action| S3Request {
            on,
            action,
            resource: resource.clone(),
            caller: Arc::clone(&caller),
            context: Arc::clone(context),
        }));
    };

    let of_source = of_s3(role, &valid.source.account);
    let of_destination = of_s3(role, &valid.destination.account);
    let bucket = Resource::one(valid.source.arn().to_string());
    add(On::Source, ACTIONS_ON_SOURCE_BUCKET, bucket, &of_source);
    for rule in &valid.rules {
        let source = Resource::of_statement(&valid.source.objects(&rule.prefix));
        let actions = actions_on_source_objects(resolved.object_lock);
        add(On::Source, &actions, source, &of_source);
        let replicas = Resource::of_statement(&valid.destination.objects(&rule.prefix));
        let actions = replica_actions(rule.delete_markers, valid.owner_override);
        add(On::Destination, &actions, replicas, &of_destination);
    }
    if let Some(keys) = &resolved.keys {
        let mut add_key = |key: &'a KeyArn, actions: &[&'static str], region, bucket| {
            let contexts = encryption_contexts(valid, bucket);
            let context = of_kms(role, key, &via_services(region));
            let context = context.with_possible("kms:EncryptionContext:aws:s3:arn", contexts);
            let resource = Resource::one(key.to_string());
            add(On::Key(key), actions, resource, &Arc::new(context));
        };
        for key in &keys.source {
            let region = &resolved.source_region;
            add_key(key, SOURCE_KEY_ACTIONS, region, &valid.source);
        }
        let region = &keys.replica.region;
        let (key, bucket) = (&keys.replica, &valid.destination);
        add_key(key, REPLICA_KEY_ACTIONS, region, bucket);
    }
    requests
}

/// The requests that a statement for `role` in a policy of a destination or key is there for.
pub(crate) fn requests_of_statement<'a>(
    statement: &'a Statement,
    of: PolicyOf<'a>,
    role: RoleFacts<'_>,
) -> Vec<S3Request<'a>> {
    let caller = caller(role);
    let requests = |on, resource: &Resource, context: &Arc<Context>| {
        let actions = statement.strings("Action").into_iter();
        let request = |action| S3Request {
            on,
            action,
            resource: resource.clone(),
            caller: Arc::clone(&caller),
            context: Arc::clone(context),
        };
        actions.map(request).collect::<Vec<_>>()
    };
    match of {
        PolicyOf::Bucket(bucket) => {
            let context = of_s3(role, &bucket.account);
            let resources = statement.strings("Resource").into_iter();
            resources
                .flat_map(|arn| requests(On::Destination, &Resource::of_statement(arn), &context))
                .collect()
        }
        PolicyOf::Key(key) => {
            let services = statement.condition("StringEquals", "kms:ViaService");
            let resource = Resource::one(key.to_string());
            services
                .into_iter()
                .map(|service| Arc::new(of_kms(role, key, &[service.to_owned()])))
                .flat_map(|context| requests(On::Key(key), &resource, &context))
                .collect()
        }
    }
}

/// The encryption contexts that KMS gets for the objects under the object's prefixes: the bucket with an S3 Bucket Key, otherwise each object
/// ("Using Amazon S3 Bucket Keys" in the S3 User Guide). No policy names these objects, so that what holds for them holds for all others.
fn encryption_contexts(valid: &Valid, bucket: &OwnedBucket) -> Vec<Possible> {
    let objects = objects_under(valid, bucket)
        .into_iter()
        .flat_map(|pattern| {
            let prefix = pattern.trim_end_matches('*').to_owned();
            ["a/example.csv", "Z0", "~"].map(|rest| format!("{prefix}{rest}"))
        });
    let bucket = bucket.arn().to_string();
    std::iter::once(bucket)
        .chain(objects)
        .map(Possible::One)
        .collect()
}

/// A session of `role` in the hands of S3.
fn caller(role: RoleFacts<'_>) -> Arc<Caller> {
    Arc::new(Caller::Session(Session {
        role: role.arn.clone(),
        role_id: role.id.map(ToOwned::to_owned),
        name: SESSION.to_owned(),
        bounded: role.bounded,
    }))
}

/// What is known of every request of the session, on a resource of `owner`.
fn of_session(role: RoleFacts<'_>, owner: &AccountId) -> Context {
    let absent_or = |values: &[&str]| {
        let known = values
            .iter()
            .map(|value| Possible::One((*value).to_owned()));
        std::iter::once(Possible::Absent).chain(known).collect()
    };
    let context = Context::partial();
    // Only members of an organization have these keys: Global. Their paths are not known.
    let context = match role.accounts.organization(&role.arn.account) {
        Some(Organization::Id(id)) => context.with("aws:PrincipalOrgID", id.as_str()),
        Some(Organization::None) => context
            .without("aws:PrincipalOrgID")
            .without("aws:PrincipalOrgPaths"),
        None => context,
    };
    let context = match role.accounts.organization(owner) {
        Some(Organization::Id(id)) => context.with("aws:ResourceOrgID", id.as_str()),
        Some(Organization::None) => context
            .without("aws:ResourceOrgID")
            .without("aws:ResourceOrgPaths"),
        None => context,
    };
    context
        // The role, not the session: Global.
        .with("aws:PrincipalArn", role.arn.to_string())
        .with("aws:PrincipalAccount", role.arn.account.as_str())
        .with("aws:PrincipalType", "AssumedRole")
        .without("aws:username")
        // No policy can name the ID of a role that does not exist yet.
        .with(
            "aws:userid",
            format!("{}:{SESSION}", role.id.unwrap_or("AROAOFANEWROLE")),
        )
        .with("aws:ResourceAccount", owner.as_str())
        // A replication role is a service role: AWS does not call as a service principal, for which these keys are. Global.
        .with("aws:PrincipalIsAWSService", "false")
        .without("aws:PrincipalServiceName")
        .without("aws:PrincipalServiceNamesList")
        .without("aws:SourceAccount")
        .without("aws:SourceArn")
        .without("aws:SourceOrgID")
        .without("aws:SourceOrgPaths")
        .without("aws:referer")
        // There is no sign-in with MFA: "Example bucket policies" in the S3 User Guide; Global has the other key for temporary credentials.
        .without("aws:MultiFactorAuthAge")
        .with_possible("aws:MultiFactorAuthPresent", absent_or(&["false"]))
        // Requests do not come from a network of a customer. Their addresses are removed or AWS's own ("Bucket policy condition keys" in the S3
        // User Guide); these were seen in events.
        .with_possible("aws:SourceIp", absent_or(ADDRESSES_OF_AWS))
        .with_possible("aws:VpcSourceIp", absent_or(ADDRESSES_OF_AWS))
        .with_possible("aws:SourceVpc", absent_or(&["vpc-of-aws"]))
        .with_possible("aws:SourceVpce", absent_or(&["vpce-of-aws"]))
        .with_possible("aws:VpceAccount", absent_or(&["of-aws"]))
        .with_possible("aws:VpceOrgID", absent_or(&["o-of-aws"]))
        // True or removed: Global, and "Bucket policy condition keys" in the S3 User Guide.
        .with_possible("aws:SecureTransport", absent_or(&["true"]))
}

/// One of each range that AWS calls from: a condition that has some of them is not decided.
const ADDRESSES_OF_AWS: &[&str] = &[
    "10.0.153.194",
    "3.22.166.30",
    "13.32.0.1",
    "15.177.0.1",
    "16.12.0.1",
    "18.34.0.1",
    "34.192.0.1",
    "35.80.0.1",
    "44.192.0.1",
    "50.16.0.1",
    "52.92.0.1",
    "54.231.0.1",
    "2600:1f18::1",
];

/// What is known of a request to S3.
fn of_s3(role: RoleFacts<'_>, owner: &AccountId) -> Arc<Context> {
    let version = |version: &str| Possible::One(version.to_owned());
    let context = of_session(role, owner)
        .with("s3:ResourceAccount", owner.as_str())
        .with("aws:ViaAWSService", "false")
        .without("aws:CalledVia")
        .without("aws:CalledViaFirst")
        .without("aws:CalledViaLast")
        // AWS requires TLS 1.2 ("Infrastructure security" in the S3 User Guide), or the key is removed.
        .with_possible(
            "s3:TlsVersion",
            vec![Possible::Absent, version("1.2"), version("1.3")],
        )
        // These are keys of other actions: Amazon S3.
        .without("s3:x-amz-acl")
        .without("s3:x-amz-storage-class")
        .without("s3:x-amz-copy-source")
        .without("s3:x-amz-metadata-directive")
        .without("s3:object-lock-mode")
        .without("s3:object-lock-retain-until-date")
        .without("s3:object-lock-legal-hold")
        .without("s3:object-lock-remaining-retention-days");
    Arc::new(context)
}

/// What is known of a request to KMS through one of `services`: S3 in the Region of the bucket.
fn of_kms(role: RoleFacts<'_>, key: &KeyArn, services: &[String]) -> Context {
    let services = services.iter().cloned().map(Possible::One).collect();
    of_session(role, &key.account)
        .with("aws:ViaAWSService", "true")
        .with_possible("kms:ViaService", services)
        .with("kms:CallerAccount", role.arn.account.as_str())
        .with_possible(
            "kms:EncryptionContextKeys",
            vec![Possible::Several(vec!["aws:s3:arn".to_owned()])],
        )
        // Only in CreateGrant: KMS.
        .without("kms:GranteePrincipal")
        .without("kms:GrantIsForAWSResource")
        .without("kms:GrantOperations")
        .without("kms:GrantConstraintType")
        .without("kms:RetiringPrincipal")
}
