//! An account that the platform team listed, and what its grants allow a namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use wildmatch::WildMatch;

use crate::{
    Problem,
    arns::{ManagedPolicyArn, RoleArn},
    keys::KeyArn,
    names::{AccountId, BucketName, InvalidName, Partition, Prefix, Region},
};
use api::{
    AwsAccount,
    aws_account::{
        self, Access, AwsPartition, Grant, Permission, Policies, PolicyMode, RequestsPerSecond,
    },
    condition::{ConditionType, Reason},
    duration::duration,
};

/// An account, as an `AWSAccount` describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The name of the `AWSAccount`.
    pub name: String,
    /// The account's id.
    pub id: AccountId,
    /// The account's partition.
    pub partition: Partition,
    /// The Region of calls that no bucket or key decides; by default, the operator's.
    pub region: Option<Region>,
    /// The organization that it is in, if that is known.
    pub organization: Option<Organization>,
    /// Whether the operator has credentials in it.
    pub access: Access,
    /// The role that the operator assumes.
    pub assume_role: Option<AssumeRole>,
    /// Which policies the operator manages.
    pub policies: Policies,
    /// The roles that the operator creates.
    pub roles: Roles,
    /// The time between two reads of replication metrics, if they are read.
    pub metrics_period: Option<Duration>,
    /// Calls a second at most, if there is a bound.
    pub requests_per_second: Option<RequestsPerSecond>,
    contact: Option<String>,
    grants: Vec<Grant>,
}

/// Whether an account is in an organization of AWS Organizations, and in which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Organization {
    /// It is in none.
    None,
    /// Its ID.
    Id(String),
}

impl From<String> for Organization {
    fn from(id: String) -> Self {
        if id == "None" {
            Self::None
        } else {
            Self::Id(id)
        }
    }
}

/// The role that the operator assumes in an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumeRole {
    /// Its ARN.
    pub role: RoleArn,
    /// Sent as `sts:ExternalId`, which its trust policy requires.
    pub external_id: String,
}

/// The roles that the operator creates in an account, and those that it may merge into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The path of the operator's roles, which begins and ends with a slash.
    pub path: String,
    /// Their permissions boundary.
    pub boundary: Option<ManagedPolicyArn>,
    /// Their tags, in addition to the operator's own.
    pub tags: BTreeMap<String, String>,
    /// The unmanaged roles to which the operator may add an inline policy.
    pub mergeable: BTreeSet<RoleArn>,
    /// Whether the operator creates the roles, or only checks those that others create.
    pub management: PolicyMode,
    /// The roles that others create, by source bucket.
    pub named: BTreeMap<BucketName, RoleArn>,
}

impl Roles {
    fn new(spec: aws_account::Roles) -> Result<Self, InvalidName> {
        let boundary = spec.permissions_boundary.map(|arn| arn.parse());
        let mergeable = spec.mergeable_role_arns.iter().map(|arn| arn.parse());
        let named = spec
            .named
            .iter()
            .map(|named| Ok((named.bucket.parse()?, named.role_arn.parse()?)));
        Ok(Self {
            management: spec.management,
            named: named.collect::<Result<_, InvalidName>>()?,
            path: spec.path,
            boundary: boundary.transpose()?,
            tags: spec.tags,
            mergeable: mergeable.collect::<Result<_, _>>()?,
        })
    }
}

impl Roles {
    /// Whether others create the roles.
    #[must_use]
    pub fn are_checked(&self) -> bool {
        self.management == PolicyMode::Check
    }
}

/// The labels of a namespace.
pub type Labels = BTreeMap<String, String>;

impl Account {
    /// The same without a bound of calls, which changes nothing of what is allowed.
    #[must_use]
    pub(super) fn without_pace(&self) -> Self {
        Self {
            requests_per_second: None,
            metrics_period: None,
            ..self.clone()
        }
    }

    pub(super) fn new(name: &str, object: &AwsAccount) -> Result<Self, Problem> {
        let spec = object.spec.clone();
        let partition = match spec.partition {
            AwsPartition::Aws => Partition::Aws,
            AwsPartition::AwsCn => Partition::AwsCn,
            AwsPartition::AwsUsGov => Partition::AwsUsGov,
        };
        let invalid = |field: &'static str| {
            move |error: InvalidName| {
                Problem::new(
                    ConditionType::Accepted,
                    Reason::InvalidSpec,
                    format!("AWSAccount {name}: {field}: {error}"),
                )
            }
        };
        let id = spec.account_id.parse().map_err(invalid("spec.accountID"))?;
        let assumed = |spec: aws_account::AssumeRole| {
            Ok(AssumeRole {
                role: spec.role_arn.parse()?,
                external_id: spec.external_id,
            })
        };
        let assume_role = spec.assume_role.map(assumed).transpose();
        let metrics_period = spec.replication_metrics.map(|metrics| {
            let what = || format!("AWSAccount {name}: spec.replicationMetrics.period: {} is no duration: use hours, minutes and seconds, as in 15m", metrics.period);
            duration(&metrics.period).ok_or_else(what)
        });
        let metrics_period = metrics_period.transpose();
        let region = spec.region.map(|region| region.parse::<Region>());
        Ok(Self {
            name: name.to_owned(),
            id,
            partition,
            region: region.transpose().map_err(invalid("spec.region"))?,
            organization: spec.organization_id.map(Organization::from),
            access: spec.access,
            assume_role: assume_role.map_err(invalid("spec.assumeRole"))?,
            policies: spec.policies,
            roles: Roles::new(spec.roles).map_err(invalid("spec.roles"))?,
            metrics_period: metrics_period.map_err(|message| {
                Problem::new(ConditionType::Accepted, Reason::InvalidSpec, message)
            })?,
            requests_per_second: spec.requests_per_second,
            contact: spec.contact,
            grants: spec.grants,
        })
    }

    pub(super) fn grants<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.selects(labels))
    }

    /// Every glob of source buckets, destination buckets and keys that some namespace is granted.
    #[must_use]
    pub fn granted_globs(&self) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        self.globs_of(|_| true)
    }

    /// The same of grants that allow `permission`.
    #[must_use]
    pub fn globs_with(&self, permission: Permission) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        self.globs_of(|grant| grant.allow.contains(&permission))
    }

    fn globs_of(&self, is_meant: impl Fn(&Grant) -> bool) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        let grants = || self.grants.iter().filter(|grant| is_meant(grant));
        (
            grants()
                .flat_map(|grant| &grant.sources)
                .map(|source| source.bucket.as_str())
                .collect(),
            grants()
                .flat_map(|grant| &grant.destinations)
                .map(|destination| destination.bucket.as_str())
                .collect(),
            grants()
                .flat_map(|grant| &grant.kms_keys)
                .map(String::as_str)
                .collect(),
        )
    }

    /// Whether some namespace may replicate from the account.
    #[must_use]
    pub fn has_sources(&self) -> bool {
        self.grants.iter().any(|grant| !grant.sources.is_empty())
    }

    /// Whether any grant allows any namespace to use `permission`.
    #[must_use]
    pub fn grants_to_anyone(&self, permission: Permission) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.allow.contains(&permission))
    }

    pub(super) fn refusal(&self, condition: ConditionType, what: &str) -> Problem {
        let ask = self.whom_to_ask();
        Problem::new(
            condition,
            Reason::NotGranted,
            format!(
                "no grant of AWSAccount {} allows this namespace to {what}: {ask} for a grant",
                self.name
            ),
        )
    }

    /// Whom to ask for more, as the end of a message.
    #[must_use]
    pub fn whom_to_ask(&self) -> String {
        self.contact.as_ref().map_or_else(
            || "ask the platform team".to_owned(),
            |contact| format!("ask {contact}"),
        )
    }

    /// Whether data of `bucket` under `prefixes` may be replicated to `destination`.
    ///
    /// # Errors
    /// What no grant allows, and whom to ask.
    pub fn allow_source(
        &self,
        labels: &Labels,
        bucket: &BucketName,
        prefixes: &[&Prefix],
        destination: &Self,
    ) -> Result<(), Problem> {
        let sources: Vec<_> = self
            .grants(labels)
            .flat_map(|grant| &grant.sources)
            .filter(|source| glob(&source.bucket, bucket.as_str()))
            .collect();
        if sources.is_empty() {
            return Err(self.refusal(
                ConditionType::Accepted,
                &format!("replicate from bucket {bucket}"),
            ));
        }
        let to_destination: Vec<_> = sources
            .into_iter()
            .filter(|source| match &source.destination_account_names {
                Some(names) => names.contains(&destination.name),
                None => self.id == destination.id,
            })
            .collect();
        if to_destination.is_empty() {
            return Err(self.refusal(
                ConditionType::Accepted,
                &format!(
                    "replicate from bucket {bucket} to AWSAccount {} (destinationAccountNames)",
                    destination.name
                ),
            ));
        }
        let allowed = |prefix: &Prefix| {
            to_destination.iter().any(|source| match &source.prefixes {
                Some(prefixes) => prefixes
                    .iter()
                    .any(|granted| prefix.as_str().starts_with(granted.as_str())),
                None => true,
            })
        };
        match prefixes.iter().find(|prefix| !allowed(prefix)) {
            Some(prefix) if prefix.as_str().is_empty() => Err(self.refusal(
                ConditionType::Accepted,
                &format!(
                    "replicate all of bucket {bucket} (grants cover only some of its prefixes)"
                ),
            )),
            Some(prefix) => Err(self.refusal(
                ConditionType::Accepted,
                &format!("replicate prefix \"{prefix}\" of bucket {bucket}"),
            )),
            None => Ok(()),
        }
    }

    /// Whether data may be replicated into `bucket`.
    ///
    /// # Errors
    /// What no grant allows, and whom to ask.
    pub fn allow_destination(&self, labels: &Labels, bucket: &BucketName) -> Result<(), Problem> {
        let granted = self
            .grants(labels)
            .flat_map(|grant| &grant.destinations)
            .any(|destination| glob(&destination.bucket, bucket.as_str()));
        if granted {
            Ok(())
        } else {
            Err(self.refusal(
                ConditionType::Accepted,
                &format!("replicate into bucket {bucket}"),
            ))
        }
    }

    /// Whether `key` may be used.
    ///
    /// # Errors
    /// What no grant allows, and whom to ask.
    pub fn allow_key(&self, labels: &Labels, key: &KeyArn) -> Result<(), Problem> {
        let arn = key.to_string();
        let granted = self
            .grants(labels)
            .flat_map(|grant| &grant.kms_keys)
            .any(|pattern| glob(pattern, &arn));
        if granted {
            Ok(())
        } else {
            Err(self.refusal(ConditionType::KeysReady, &format!("use key {arn}")))
        }
    }

    /// Whether `permission` may be asked for.
    ///
    /// # Errors
    /// What no grant allows, and whom to ask.
    pub fn allow(&self, labels: &Labels, permission: Permission) -> Result<(), Problem> {
        let granted = self
            .grants(labels)
            .any(|grant| grant.allow.contains(&permission));
        let name: &str = permission.into();
        if granted {
            Ok(())
        } else {
            Err(self.refusal(ConditionType::Accepted, &format!("ask for {name} (allow)")))
        }
    }
}

pub(super) fn glob(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}
