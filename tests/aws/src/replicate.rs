//! Replication as S3 does it: the role is assumed, and each permission evaluated for the request that it is for.
//!
//! What S3 asks for each object is the table in `asks`, with AWS's page for each row. It is independent of what the operator grants.

use std::collections::BTreeMap;

use documents::{
    arns::{BucketArn, RoleArn},
    configuration::{Configuration, ReplicationRule, Setting, Status},
    evaluation::{Access, Context, ResourcePolicy},
    names::{AccountId, Region, via_services},
};

use serde_json::{Value, json};

use crate::{
    cloudwatch::has_metrics,
    judge::{Asked, Who},
    s3::encryption_context,
    state::{Bucket, Operation, State, Version},
};

/// Replicates the newest version of an object, or its delete marker, and sets what `HeadObject` shows of it.
pub fn replicate(state: &mut State, source: &str, key: &str) {
    let Some((bucket, version)) = newest(state, source, key) else {
        return;
    };
    if version.replication == Some("REPLICA") {
        return;
    }
    let rules = rules_for(&bucket, key, &version);
    if rules.is_empty() {
        return;
    }
    let mut failure = None;
    let mut pending = false;
    for rule in rules.values() {
        let object = Object {
            source,
            bucket: &bucket,
            key,
            version: &version,
        };
        let done = object.to(state, rule);
        if has_metrics(rule) && done.as_ref().err().is_none_or(|reason| reason != PENDING) {
            let operation = Operation {
                at: state.now,
                source: source.to_owned(),
                rule: rule.id.clone().unwrap_or_default(),
                failed: done.is_err(),
                lag: state.now.saturating_sub(version.at),
            };
            state.operations.push(operation);
        }
        match done {
            Ok(()) => {}
            Err(reason) if reason == PENDING => pending = true,
            Err(reason) => {
                failure.get_or_insert(reason);
            }
        }
    }
    let versions = state
        .buckets
        .get_mut(source)
        .and_then(|bucket| bucket.objects.get_mut(key));
    if let Some(stored) =
        versions.and_then(|versions| versions.iter_mut().find(|stored| stored.id == version.id))
    {
        stored.replication = Some(match &failure {
            Some(_) => "FAILED",
            None if pending => "PENDING",
            None => "COMPLETED",
        });
        stored.failure = failure;
    }
}

/// Why objects that the rule selects would not be replicated if they were uploaded now, if it is enabled. The keys with which they are encrypted at
/// the source are left out, since the rule does not name them.
#[must_use]
pub fn refusal(state: &State, source: &str, rule: &ReplicationRule) -> Option<String> {
    if rule.status != Status::Enabled {
        return None;
    }
    let bucket = state.buckets.get(source)?;
    let encrypts = rule.destination.encryption_configuration.is_some();
    let tags = rule.filter.iter().flat_map(|filter| filter.tags());
    let object = Version {
        body: Some(vec![]),
        algorithm: if encrypts { "aws:kms" } else { "AES256" }.to_owned(),
        tags: tags
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect(),
        ..Version::default()
    };
    let marker = Version {
        body: None,
        ..object.clone()
    };
    let replicates_markers = rule.delete_marker_replication == Some(Setting::new(true));
    let key = format!("{}object", rule.selected_prefix());
    let versions = [Some(&object), replicates_markers.then_some(&marker)];
    versions.into_iter().flatten().find_map(|version| {
        let object = Object {
            source,
            bucket,
            key: &key,
            version,
        };
        object.refusal(state, rule).err()
    })
}

const PENDING: &str = "PENDING";

/// Replicates what waits for a Region.
pub fn pending(state: &mut State) {
    let waits: Vec<_> = state
        .buckets
        .iter()
        .flat_map(|(bucket, found)| found.objects.iter().map(move |object| (bucket, object)))
        .filter(|(_, (_, versions))| {
            let newest = versions.last();
            newest.is_some_and(|version| version.replication == Some("PENDING"))
        })
        .map(|(bucket, (key, _))| (bucket.clone(), key.clone()))
        .collect();
    for (bucket, key) in waits {
        replicate(state, &bucket, &key);
    }
}

/// The objects that were not replicated, with the reason, as events of S3 tell it.
#[must_use]
pub fn failures(state: &State) -> Value {
    let mut failures = vec![];
    for (bucket, found) in &state.buckets {
        for (key, versions) in &found.objects {
            for version in versions {
                if let Some(reason) = &version.failure {
                    failures.push(json!({"bucket": bucket, "key": key, "reason": reason}));
                }
            }
        }
    }
    json!(failures)
}

fn newest(state: &State, source: &str, key: &str) -> Option<(Bucket, Version)> {
    let bucket = state.buckets.get(source)?;
    Some((bucket.clone(), bucket.objects.get(key)?.last()?.clone()))
}

/// Of each destination, the rule with the highest priority that selects the object ("Replication configuration file elements" in the S3 User
/// Guide).
fn rules_for(bucket: &Bucket, key: &str, version: &Version) -> BTreeMap<String, ReplicationRule> {
    let mut chosen: BTreeMap<String, ReplicationRule> = BTreeMap::new();
    let rules = bucket
        .replication
        .iter()
        .flat_map(|Configuration { rules, .. }| rules);
    for rule in rules.filter(|rule| selects(rule, key, version)) {
        let former = chosen.get(&rule.destination.bucket);
        if former.is_none_or(|former| former.priority < rule.priority) {
            chosen.insert(rule.destination.bucket.clone(), rule.clone());
        }
    }
    chosen
}

fn selects(rule: &ReplicationRule, key: &str, version: &Version) -> bool {
    let filter = rule.filter.clone().unwrap_or_default();
    let prefix = rule
        .prefix
        .clone()
        .unwrap_or_else(|| filter.prefix().to_owned());
    let tagged = filter
        .tags()
        .iter()
        .all(|tag| version.tags.get(&tag.key) == Some(&tag.value));
    let encrypted = rule
        .source_selection_criteria
        .as_ref()
        .and_then(|criteria| criteria.sse_kms_encrypted_objects)
        == Some(Setting::new(true));
    // "What isn't replicated" in the S3 User Guide: SSE-KMS objects without the element, and delete markers unless enabled.
    let kind = match version.body {
        Some(_) => encrypted || !version.algorithm.starts_with("aws:kms"),
        None => rule.delete_marker_replication == Some(Setting::new(true)),
    };
    rule.status == Status::Enabled && key.starts_with(&prefix) && tagged && kind
}

/// An object on its way.
struct Object<'a> {
    source: &'a str,
    bucket: &'a Bucket,
    key: &'a str,
    version: &'a Version,
}

/// The replica as it will be.
struct Replica {
    bucket: String,
    owner: AccountId,
    region: Region,
    algorithm: String,
    key: Option<String>,
    bucket_key: bool,
}

/// A permission that S3 needs.
struct Ask {
    action: &'static str,
    on: On,
    /// The reason of the failure ("Receiving replication failure events" in the S3 User Guide).
    reason: &'static str,
    /// Whether only tags are lost without it.
    optional: bool,
}

enum On {
    SourceBucket,
    SourceObject,
    SourceKey,
    Destination,
    ReplicaKey,
}

/// What S3 asks for an object.
fn asks(object: &Object<'_>, rule: &ReplicationRule, replica: &Replica) -> Vec<Ask> {
    let (version, source) = (object.version, object.bucket);
    let mut asks = vec![];
    let mut ask = |when: bool, action, on, reason, optional| {
        if when {
            asks.push(Ask {
                action,
                on,
                reason,
                optional,
            });
        }
    };
    let encrypted = version.algorithm.starts_with("aws:kms");
    let has_tags = !version.tags.is_empty();
    let written = version.body.is_some();
    // "Setting up permissions for live replication". Which status follows without the first two is not documented.
    ask(
        true,
        "s3:GetReplicationConfiguration",
        On::SourceBucket,
        "SrcBucketNotFound",
        false,
    );
    ask(
        true,
        "s3:ListBucket",
        On::SourceBucket,
        "SrcBucketNotFound",
        false,
    );
    ask(
        written,
        "s3:GetObjectVersionForReplication",
        On::SourceObject,
        "SrcGetObjectNotPermitted",
        false,
    );
    ask(
        written,
        "s3:GetObjectVersionAcl",
        On::SourceObject,
        "SrcGetAclNotPermitted",
        false,
    );
    ask(
        written && has_tags,
        "s3:GetObjectVersionTagging",
        On::SourceObject,
        "SrcGetTaggingNotPermitted",
        true,
    );
    // "Object Lock considerations".
    ask(
        written && source.object_lock,
        "s3:GetObjectRetention",
        On::SourceObject,
        "SrcGetRetentionNotPermitted",
        false,
    );
    ask(
        written && source.object_lock,
        "s3:GetObjectLegalHold",
        On::SourceObject,
        "SrcGetLegalHoldNotPermitted",
        false,
    );
    // "Replicating encrypted objects".
    ask(
        written && encrypted,
        "kms:Decrypt",
        On::SourceKey,
        "SrcGetObjectNotPermitted",
        false,
    );
    ask(
        written,
        "s3:ReplicateObject",
        On::Destination,
        "DstPutObjectNotPermitted",
        false,
    );
    ask(
        written && has_tags,
        "s3:ReplicateTags",
        On::Destination,
        "DstPutTaggingNotPermitted",
        true,
    );
    ask(
        !written,
        "s3:ReplicateDelete",
        On::Destination,
        "DstDelObjNotPermitted",
        false,
    );
    // "Changing the replica owner".
    let overrides = rule.destination.access_control_translation.is_some();
    ask(
        written && overrides,
        "s3:ObjectOwnerOverrideToBucketOwner",
        On::Destination,
        "DstPutAclNotPermitted",
        false,
    );
    let into_kms = written && replica.key.is_some();
    ask(
        into_kms && encrypted,
        "kms:Encrypt",
        On::ReplicaKey,
        "DstPutObjectNotPermitted",
        false,
    );
    // "Reducing the cost of SSE-KMS with S3 Bucket Keys"; "Replicating encrypted objects" for plain objects into a bucket with a KMS default;
    // "Uploading and copying objects using multipart upload" for parts.
    let generates = replica.bucket_key || version.multipart || !encrypted;
    ask(
        into_kms && generates,
        "kms:GenerateDataKey",
        On::ReplicaKey,
        "DstPutObjectNotPermitted",
        false,
    );
    ask(
        into_kms && (replica.bucket_key || version.multipart),
        "kms:Decrypt",
        On::ReplicaKey,
        "DstPutObjectNotPermitted",
        false,
    );
    asks
}

impl Object<'_> {
    /// Replicates by one rule.
    fn to(&self, state: &mut State, rule: &ReplicationRule) -> Result<(), String> {
        let session = self.assume(state)?;
        let replica = self.replica(state, rule)?;
        let mut version = self.version.clone();
        for ask in asks(self, rule, &replica) {
            match self.access(state, &session, &replica, &ask) {
                Access::Allowed => {}
                Access::Unknown(cause) => {
                    return Err(format!("JudgementUnknown: {}: {cause}", ask.action));
                }
                Access::Denied(..) | Access::NotAllowed(_) if ask.optional => version.tags.clear(),
                refused => return Err(format!("{}: {} ({refused:?})", ask.reason, ask.action)),
            }
        }
        let overrides = rule.destination.access_control_translation.is_some();
        let enforced = state
            .buckets
            .get(&replica.bucket)
            .is_some_and(|bucket| bucket.ownership == "BucketOwnerEnforced");
        if overrides || enforced {
            version.owner = Some(replica.owner);
        }
        version.replication = Some("REPLICA");
        version.algorithm = replica.algorithm;
        version.key = replica.key;
        version.bucket_key = replica.bucket_key;
        if let Some(bucket) = state.buckets.get_mut(&replica.bucket) {
            version.retained = bucket.retention.is_some();
            bucket
                .objects
                .entry(self.key.to_owned())
                .or_default()
                .push(version);
        }
        Ok(())
    }

    /// Whether it would be replicated by that rule, but for what its own key has to allow.
    fn refusal(&self, state: &State, rule: &ReplicationRule) -> Result<(), String> {
        let session = self.assume(state)?;
        let replica = self.replica(state, rule)?;
        let asks = asks(self, rule, &replica);
        let others = asks.iter().filter(|ask| !matches!(ask.on, On::SourceKey));
        for ask in others {
            let access = self.access(state, &session, &replica, ask);
            if !access.is_allowed() {
                return Err(format!("{}: {} ({access:?})", ask.reason, ask.action));
            }
        }
        Ok(())
    }

    /// S3 assumes the role of the configuration as a service.
    fn assume(&self, state: &State) -> Result<Who, String> {
        let refused = || "AssumeRoleNotPermitted".to_owned();
        let configuration = self.bucket.replication.as_ref().ok_or_else(refused)?;
        let arn: RoleArn = configuration.role.parse().map_err(|_| refused())?;
        let role = state.role(&arn).ok_or_else(refused)?;
        let decisions = state.decisions.clone();
        let service = Who::service("s3.amazonaws.com", arn.account.clone(), decisions);
        let asked = Asked {
            action: "sts:AssumeRole",
            resource: arn.to_string(),
            owner: &arn.account,
            policy: ResourcePolicy::Trust(&role.trust),
            context: Context::complete(),
        };
        if !service.access(&asked).is_allowed() {
            return Err(refused());
        }
        Ok(state.session(role, "s3-replication"))
    }

    /// Where the replica goes, and how it is encrypted there.
    fn replica(&self, state: &State, rule: &ReplicationRule) -> Result<Replica, String> {
        let name = rule
            .destination
            .bucket
            .parse::<BucketArn>()
            .map_err(|error| error.to_string())?
            .name;
        let bucket = state
            .buckets
            .get(name.as_str())
            .cloned()
            .ok_or("DstBucketNotFound")?;
        if bucket.versioning != Some(true) {
            return Err("DstBucketUnversioned".to_owned());
        }
        if rule
            .destination
            .account
            .as_deref()
            .is_some_and(|account| account != bucket.owner.as_str())
        {
            return Err("DstBucketInvalid: another account owns it".to_owned());
        }
        // "Requirements and considerations for replication": across accounts, Requester Pays is not supported.
        if bucket.payer == "Requester" && bucket.owner != self.bucket.owner {
            return Err("DstPutObjectNotPermitted: Requester Pays".to_owned());
        }
        if self.bucket.object_lock && !bucket.object_lock {
            return Err("DstObjectLockMissing".to_owned());
        }
        // Temporary trouble is waited for, and never a failure ("Getting replication status information").
        if state.out_regions.contains(&bucket.region) {
            return Err(PENDING.to_owned());
        }
        let region: Region = bucket.region.parse().map_err(|_| "the Region".to_owned())?;
        let default = &bucket.encryption["Rules"][0];
        let by_default = &default["ApplyServerSideEncryptionByDefault"];
        let (algorithm, key) = if self.version.algorithm.starts_with("aws:kms") {
            let encryption = rule.destination.encryption_configuration.as_ref();
            (
                self.version.algorithm.clone(),
                encryption.and_then(|encryption| encryption.replica_kms_key_id.clone()),
            )
        } else {
            // Plain and SSE-S3 objects get the default of the destination.
            let algorithm = by_default["SSEAlgorithm"].as_str().unwrap_or("AES256");
            (
                algorithm.to_owned(),
                by_default["KMSMasterKeyID"].as_str().map(ToOwned::to_owned),
            )
        };
        let key = match key {
            Some(key) => {
                let arn = state.aliases.get(&key).cloned().unwrap_or(key);
                let found = state.keys.get(&arn).ok_or("DstKmsKeyNotFound")?;
                let usable = matches!(found.state.as_str(), "Enabled" | "Updating");
                if !usable || found.region != bucket.region {
                    return Err(format!(
                        "DstKmsKeyInvalidState: {} in {}",
                        found.state, found.region
                    ));
                }
                Some(arn)
            }
            None => None,
        };
        let bucket_key =
            key.is_some() && algorithm == "aws:kms" && default["BucketKeyEnabled"] == true;
        Ok(Replica {
            bucket: name.to_string(),
            owner: bucket.owner,
            region,
            algorithm,
            key,
            bucket_key,
        })
    }

    /// Whether the session may do it.
    fn access(&self, state: &State, session: &Who, replica: &Replica, ask: &Ask) -> Access {
        let (source, destination) = (self.bucket, state.buckets.get(&replica.bucket));
        let s3 = |resource: String, bucket: &Bucket, context: Context| {
            session.access(&Asked {
                action: ask.action,
                resource,
                owner: &bucket.owner,
                policy: ResourcePolicy::Bucket(bucket.policy.as_ref()),
                context: context
                    .with("s3:ResourceAccount", bucket.owner.as_str())
                    .with("aws:ViaAWSService", "false")
                    .with("s3:TlsVersion", "1.2"),
            })
        };
        let kms = |key: Option<&String>, region: &Region, context: String| {
            let Some((arn, key)) = key.and_then(|arn| Some((arn, state.keys.get(arn)?))) else {
                return Access::NotAllowed(documents::evaluation::PolicyKind::Resource);
            };
            if !matches!(key.state.as_str(), "Enabled" | "Updating") {
                return Access::NotAllowed(documents::evaluation::PolicyKind::Resource);
            }
            session.access(&Asked {
                action: ask.action,
                resource: arn.clone(),
                owner: &key.owner,
                policy: ResourcePolicy::Key(&key.policy),
                context: Context::complete()
                    .with("kms:ViaService", via_services(region).remove(0))
                    .with("kms:CallerAccount", session.account.as_str())
                    .with("kms:EncryptionContext:aws:s3:arn", context)
                    .with("aws:ViaAWSService", "true"),
            })
        };
        let object = |bucket: &str| format!("arn:aws:s3:::{bucket}/{}", self.key);
        match (&ask.on, destination) {
            (On::SourceBucket, _) => s3(
                format!("arn:aws:s3:::{}", self.source),
                source,
                Context::complete(),
            ),
            (On::SourceObject, _) => s3(object(self.source), source, Context::complete()),
            (On::SourceKey, _) => {
                let region = source
                    .region
                    .parse()
                    .unwrap_or_else(|_| replica.region.clone());
                let context = encryption_context(self.source, self.key, self.version.bucket_key);
                kms(self.version.key.as_ref(), &region, context)
            }
            (On::Destination, Some(bucket)) => {
                let mut context = Context::complete();
                if ask.action == "s3:ReplicateObject" {
                    context =
                        context.with("s3:x-amz-server-side-encryption", replica.algorithm.clone());
                    if let Some(key) = &replica.key {
                        context = context.with(
                            "s3:x-amz-server-side-encryption-aws-kms-key-id",
                            key.clone(),
                        );
                    }
                }
                s3(object(&replica.bucket), bucket, context)
            }
            (On::Destination, None) => {
                Access::NotAllowed(documents::evaluation::PolicyKind::Resource)
            }
            (On::ReplicaKey, _) => {
                let context = encryption_context(&replica.bucket, self.key, replica.bucket_key);
                kms(replica.key.as_ref(), &replica.region, context)
            }
        }
    }
}
