//! What exists: accounts with their roles, users and keys; buckets with their objects.

use std::collections::BTreeMap;

use documents::{
    arns::{PolicyArn, RoleArn},
    configuration::Configuration,
    names::{AccountId, Partition},
    policy::Document,
};
use serde_json::{Value, json};

use crate::decisions::Decisions;

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Buckets by name: names are unique in AWS.
    pub buckets: BTreeMap<String, Bucket>,
    /// Keys by ARN.
    pub keys: BTreeMap<String, Key>,
    /// Aliases, by ARN, with the ARN of the key.
    pub aliases: BTreeMap<String, String>,
    /// Roles by account and name.
    pub roles: BTreeMap<(AccountId, String), Role>,
    /// Users by account and name.
    pub users: BTreeMap<(AccountId, String), User>,
    /// Texts that S3 refuses if all of a list are in one replication configuration: for tests of what no page says.
    pub refused: Vec<Vec<String>>,
    /// Managed policies by ARN.
    pub policies: BTreeMap<String, ManagedPolicy>,
    /// Multipart uploads that are not complete, by their IDs.
    pub uploads: BTreeMap<String, Upload>,
    /// Access keys of users and sessions.
    pub credentials: BTreeMap<String, Identity>,
    /// Decisions that were made, if they are recorded.
    pub decisions: Decisions,
    /// What was replicated by rules with metrics.
    pub operations: Vec<Operation>,
    /// Milliseconds since the start.
    pub now: u64,
    /// Milliseconds until a new role can be named as a principal.
    pub propagation: u64,
    /// Regions that nothing is replicated to now.
    pub out_regions: Vec<String>,
    /// Numbers that were given out, so that no two things have the same ID.
    pub numbers: u64,
}

/// An object that was replicated by a rule, or not.
#[derive(Clone, Debug)]
pub struct Operation {
    /// When, in milliseconds since the start.
    pub at: u64,
    /// The source bucket.
    pub source: String,
    /// The ID of the rule.
    pub rule: String,
    /// Whether it failed.
    pub failed: bool,
    /// Milliseconds since the upload.
    pub lag: u64,
}

/// Who an access key is of.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A user of an account.
    User(AccountId, String),
    /// A session of a role, with its name.
    Session(RoleArn, String),
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The account that owns it.
    pub owner: AccountId,
    /// Its Region.
    pub region: String,
    /// `None`: versioning was never switched on. Else whether it is enabled, not suspended.
    pub versioning: Option<bool>,
    /// Its policy: roles are in it by their unique IDs.
    pub policy: Option<Document>,
    /// Its replication configuration.
    pub replication: Option<Configuration>,
    /// `ServerSideEncryptionConfiguration`.
    pub encryption: Value,
    /// `BucketOwnerEnforced`, `BucketOwnerPreferred` or `ObjectWriter`.
    pub ownership: String,
    /// `BucketOwner` or `Requester`.
    pub payer: String,
    /// Whether Object Lock is enabled.
    pub object_lock: bool,
    /// Its default retention, as the `Rule` of the Object Lock configuration.
    pub retention: Option<Value>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The versions of each object, the newest last.
    pub objects: BTreeMap<String, Vec<Version>>,
}

impl Bucket {
    /// A new bucket, as `CreateBucket` makes it without further headers.
    #[must_use]
    pub fn new(owner: AccountId, region: &str) -> Self {
        Self {
            owner,
            region: region.to_owned(),
            versioning: None,
            policy: None,
            replication: None,
            encryption: Self::default_encryption(),
            ownership: "BucketOwnerEnforced".to_owned(),
            payer: "BucketOwner".to_owned(),
            object_lock: false,
            retention: None,
            tags: BTreeMap::new(),
            objects: BTreeMap::new(),
        }
    }

    /// That of a new bucket ("Blocking or unblocking SSE-C for a general purpose bucket" in the S3 User Guide: since April 2026).
    #[must_use]
    pub fn default_encryption() -> Value {
        json!({"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": false,
            "BlockedEncryptionTypes": {"EncryptionType": "SSE-C"},
        }]})
    }
}

/// A version of an object, or a delete marker.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// Its ID.
    pub id: String,
    /// Its content; `None`: a delete marker.
    pub body: Option<Vec<u8>>,
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: String,
    /// The ARN of the KMS key.
    pub key: Option<String>,
    /// Whether an S3 Bucket Key was used.
    pub bucket_key: bool,
    /// Whether it was uploaded in parts.
    pub multipart: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was uploaded, in milliseconds since the start.
    pub at: u64,
    /// Whether Object Lock retains it.
    pub retained: bool,
    /// Metadata, and other headers that come back.
    pub headers: BTreeMap<String, String>,
    /// The account that owns it.
    pub owner: Option<AccountId>,
    /// `PENDING`, `COMPLETED`, `FAILED` or `REPLICA`.
    pub replication: Option<&'static str>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// A multipart upload: the headers of its start, and its parts.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The parts, by their numbers.
    pub parts: BTreeMap<u32, Vec<u8>>,
}

/// A KMS key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The account.
    pub owner: AccountId,
    /// The Region.
    pub region: String,
    /// `Enabled`, `Disabled`, `PendingDeletion` and so on.
    pub state: String,
    /// Its policy: roles are in it by their unique IDs.
    pub policy: Document,
    /// `SYMMETRIC_DEFAULT` and so on.
    pub spec: String,
    /// Whether AWS manages it.
    pub managed_by_aws: bool,
    /// Its description.
    pub description: String,
}

/// A role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its ARN.
    pub arn: RoleArn,
    /// Its unique ID.
    pub id: String,
    /// Its trust policy: roles are in it by their unique IDs.
    pub trust: Document,
    /// Its inline policies.
    pub inline: BTreeMap<String, Document>,
    /// The ARNs of its managed policies.
    pub attached: Vec<String>,
    /// Its permissions boundary.
    pub boundary: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its description.
    pub description: String,
    /// When it was created, in milliseconds since the start.
    pub created: u64,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its unique ID.
    pub id: String,
    /// Its inline policies.
    pub inline: BTreeMap<String, Document>,
}

/// A managed policy.
#[derive(Clone, Debug)]
pub struct ManagedPolicy {
    /// Its ARN.
    pub arn: PolicyArn,
    /// Its versions.
    pub versions: BTreeMap<u32, Document>,
    /// The default version.
    pub default: u32,
    /// The number of the next version.
    pub next: u32,
}

impl State {
    /// The next number that was not given out.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// An ID as those of IAM: a prefix and capital letters and digits.
    pub fn unique_id(&mut self, prefix: &str) -> String {
        format!(
            "{prefix}{:017X}",
            self.number().wrapping_mul(0x9E37_79B9_7F4A_7C15)
        )
        .chars()
        .take(21)
        .collect()
    }

    /// The default version of a managed policy: an account's, or one of AWS's own.
    #[must_use]
    pub fn managed(&self, arn: &str) -> Option<Document> {
        if let Some(policy) = self.policies.get(arn) {
            return policy.versions.get(&policy.default).cloned();
        }
        let statement = match arn.rsplit('/').next()? {
            "AdministratorAccess" => r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#,
            "PowerUserAccess" => {
                r#"{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"}"#
            }
            _ => return None,
        };
        arn.contains(":iam::aws:policy/").then_some(())?;
        Document::parse(&format!(
            r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#
        ))
        .ok()
    }

    /// The account that an access key is of, or nothing.
    #[must_use]
    pub fn account_of(&self, key: &str) -> String {
        match self.credentials.get(key) {
            Some(Identity::User(account, _)) => account.to_string(),
            Some(Identity::Session(role, _)) => role.account.to_string(),
            None => key
                .parse::<AccountId>()
                .map(|account| account.to_string())
                .unwrap_or_default(),
        }
    }

    /// The role with that ARN.
    #[must_use]
    pub fn role(&self, arn: &RoleArn) -> Option<&Role> {
        let role = self
            .roles
            .get(&(arn.account.clone(), arn.name.to_string()))?;
        (role.arn == *arn).then_some(role)
    }

    /// All policies of a role.
    #[must_use]
    pub fn policies_of(&self, role: &Role) -> Vec<Document> {
        let attached = role.attached.iter().filter_map(|arn| self.managed(arn));
        role.inline.values().cloned().chain(attached).collect()
    }

    /// The key with which S3 encrypts for an account that names none: AWS manages it, and anyone of the account uses it through S3 ("AWS managed
    /// keys" in the KMS Developer Guide).
    pub fn key_of_s3(&mut self, region: &str, account: &AccountId) -> String {
        let alias = format!("arn:aws:kms:{region}:{account}:alias/aws/s3");
        if let Some(arn) = self.aliases.get(&alias) {
            return arn.clone();
        }
        let arn = format!("arn:aws:kms:{region}:{account}:key/{:032x}", self.number());
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"*"}},"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*","kms:GenerateDataKey*","kms:CreateGrant","kms:DescribeKey"],"Resource":"*","Condition":{{"StringEquals":{{"kms:CallerAccount":"{account}","kms:ViaService":"s3.{region}.amazonaws.com"}}}}}},{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{account}:root"}},"Action":["kms:Describe*","kms:Get*","kms:List*"],"Resource":"*"}}]}}"#
        );
        let key = Key {
            owner: account.clone(),
            region: region.to_owned(),
            state: "Enabled".to_owned(),
            policy: Document::parse(&policy).unwrap_or_default(),
            spec: "SYMMETRIC_DEFAULT".to_owned(),
            managed_by_aws: true,
            description: "Default key that protects my S3 objects when no other key is defined"
                .to_owned(),
        };
        self.keys.insert(arn.clone(), key);
        self.aliases.insert(alias, arn.clone());
        arn
    }

    /// The partition of everything here.
    pub const PARTITION: Partition = Partition::Aws;
}
