//! The accounts that the platform team listed, and what their grants allow a namespace.

use std::collections::{BTreeMap, BTreeSet};

use wildmatch::WildMatch;

use crate::{
    Problem,
    arns::{BoundaryArn, RoleArn},
    keys::KeyArn,
    names::{AccountId, BucketName, InvalidName, Partition, Prefix, fingerprint},
};
use api::{
    AwsAccount,
    aws_account::{self, Access, AwsPartition, Grant, Permission, Policies},
    condition::{ConditionType, Reason},
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
    /// Whether the operator has credentials in it.
    pub access: Access,
    /// The role that the operator assumes.
    pub assume_role: Option<AssumeRole>,
    /// Which policies the operator manages.
    pub policies: Policies,
    /// The roles that the operator creates.
    pub roles: Roles,
    contact: Option<String>,
    grants: Vec<Grant>,
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
    pub boundary: Option<BoundaryArn>,
    /// Their tags, in addition to the operator's own.
    pub tags: BTreeMap<String, String>,
    /// The unmanaged roles to which the operator may add an inline policy.
    pub mergeable: BTreeSet<RoleArn>,
}

impl Roles {
    fn new(spec: aws_account::Roles) -> Result<Self, InvalidName> {
        let boundary = spec.permissions_boundary.map(|arn| arn.parse());
        let mergeable = spec.mergeable_role_arns.iter().map(|arn| arn.parse());
        Ok(Self {
            path: spec.path,
            boundary: boundary.transpose()?,
            tags: spec.tags,
            mergeable: mergeable.collect::<Result<_, _>>()?,
        })
    }
}

/// The labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// All accounts by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts(BTreeMap<String, Result<Account, Problem>>);

impl Accounts {
    /// Reads the `AWSAccount`s. If several name one account, the oldest counts, so that none can be replaced.
    #[must_use]
    pub fn new<'a>(objects: impl IntoIterator<Item = &'a AwsAccount>) -> Self {
        let mut objects: Vec<_> = objects.into_iter().collect();
        let age = |account: &AwsAccount| {
            account
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0)
        };
        objects.sort_by_key(|account| (age(account), account.metadata.name.clone()));
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        let mut accounts = BTreeMap::new();
        for object in objects {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let holder = *first.entry(&object.spec.account_id).or_insert(name);
            let account = if holder == name {
                Account::new(name, object)
            } else {
                Err(Problem::new(
                    ConditionType::Accepted,
                    Reason::DuplicateAccount,
                    format!(
                        "AWSAccount {name} names account {}, which the older AWSAccount {holder} already names: use that one",
                        object.spec.account_id
                    ),
                ))
            };
            accounts.insert(name.to_owned(), account);
        }
        Self(accounts)
    }

    /// A fingerprint of these accounts' specs: if it changes, what was allowed may no longer be.
    #[must_use]
    pub fn fingerprint(&self, names: &BTreeSet<&str>) -> String {
        let accounts: Vec<_> = names
            .iter()
            .map(|name| format!("{:?}", self.0.get(*name)))
            .collect();
        fingerprint(&accounts.iter().map(String::as_str).collect::<Vec<_>>(), 16)
    }

    /// The account of that name.
    ///
    /// # Errors
    /// When no `AWSAccount` of that name exists, or it can't be used.
    pub fn by_name(&self, name: &str) -> Result<&Account, Problem> {
        match self.0.get(name) {
            Some(Ok(account)) => Ok(account),
            Some(Err(problem)) => Err(Problem::new(
                ConditionType::Accepted,
                Reason::AccountNotReady,
                problem.message.clone(),
            )),
            None => Err(Problem::new(
                ConditionType::Accepted,
                Reason::AccountNotFound,
                format!(
                    "AWSAccount {name} does not exist: correct the name, or ask the platform team for it"
                ),
            )),
        }
    }

    /// Why the account of that name can't be used.
    #[must_use]
    pub fn problem(&self, name: &str) -> Option<&Problem> {
        self.0.get(name)?.as_ref().err()
    }

    /// The account with that ID.
    #[must_use]
    pub fn by_id(&self, id: &AccountId) -> Option<&Account> {
        self.all().find(|account| &account.id == id)
    }

    /// The account with that ID, if the operator may make calls in it.
    #[must_use]
    pub fn managed(&self, id: &AccountId) -> Option<&Account> {
        self.by_id(id)
            .filter(|account| account.access == Access::Managed)
    }

    /// All accounts that can be used, by name.
    pub fn all(&self) -> impl Iterator<Item = &Account> {
        self.0.values().filter_map(|account| account.as_ref().ok())
    }
}

impl Account {
    fn new(name: &str, object: &AwsAccount) -> Result<Self, Problem> {
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
        Ok(Self {
            name: name.to_owned(),
            id,
            partition,
            access: spec.access,
            assume_role: assume_role.map_err(invalid("spec.assumeRole"))?,
            policies: spec.policies,
            roles: Roles::new(spec.roles).map_err(invalid("spec.roles"))?,
            contact: spec.contact,
            grants: spec.grants,
        })
    }

    fn grants<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.selects(labels))
    }

    /// Every glob of source buckets, destination buckets and keys that some namespace is granted.
    #[must_use]
    pub fn granted_globs(&self) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        let grants = || self.grants.iter();
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

    fn refusal(&self, condition: ConditionType, what: &str) -> Problem {
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

fn glob(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, id: &str, grants: serde_json::Value) -> AwsAccount {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name},
            "spec": {"accountID": id, "contact": "#storage", "grants": grants},
        }))
        .expect("an AWSAccount")
    }

    fn labels() -> Labels {
        [(
            "kubernetes.io/metadata.name".to_owned(),
            "finance".to_owned(),
        )]
        .into()
    }

    fn check(
        grants: serde_json::Value,
        bucket: &str,
        prefix: &str,
        destination: &str,
    ) -> Result<(), String> {
        let objects = [
            account("prod", "111111111111", grants),
            account("dr", "222222222222", serde_json::json!([])),
        ];
        let accounts = Accounts::new(&objects);
        let source = accounts.by_name("prod").expect("prod");
        let destination = accounts.by_name(destination).expect("destination");
        source
            .allow_source(
                &labels(),
                &bucket.parse().expect("bucket"),
                &[&prefix.parse().expect("prefix")],
                destination,
            )
            .map_err(|problem| problem.message)
    }

    fn finance(sources: &serde_json::Value) -> serde_json::Value {
        serde_json::json!([{"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "finance"}}, "sources": sources}])
    }

    #[test]
    fn nothing_listed_nothing_allowed() {
        let error = check(serde_json::json!([]), "finance-a", "Tax", "dr").expect_err("refused");
        assert_eq!(
            error,
            "no grant of AWSAccount prod allows this namespace to replicate from bucket finance-a: ask #storage for a grant"
        );
    }

    #[test]
    fn globs_match_whole_names() {
        let grants = finance(
            &serde_json::json!([{"bucket": "finance-*", "destinationAccountNames": ["dr"]}]),
        );
        assert_eq!(check(grants.clone(), "finance-a", "", "dr"), Ok(()));
        check(grants, "my-finance-a", "", "dr").expect_err("the glob begins at the beginning");
    }

    #[test]
    fn data_goes_only_to_listed_accounts_and_by_default_stays() {
        let listed =
            finance(&serde_json::json!([{"bucket": "*", "destinationAccountNames": ["other"]}]));
        check(listed, "finance-a", "", "dr").expect_err("not listed");
        let unlisted = finance(&serde_json::json!([{"bucket": "*"}]));
        assert_eq!(check(unlisted.clone(), "finance-a", "", "prod"), Ok(()));
        check(unlisted, "finance-a", "", "dr").expect_err("leaves the account");
    }

    #[test]
    fn a_prefix_lies_within_a_granted_one() {
        let grants = finance(&serde_json::json!([{"bucket": "*", "prefixes": ["Tax"]}]));
        assert_eq!(
            check(grants.clone(), "finance-a", "Tax/2024", "prod"),
            Ok(())
        );
        check(grants.clone(), "finance-a", "Ta", "prod").expect_err("wider");
        check(grants, "finance-a", "", "prod").expect_err("all of it");
    }

    #[test]
    fn a_grant_is_for_the_namespaces_that_it_selects() {
        for selector in [
            serde_json::json!({}),
            serde_json::json!({"matchLabels": {}}),
            serde_json::json!({"matchLabels": {"kubernetes.io/metadata.name": "hr"}}),
            serde_json::json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}),
            serde_json::json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["finance"]}]}),
            serde_json::json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Like", "values": ["finance"]}]}),
        ] {
            let grants =
                serde_json::json!([{"namespaces": selector, "sources": [{"bucket": "*"}]}]);
            check(grants, "finance-a", "", "prod").expect_err("another namespace's grant");
        }
    }

    #[test]
    fn the_first_of_two_that_name_one_account_counts() {
        let mut late = account("a-late", "111111111111", serde_json::json!([]));
        let mut early = account("early", "111111111111", serde_json::json!([]));
        let at = |second| {
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                jiff::Timestamp::constant(second, 0),
            ))
        };
        late.metadata.creation_timestamp = at(2);
        early.metadata.creation_timestamp = at(1);
        let accounts = Accounts::new([&late, &early]);
        assert!(accounts.by_name("early").is_ok());
        assert_eq!(
            accounts.by_name("a-late").expect_err("a duplicate").reason,
            Reason::AccountNotReady
        );
        assert_eq!(
            accounts
                .by_id(&"111111111111".parse().expect("id"))
                .map(|account| account.name.as_str()),
            Some("early")
        );
    }
}
