//! An AWS in memory that refuses what AWS refuses; each refusal names the page that it comes from.
//!
//! After each step it also holds what our own order rules promise: no rule of ours stands without the permissions that it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use bucket_replication_operator::{
    cloud::{Cloud, editor::Editors},
    replication::{
        arns::{ManagedPolicyArn, PolicyArn, RoleArn},
        configuration::{Configuration, Setting},
        evaluation::{Caller, Context, Request, Resource, Session},
        grantee::OwnRoles,
        keys::{KeyArn, KeyReference},
        names::{AccountId, InstallationId, OwnedBucket, Region, RoleName, fingerprint},
        observation::ledger::destination_of,
        observed::{
            DefaultEncryption, Encryption, Facet, Failure, FailureKind, KeyDescription,
            PolicyVersions, Role, Traits, UnknownElement,
        },
        plan::Step,
        policy::{Document, Statement},
        question::{Answer, Question},
        shared_policy::{SharedPolicy, SourceRole},
        uses::{Moment, Used},
    },
    slot::Slot,
};

#[derive(Clone, Debug, PartialEq)]
pub struct WorldBucket {
    pub region: Region,
    pub versioning: bool,
    pub policy: Option<Document>,
    pub encryption: DefaultEncryption,
    pub tags: BTreeMap<String, String>,
    /// What decides whether it can be replicated from or to; the policy and `syncs_back` are told from the rest.
    pub traits: Traits,
    pub configuration: Option<Configuration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WorldKey {
    pub state: String,
    pub managed_by_aws: bool,
    pub policy: Document,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WorldRole {
    pub role: Role,
    pub policies: BTreeMap<String, Document>,
    /// Managed policies.
    pub attached: BTreeSet<PolicyArn>,
}

/// A managed policy: its versions by number, and the default one.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldPolicy {
    pub versions: BTreeMap<u32, Document>,
    pub default: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub buckets: BTreeMap<OwnedBucket, WorldBucket>,
    pub keys: BTreeMap<KeyArn, WorldKey>,
    pub aliases: BTreeMap<KeyReference, KeyArn>,
    pub roles: BTreeMap<(AccountId, RoleName), WorldRole>,
    pub policies: BTreeMap<PolicyArn, WorldPolicy>,
    /// Managed policies of others, by ARN.
    pub boundaries: BTreeMap<String, Document>,
    /// Steps that fail, by name, and how.
    pub failing: BTreeMap<String, FailureKind>,
    /// What the source's configuration holds beyond our types.
    pub unknown: Vec<UnknownElement>,
    /// Accounts in which nothing may be called.
    pub external: BTreeSet<AccountId>,
    /// Actions that are denied, each with the account.
    pub denied: BTreeSet<(String, AccountId)>,
}

/// What goes wrong next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// After so many writes the process is gone: nothing more is written.
    pub crash_after: Option<usize>,
    /// The answer to this write is lost: it took effect, and the caller sees a fault.
    pub lose_answer_of: Option<usize>,
    /// Reads show what stood before the last write ("Amazon S3 data consistency model" in the S3 User Guide: bucket configurations).
    pub lag: bool,
}

#[derive(Debug, Default)]
pub struct World {
    pub state: Mutex<State>,
    pub faults: Mutex<Faults>,
    pub written: Mutex<Vec<Step>>,
    pub installation: Option<InstallationId>,
    /// What stood before the last write.
    pub former: Mutex<Option<State>>,
    /// How many questions were asked.
    pub calls: Mutex<usize>,
    /// How long each look and each step takes, so that those of others come in between.
    pub latency: Mutex<Duration>,
}

/// The account in which a step writes.
fn account_of(step: &Step) -> Option<&AccountId> {
    match step {
        Step::Settle => None,
        Step::CreateRole(role)
        | Step::UpdateTrustPolicy(role)
        | Step::TagRole(role)
        | Step::PutRolePermissionsBoundary { role, .. } => Some(&role.arn.account),
        Step::PutRolePolicy { account, .. }
        | Step::DeleteRolePolicy { account, .. }
        | Step::DeleteRole { account, .. } => Some(account),
        Step::PutKeyPolicy { key, .. } => Some(&key.account),
        Step::CreateManagedPolicy { policy, .. }
        | Step::AttachManagedPolicy { policy, .. }
        | Step::CreateManagedPolicyVersion { policy, .. }
        | Step::DeleteManagedPolicyVersion { policy, .. }
        | Step::DetachManagedPolicy { policy, .. }
        | Step::DeleteManagedPolicy { policy } => Some(&policy.account),
        Step::EnableVersioning { bucket, .. }
        | Step::PutBucketPolicy { bucket, .. }
        | Step::DeleteBucketPolicy { bucket, .. }
        | Step::PutReplication { bucket, .. }
        | Step::DeleteReplication { bucket, .. } => Some(&bucket.account),
    }
}

fn refuse<T>(kind: FailureKind, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure {
        kind,
        action: "test".into(),
        message: message.into(),
    })
}

impl World {
    pub fn new(installation: InstallationId) -> Self {
        Self {
            installation: Some(installation),
            ..Self::default()
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
        self.written.lock().unwrap().clear();
    }

    pub fn writes(&self) -> usize {
        self.written
            .lock()
            .unwrap()
            .iter()
            .filter(|step| **step != Step::Settle)
            .count()
    }

    pub fn reads(&self) -> usize {
        *self.calls.lock().unwrap()
    }

    /// Somebody else's change. Reads lag behind the operator's own writes only: what others write in that time can be lost, as the docs say.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        self.catch_up();
        edit(&mut self.state.lock().unwrap())
    }

    /// Reads show what stands.
    pub fn catch_up(&self) {
        *self.former.lock().unwrap() = None;
    }

    async fn take_time(&self) {
        let latency = *self.latency.lock().unwrap();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    pub fn snapshot(&self) -> State {
        self.state.lock().unwrap().clone()
    }
}

impl State {
    fn denied(&self, action: &str, account: &AccountId) -> Option<Failure> {
        let denied = self.denied.contains(&(action.to_owned(), account.clone()));
        denied.then(|| Failure {
            kind: FailureKind::Denied,
            action: action.into(),
            message: format!("may not call {action}"),
        })
    }

    fn bucket(&self, bucket: &OwnedBucket) -> Result<&WorldBucket, Failure> {
        match self.buckets.get(bucket) {
            Some(found) => Ok(found),
            None => refuse(FailureKind::NotFound, format!("NoSuchBucket {bucket}")),
        }
    }

    /// A policy may name only roles that exist ("AWS JSON policy elements: Principal" in the IAM User Guide).
    fn check_principals(&self, document: &Document) -> Result<(), Failure> {
        for statement in document.statements() {
            let Some(named) = statement.json().get("Principal").and_then(|p| p.get("AWS")) else {
                continue;
            };
            let principals: Vec<String> = match named {
                serde_json::Value::String(one) => vec![one.clone()],
                many => many
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|v| v.as_str().map(ToOwned::to_owned))
                    .collect(),
            };
            if principals.iter().any(|name| name.starts_with("AROA")) {
                return refuse(
                    FailureKind::PrincipalNotVisible,
                    "MalformedPolicy: invalid principal: the role is gone",
                );
            }
            for name in principals.iter().filter(|name| name.contains(":role/")) {
                if !self
                    .roles
                    .values()
                    .any(|role| role.role.arn.to_string() == *name)
                {
                    return refuse(
                        FailureKind::PrincipalNotVisible,
                        format!("MalformedPolicy: invalid principal {name}"),
                    );
                }
            }
        }
        Ok(())
    }

    fn put_replication(
        &mut self,
        bucket: &OwnedBucket,
        configuration: &Configuration,
    ) -> Result<(), Failure> {
        let invalid = |message: String| refuse(FailureKind::Invalid, message);
        // "Requirements and considerations for replication" in the S3 User Guide.
        if !self.bucket(bucket)?.versioning {
            return invalid("Versioning must be 'Enabled' on the bucket".into());
        }
        // "PutBucketReplication" in the S3 API Reference: 1 to 1,000 rules.
        if configuration.rules.is_empty() || configuration.rules.len() > 1000 {
            return invalid("MalformedXML: number of rules".into());
        }
        let (mut ids, mut priorities) = (BTreeSet::new(), BTreeSet::new());
        for rule in &configuration.rules {
            let (Some(id), Some(priority), Some(filter)) = (&rule.id, rule.priority, &rule.filter)
            else {
                return invalid("V2 rules need ID, Priority and Filter".into());
            };
            if !ids.insert(id.clone()) || id.len() > 255 || !id.is_ascii() {
                return invalid(format!("rule ID {id}"));
            }
            if !priorities.insert(priority) || priority < 0 {
                return invalid(format!("Found duplicate priority {priority}"));
            }
            if rule.delete_marker_replication.is_none() {
                return invalid("DeleteMarkerReplication must be specified".into());
            }
            if !filter.tags().is_empty()
                && rule.delete_marker_replication == Some(Setting::new(true))
            {
                return invalid(
                    "Delete marker replication is not supported if any Tag filter is specified"
                        .into(),
                );
            }
            let encrypted = rule.destination.encryption_configuration.is_some();
            let selected = rule
                .source_selection_criteria
                .as_ref()
                .is_some_and(|criteria| criteria.sse_kms_encrypted_objects.is_some());
            if encrypted != selected {
                return invalid(
                    "SseKmsEncryptedObjects and EncryptionConfiguration go together".into(),
                );
            }
            let translated = rule.destination.access_control_translation.is_some();
            if translated && rule.destination.account.is_none() {
                return invalid(
                    "Account must be specified when AccessControlTranslation has a value".into(),
                );
            }
            match (
                &rule.destination.replication_time,
                &rule.destination.metrics,
            ) {
                (Some(time), Some(metrics))
                    if time.status == metrics.status && metrics.event_threshold.is_some() => {}
                (None, Some(metrics)) if metrics.event_threshold.is_none() => {}
                (None, None) => {}
                _ => return invalid("ReplicationTime and Metrics do not fit together".into()),
            }
            let Some(destination) = destination_of(rule, bucket) else {
                return invalid("Invalid bucket ARN".into());
            };
            if destination.name == bucket.name {
                return invalid(
                    "Destination bucket cannot be the same as the source bucket.".into(),
                );
            }
            match self.buckets.get(&destination) {
                None => return invalid("Destination bucket must exist.".into()),
                Some(found) if !found.versioning => {
                    return invalid("Destination bucket must have versioning enabled.".into());
                }
                Some(_) => {}
            }
        }
        // "Grant a user permissions to pass a role to an AWS service": only a role of the same account.
        if !configuration.role.contains(bucket.account.as_str()) {
            return refuse(FailureKind::Denied, "the role is of another account");
        }
        if let Some(found) = self.buckets.get_mut(bucket) {
            found.configuration = Some(configuration.clone());
        }
        Ok(())
    }

    #[allow(clippy::too_many_lines, reason = "one match over the steps")]
    fn write(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::EnableVersioning { bucket, .. } => {
                self.bucket(bucket)?;
                self.buckets.get_mut(bucket).unwrap().versioning = true;
            }
            Step::CreateRole(role) => {
                let key = (role.arn.account.clone(), role.arn.name.clone());
                if self.roles.contains_key(&key) {
                    return refuse(FailureKind::Conflict, "EntityAlreadyExists");
                }
                let made = Role {
                    arn: role.arn.clone(),
                    id: format!("AROA{}", fingerprint(&[role.arn.name.as_str()], 16)),
                    trust: role.trust.clone(),
                    tags: role.tags.clone(),
                    boundary: role.boundary.clone(),
                };
                self.roles.insert(
                    key,
                    WorldRole {
                        role: made,
                        policies: BTreeMap::new(),
                        attached: BTreeSet::new(),
                    },
                );
            }
            Step::UpdateTrustPolicy(role) => {
                self.role(&role.arn.account, &role.arn.name)?.role.trust = role.trust.clone();
            }
            Step::TagRole(role) => self
                .role(&role.arn.account, &role.arn.name)?
                .role
                .tags
                .extend(role.tags.clone()),
            Step::PutRolePermissionsBoundary { role, boundary } => {
                self.role(&role.arn.account, &role.arn.name)?.role.boundary =
                    Some(boundary.clone());
            }
            Step::PutRolePolicy {
                account,
                role,
                policy,
                document,
            } => {
                // "IAM and AWS STS quotas" in the IAM User Guide.
                if document.compact().len() > 10_240 {
                    return refuse(FailureKind::Invalid, "LimitExceeded");
                }
                self.role(account, role)?
                    .policies
                    .insert(policy.to_string(), document.clone());
            }
            Step::PutBucketPolicy {
                bucket, document, ..
            } => {
                self.bucket(bucket)?;
                self.check_principals(document)?;
                // "Amazon S3 endpoints and quotas" in the AWS General Reference.
                if document.compact().len() > 20 * 1024 || document.is_empty() {
                    return refuse(FailureKind::Invalid, "PolicyTooLarge or MalformedPolicy");
                }
                self.buckets.get_mut(bucket).unwrap().policy = Some(document.clone());
            }
            Step::DeleteBucketPolicy { bucket, .. } => {
                self.bucket(bucket)?;
                self.buckets.get_mut(bucket).unwrap().policy = None;
            }
            Step::PutKeyPolicy { key, document, .. } => {
                self.check_principals(document)?;
                // "PutKeyPolicy" in the KMS API Reference: the caller must still be able to manage the key.
                let root = Request {
                    caller: &Caller::Root(key.partition, key.account.clone()),
                    action: "kms:PutKeyPolicy",
                    resource: &Resource::one(key.to_string()),
                    context: &Context::complete(),
                };
                if !document.grants(&root, |_| false).is_yes() {
                    return refuse(
                        FailureKind::Invalid,
                        "MalformedPolicyDocumentException: lock-out",
                    );
                }
                match self.keys.get_mut(key) {
                    Some(found) => found.policy = document.clone(),
                    None => return refuse(FailureKind::NotFound, "NotFoundException"),
                }
            }
            Step::Settle => {}
            Step::PutReplication {
                bucket,
                configuration,
                ..
            } => self.put_replication(bucket, configuration)?,
            Step::DeleteReplication { bucket, .. } => {
                self.bucket(bucket)?;
                self.buckets.get_mut(bucket).unwrap().configuration = None;
            }
            Step::CreateManagedPolicy { policy, document } => {
                // "IAM and AWS STS quotas" in the IAM User Guide.
                if document.compact().len() > 6_144 {
                    return refuse(FailureKind::Invalid, "LimitExceeded");
                }
                if self.policies.contains_key(policy) {
                    return refuse(FailureKind::Conflict, "EntityAlreadyExists");
                }
                self.policies.insert(
                    policy.clone(),
                    WorldPolicy {
                        versions: [(1, document.clone())].into(),
                        default: 1,
                    },
                );
            }
            Step::CreateManagedPolicyVersion { policy, document } => {
                let found = self.policy(policy)?;
                // "CreatePolicyVersion" in the IAM API Reference: at most five versions.
                if document.compact().len() > 6_144 || found.versions.len() >= 5 {
                    return refuse(FailureKind::Invalid, "LimitExceeded");
                }
                found.default = found
                    .versions
                    .keys()
                    .next_back()
                    .copied()
                    .unwrap_or_default()
                    + 1;
                found.versions.insert(found.default, document.clone());
            }
            Step::DeleteManagedPolicyVersion { policy, version } => {
                let found = self.policy(policy)?;
                let number = version.trim_start_matches('v').parse().unwrap();
                // "DeletePolicyVersion" in the IAM API Reference.
                if number == found.default {
                    return refuse(
                        FailureKind::InUse,
                        "DeleteConflict: it is the default version",
                    );
                }
                if found.versions.remove(&number).is_none() {
                    return refuse(FailureKind::NotFound, "NoSuchEntity");
                }
            }
            Step::AttachManagedPolicy { role, policy } => {
                self.policy(policy)?;
                let found = self.role(&policy.account, role)?;
                // "IAM and AWS STS quotas" in the IAM User Guide.
                if found.attached.len() >= 10 && !found.attached.contains(policy) {
                    return refuse(FailureKind::Invalid, "LimitExceeded");
                }
                found.attached.insert(policy.clone());
            }
            Step::DetachManagedPolicy { role, policy } => {
                self.role(&policy.account, role)?.attached.remove(policy);
            }
            Step::DeleteManagedPolicy { policy } => {
                let attached = self
                    .roles
                    .values()
                    .any(|role| role.attached.contains(policy));
                // "DeletePolicy" in the IAM API Reference.
                if self.policy(policy)?.versions.len() > 1 || attached {
                    return refuse(FailureKind::InUse, "DeleteConflict");
                }
                self.policies.remove(policy);
            }
            Step::DeleteRolePolicy {
                account,
                role,
                policy,
            } => {
                if self
                    .role(account, role)?
                    .policies
                    .remove(policy.as_str())
                    .is_none()
                {
                    return refuse(FailureKind::NotFound, "NoSuchEntity");
                }
            }
            Step::DeleteRole { account, role } => {
                // "DeleteRole" in the IAM API Reference.
                let found = self.role(account, role)?;
                if !found.policies.is_empty() || !found.attached.is_empty() {
                    return refuse(
                        FailureKind::InUse,
                        "DeleteConflict: policies have to be removed first",
                    );
                }
                self.remove_role(account, role);
            }
        }
        Ok(())
    }

    /// A role that is gone stays in policies as its unique id, also when one of the same name is made again ("AWS JSON policy elements:
    /// Principal" in the IAM User Guide).
    pub fn remove_role(&mut self, account: &AccountId, role: &RoleName) {
        let Some(gone) = self.roles.remove(&(account.clone(), role.clone())) else {
            return;
        };
        let arn = format!("\"{}\"", gone.role.arn);
        let stale = |policy: &mut Document| {
            *policy = Document::parse(&policy.compact().replace(&arn, "\"AROAGONE\"")).unwrap();
        };
        self.buckets
            .values_mut()
            .filter_map(|bucket| bucket.policy.as_mut())
            .for_each(stale);
        self.keys
            .values_mut()
            .map(|key| &mut key.policy)
            .for_each(stale);
    }

    fn policy(&mut self, policy: &PolicyArn) -> Result<&mut WorldPolicy, Failure> {
        match self.policies.get_mut(policy) {
            Some(found) => Ok(found),
            None => refuse(FailureKind::NotFound, "NoSuchEntity"),
        }
    }

    /// What AWS answers. Nothing is asked in an external account.
    #[allow(clippy::too_many_lines, reason = "one match over the questions")]
    fn answer(&self, question: &Question) -> Answer {
        let account = match question {
            Question::Region(bucket)
            | Question::Versioning(bucket, _)
            | Question::Encryption(bucket, _)
            | Question::ObjectLock(bucket, _)
            | Question::RequesterPays(bucket, _)
            | Question::OwnerEnforced(bucket, _)
            | Question::BucketPolicy(bucket, _)
            | Question::Configuration(bucket, _)
            | Question::Tags(bucket, _) => &bucket.account,
            Question::KeyPolicy(key) => &key.account,
            Question::PolicyVersions(policy) | Question::PolicyDocument { policy, .. } => {
                &policy.account
            }
            Question::InlinePolicy { role, .. }
            | Question::ForeignRole(role)
            | Question::InlinePolicyNames(role)
            | Question::ForeignInlinePolicy { role, .. }
            | Question::ForeignAttachedPolicies(role) => &role.account,
            Question::Role(account, _)
            | Question::AttachedPolicies(account, _)
            | Question::Key { account, .. }
            | Question::ManagedVersion(account, _)
            | Question::ManagedDocument { account, .. } => account,
        };
        assert!(
            !self.external.contains(account),
            "{question:?} in an external account"
        );
        let found = |bucket: &OwnedBucket| self.buckets.get(bucket);
        let role_of =
            |account: &AccountId, role: &RoleName| self.roles.get(&(account.clone(), role.clone()));
        match question {
            Question::Region(bucket) => Answer::Region(
                bucket.clone(),
                Facet::from_option(found(bucket).map(|found| found.region.clone())),
            ),
            Question::Versioning(bucket, _) => Answer::Versioning(
                bucket.clone(),
                Facet::from_option(found(bucket).map(|found| found.versioning)),
            ),
            Question::Encryption(bucket, _) => Answer::Encryption(
                bucket.clone(),
                Facet::from_option(found(bucket).map(|found| Encryption {
                    default: found.encryption.clone(),
                    blocks_sse_c: found.traits.blocks_sse_c != Facet::Present(false),
                })),
            ),
            Question::ObjectLock(bucket, _) => Answer::ObjectLock(
                bucket.clone(),
                Facet::from_option(
                    found(bucket).and_then(|found| found.traits.object_lock.present().copied()),
                ),
            ),
            Question::RequesterPays(bucket, _) => Answer::RequesterPays(
                bucket.clone(),
                Facet::from_option(
                    found(bucket).and_then(|found| found.traits.requester_pays.present().copied()),
                ),
            ),
            Question::OwnerEnforced(bucket, _) => Answer::OwnerEnforced(
                bucket.clone(),
                Facet::from_option(
                    found(bucket).and_then(|found| found.traits.owner_enforced.present().copied()),
                ),
            ),
            Question::BucketPolicy(bucket, _) => Answer::BucketPolicy(
                bucket.clone(),
                match self.denied("s3:GetBucketPolicy", &bucket.account) {
                    Some(failure) => Facet::Failed(failure),
                    None => {
                        Facet::from_option(found(bucket).and_then(|found| found.policy.clone()))
                    }
                },
            ),
            Question::Configuration(bucket, _) => Answer::Configuration(
                bucket.clone(),
                match self.denied("s3:GetReplicationConfiguration", &bucket.account) {
                    Some(failure) => Facet::Failed(failure),
                    None => Facet::from_option(found(bucket).and_then(|found| {
                        Some((found.configuration.clone()?, self.unknown.clone()))
                    })),
                },
            ),
            Question::Tags(bucket, _) => Answer::Tags(
                bucket.clone(),
                Facet::from_option(found(bucket).map(|found| found.tags.clone())),
            ),
            Question::Key {
                query, reference, ..
            } => {
                let arn = match reference {
                    KeyReference::Key(arn) => Some(arn),
                    alias => self.aliases.get(alias),
                };
                let key = arn.and_then(|arn| Some((arn, self.keys.get(arn)?)));
                let described = key.map(|(arn, key)| KeyDescription {
                    arn: arn.clone(),
                    state: key.state.clone(),
                    symmetric: true,
                    managed_by_aws: key.managed_by_aws,
                });
                Answer::Key(query.clone(), Facet::from_option(described))
            }
            Question::KeyPolicy(key) => Answer::KeyPolicy(
                key.clone(),
                match self.denied("kms:GetKeyPolicy", &key.account) {
                    Some(failure) => Facet::Failed(failure),
                    None => {
                        Facet::from_option(self.keys.get(key).map(|found| found.policy.clone()))
                    }
                },
            ),
            Question::Role(account, role) => Answer::Role(Facet::from_option(
                role_of(account, role).map(|found| found.role.clone()),
            )),
            Question::InlinePolicy { role, policy } => Answer::InlinePolicy(
                role.clone(),
                Facet::from_option(
                    role_of(&role.account, &role.name)
                        .and_then(|found| found.policies.get(policy.as_str()).cloned()),
                ),
            ),
            Question::AttachedPolicies(account, role) => Answer::AttachedPolicies(
                Facet::from_option(role_of(account, role).map(|found| found.attached.clone())),
            ),
            Question::PolicyVersions(policy) => Answer::PolicyVersions(
                policy.clone(),
                Facet::from_option(self.policies.get(policy).map(|found| {
                    let others = found
                        .versions
                        .keys()
                        .filter(|version| **version != found.default);
                    PolicyVersions {
                        default: format!("v{}", found.default),
                        others: others.map(|version| format!("v{version}")).collect(),
                    }
                })),
            ),
            Question::PolicyDocument { policy, version } => {
                let document = self.policies.get(policy).and_then(|policy| {
                    let number = version.trim_start_matches('v').parse().ok()?;
                    policy.versions.get(&number)
                });
                Answer::PolicyDocument(policy.clone(), Facet::from_option(document.cloned()))
            }
            Question::ForeignRole(role) => Answer::ForeignRole(
                role.clone(),
                Facet::from_option(
                    role_of(&role.account, &role.name).map(|found| found.role.clone()),
                ),
            ),
            Question::InlinePolicyNames(role) => Answer::InlinePolicyNames(
                role.clone(),
                Facet::from_option(
                    role_of(&role.account, &role.name)
                        .map(|found| found.policies.keys().cloned().collect()),
                ),
            ),
            Question::ForeignInlinePolicy { role, policy } => Answer::ForeignInlinePolicy(
                role.clone(),
                policy.clone(),
                Facet::from_option(
                    role_of(&role.account, &role.name)
                        .and_then(|found| found.policies.get(policy).cloned()),
                ),
            ),
            Question::ForeignAttachedPolicies(role) => Answer::ForeignAttachedPolicies(
                role.clone(),
                Facet::from_option(role_of(&role.account, &role.name).map(|found| {
                    let attached = found.attached.iter().cloned();
                    attached.map(ManagedPolicyArn::OfAccount).collect()
                })),
            ),
            Question::ManagedVersion(_, policy) => {
                let found = self.boundaries.get(&policy.to_string());
                let version = found.map(|_| "v1".to_owned());
                Answer::ManagedVersion(policy.clone(), Facet::from_option(version))
            }
            Question::ManagedDocument { policy, .. } => {
                let found = self.boundaries.get(&policy.to_string());
                Answer::ManagedDocument(policy.clone(), Facet::from_option(found.cloned()))
            }
        }
    }

    /// All that a role may do.
    pub fn permissions(&self, role: &WorldRole) -> Vec<Statement> {
        let attached = role
            .attached
            .iter()
            .filter_map(|policy| self.policies.get(policy))
            .map(|policy| &policy.versions[&policy.default]);
        role.policies
            .values()
            .chain(attached)
            .flat_map(Document::statements)
            .collect()
    }

    fn role(&mut self, account: &AccountId, role: &RoleName) -> Result<&mut WorldRole, Failure> {
        match self.roles.get_mut(&(account.clone(), role.clone())) {
            Some(found) => Ok(found),
            None => refuse(FailureKind::NotFound, "NoSuchEntity"),
        }
    }

    /// Objects that fail are never retried by S3, so that every rule of ours that acts has to be covered by its permissions at all times.
    pub fn uncovered(&self, installation: &InstallationId) -> Vec<String> {
        let mut missing = vec![];
        for (source, bucket) in &self.buckets {
            let Some(configuration) = &bucket.configuration else {
                continue;
            };
            for rule in configuration
                .rules
                .iter()
                .filter(|rule| rule.mark(installation).is_some())
            {
                let id = rule.id.clone().unwrap_or_default();
                let Some(role) = self
                    .roles
                    .values()
                    .find(|role| Some(&role.role.arn) == configuration.role_arn().as_ref())
                else {
                    missing.push(format!("{id}: no role"));
                    continue;
                };
                let destination = destination_of(rule, source).unwrap();
                let prefix = rule.selected_prefix();
                let statements = self.permissions(role);
                let covers = |statements: &[Statement], action: &str, resource: &str| {
                    let covered = |statement: &Statement| {
                        let matches = |pattern: &str| {
                            pattern
                                .strip_suffix('*')
                                .map_or(pattern == resource, |start| resource.starts_with(start))
                        };
                        statement.strings("Action").contains(&action)
                            && statement.strings("Resource").into_iter().any(matches)
                    };
                    statements.iter().any(covered)
                };
                let replica = format!("{}/{prefix}", destination.arn());
                if !covers(
                    &statements,
                    "s3:GetObjectVersionForReplication",
                    &format!("{}/{prefix}", source.arn()),
                ) {
                    missing.push(format!("{id}: may not read"));
                }
                if !covers(&statements, "s3:ReplicateObject", &replica) {
                    missing.push(format!("{id}: may not write"));
                }
                let policy = self
                    .buckets
                    .get(&destination)
                    .and_then(|found| found.policy.clone())
                    .unwrap_or_default();
                if destination.account != source.account
                    && !covers(&policy.statements(), "s3:ReplicateObject", &replica)
                {
                    missing.push(format!("{id}: the destination does not let it write"));
                }
                let key = rule
                    .destination
                    .encryption_configuration
                    .as_ref()
                    .and_then(|encryption| encryption.replica_kms_key_id.as_deref());
                if let Some(key) = key {
                    if !covers(&statements, "kms:Encrypt", key) {
                        missing.push(format!("{id}: may not encrypt"));
                    }
                    let arn: KeyArn = key.parse().unwrap();
                    let caller = Caller::Session(Session {
                        role: role.role.arn.clone(),
                        role_id: None,
                        name: "s3-replication".to_owned(),
                        bounded: Some(false),
                    });
                    let service = format!("s3.{}.amazonaws.com", arn.region);
                    let context = Context::complete()
                        .with("kms:ViaService", service)
                        .with("aws:PrincipalArn", role.role.arn.to_string());
                    let lets = |action: &&str| {
                        let request = Request {
                            caller: &caller,
                            action,
                            resource: &Resource::one(key),
                            context: &context,
                        };
                        let found = self.keys.get(&arn);
                        found.is_some_and(|key| key.policy.grants(&request, |_| false).is_yes())
                    };
                    let actions = ["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"];
                    if !actions.iter().all(lets) {
                        missing.push(format!("{id}: the key does not let it encrypt"));
                    }
                }
            }
        }
        missing
    }
}

/// A process of the operator that works on the world: what it wrote lately is forgotten with it.
pub struct Process<'a> {
    pub world: &'a World,
    pub editors: &'a Editors,
    /// That of the source bucket that is visited.
    pub role: SourceRole,
    /// When the visit began.
    pub since: Moment,
}

impl Cloud for Process<'_> {
    async fn ask(&self, question: &Question) -> Answer {
        let seen = |policy: SharedPolicy, read: Facet<Document>| match read {
            Facet::Present(document) => Facet::Present(self.editors.seen(
                &policy,
                &self.role,
                document,
                &super::cluster::installation(),
            )),
            other => other,
        };
        match self.world.ask(question).await {
            Answer::BucketPolicy(bucket, read) => {
                let read = seen(SharedPolicy::OfBucket(bucket.clone()), read);
                Answer::BucketPolicy(bucket, read)
            }
            Answer::KeyPolicy(key, read) => {
                let read = seen(SharedPolicy::OfKey(key.clone()), read);
                Answer::KeyPolicy(key, read)
            }
            other => other,
        }
    }

    fn note(&self, uses: &Used) -> bool {
        self.editors.note(&self.role, uses, self.since)
    }

    async fn apply(&self, step: &Step) -> Result<(), Failure> {
        for roles in step.edit().iter().flat_map(|edit| edit.other_users()) {
            let state = self.world.readable();
            let known: Vec<_> = state
                .roles
                .values()
                .filter(|known| OwnRoles::with(&known.role.arn, &roles.installation) == roles)
                .collect();
            let list = known.iter().map(|known| known.role.arn.clone()).collect();
            let read = async |role: RoleArn| {
                let found = known.iter().find(|known| known.role.arn == role);
                Ok(found
                    .map(|found| state.permissions(found))
                    .unwrap_or_default())
            };
            let uses = &self.editors.uses;
            let clock = || self.editors.now();
            uses.learn(
                &roles,
                &Slot::default(),
                std::future::ready(Ok(list)),
                read,
                clock,
            )
            .await?;
        }
        let write = async |document| self.world.apply(&step.with_policy(document)).await;
        match step {
            Step::PutBucketPolicy { bucket, edit, .. }
            | Step::DeleteBucketPolicy { bucket, edit, .. } => {
                let read = self.world.read(|state| {
                    state
                        .buckets
                        .get(bucket)
                        .and_then(|found| found.policy.clone())
                });
                self.editors
                    .edit(&SharedPolicy::OfBucket(bucket.clone()), edit, read, write)
                    .await
            }
            Step::PutKeyPolicy { key, edit, .. } => {
                let read = self
                    .world
                    .read(|state| state.keys.get(key).map(|found| found.policy.clone()));
                self.editors
                    .edit(&SharedPolicy::OfKey(key.clone()), edit, read, write)
                    .await
            }
            Step::PutReplication {
                bucket, existing, ..
            } => {
                self.world.is_unchanged(bucket, existing.as_ref()).await?;
                self.world.apply(step).await
            }
            Step::DeleteReplication {
                bucket, existing, ..
            } => {
                self.world.is_unchanged(bucket, Some(existing)).await?;
                self.world.apply(step).await
            }
            _ => self.world.apply(step).await,
        }
    }
}

impl World {
    /// What reads show now.
    fn readable(&self) -> State {
        let former = self
            .former
            .lock()
            .unwrap()
            .clone()
            .filter(|_| self.faults.lock().unwrap().lag);
        former.unwrap_or_else(|| self.snapshot())
    }

    async fn read<T>(&self, of: impl FnOnce(&State) -> Option<T>) -> Result<Option<T>, Failure> {
        self.take_time().await;
        Ok(of(&self.readable()))
    }

    async fn is_unchanged(
        &self,
        bucket: &OwnedBucket,
        planned_on: Option<&Configuration>,
    ) -> Result<(), Failure> {
        let read = self
            .read(|state| {
                state
                    .buckets
                    .get(bucket)
                    .and_then(|found| found.configuration.clone())
            })
            .await?;
        if read.as_ref() == planned_on {
            Ok(())
        } else {
            refuse(FailureKind::Outdated, "the configuration was changed")
        }
    }

    pub async fn ask(&self, question: &Question) -> Answer {
        self.take_time().await;
        *self.calls.lock().unwrap() += 1;
        self.readable().answer(question)
    }

    async fn apply(&self, step: &Step) -> Result<(), Failure> {
        self.take_time().await;
        let faults = *self.faults.lock().unwrap();
        let mut written = self.written.lock().unwrap();
        if faults.crash_after.is_some_and(|most| written.len() >= most) {
            return refuse(FailureKind::Transient, "the process is gone");
        }
        let mut state = self.state.lock().unwrap();
        assert!(
            !account_of(step).is_some_and(|account| state.external.contains(account)),
            "{step} is in an external account"
        );
        let name: &str = step.into();
        if let Some(kind) = state.failing.get(name) {
            return refuse(*kind, format!("{name} was answered so"));
        }
        if let Some(failure) =
            account_of(step).and_then(|account| state.denied(step.into(), account))
        {
            return Err(failure);
        }
        let uncovered = |state: &State| {
            self.installation
                .as_ref()
                .map(|installation| state.uncovered(installation))
                .unwrap_or_default()
        };
        let before = uncovered(&state);
        let former = state.clone();
        state.write(step)?;
        *self.former.lock().unwrap() = Some(former);
        written.push(step.clone());
        let rule = |missing: &String| missing.split(':').next().unwrap_or_default().to_owned();
        let before: BTreeSet<_> = before.iter().map(rule).collect();
        let worse: Vec<_> = uncovered(&state)
            .into_iter()
            .filter(|missing| !before.contains(&rule(missing)))
            .collect();
        assert!(worse.is_empty(), "after \"{step}\": {worse:?}");
        if faults.lose_answer_of == Some(written.len()) {
            return refuse(FailureKind::Transient, "the answer was lost");
        }
        Ok(())
    }
}
