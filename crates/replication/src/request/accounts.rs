//! The accounts that the platform team listed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Problem,
    names::{AccountId, fingerprint},
};
use api::{
    AwsAccount,
    aws_account::Access,
    condition::{ConditionType, Reason},
};

pub use crate::request::account::{Account, AssumeRole, Labels, Organization, Roles};

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

    /// A fingerprint of these accounts' specs, but for the pace of calls: if it changes, what was allowed may no longer be.
    #[must_use]
    pub fn fingerprint(&self, names: &BTreeSet<&str>) -> String {
        let without_pace = |account: &Result<Account, Problem>| {
            format!("{:?}", account.as_ref().map(Account::without_pace))
        };
        let accounts: Vec<_> = names
            .iter()
            .map(|name| self.0.get(*name).map(without_pace).unwrap_or_default())
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

    /// Whether the account with that ID is in an organization, if that is known.
    #[must_use]
    pub fn organization(&self, id: &AccountId) -> Option<&Organization> {
        self.by_id(id)?.organization.as_ref()
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
