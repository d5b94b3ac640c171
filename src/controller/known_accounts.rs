//! The `AWSAccount`s of one moment, with their versions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{ResourceExt, runtime::reflector::Store};

use super::kubernetes::AccountVersion;
use crate::{
    api::{AwsAccount, BucketReplication},
    replication::accounts::Accounts,
};

/// The `AWSAccount`s, read again for a visit only if one of them changed.
#[derive(Debug, Default)]
pub struct KnownAccounts(Mutex<Option<Arc<Known>>>);

impl KnownAccounts {
    /// Those in the store now.
    pub(super) fn now(&self, store: &Store<AwsAccount>) -> Arc<Known> {
        let state = store.state();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if known.is_of(&state) => Arc::clone(known),
            _ => Arc::clone(last.insert(Arc::new(Known::of(state)))),
        }
    }
}

/// The `AWSAccount`s of one moment.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) accounts: Arc<Accounts>,
    versions: BTreeMap<String, AccountVersion>,
    state: Vec<Arc<AwsAccount>>,
}

impl Known {
    fn of(state: Vec<Arc<AwsAccount>>) -> Self {
        let version = |account: &Arc<AwsAccount>| {
            let version = AccountVersion::of(&account.metadata);
            (account.name_any(), version)
        };
        Self {
            versions: state.iter().map(version).collect(),
            accounts: Arc::new(Accounts::new(state.iter().map(AsRef::as_ref))),
            state,
        }
    }

    /// Whether these are the same objects: the store has another one for each that changed.
    fn is_of(&self, state: &[Arc<AwsAccount>]) -> bool {
        let mut pairs = self.state.iter().zip(state);
        self.state.len() == state.len() && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Those that `objects` name, with their versions.
    pub(super) fn named_by(
        &self,
        objects: &[&Arc<BucketReplication>],
    ) -> BTreeMap<String, Option<AccountVersion>> {
        let named = objects.iter().flat_map(|object| {
            let spec = &object.spec;
            [&spec.source.account_name, &spec.destination.account_name]
        });
        named
            .map(|name| (name.clone(), self.versions.get(name).cloned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector::store, watcher::Event};
    use serde_json::json;

    use super::*;

    fn account(id: &str) -> AwsAccount {
        let account = json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "prod"},
            "spec": {"accountID": id}});
        serde_json::from_value(account).expect("an account")
    }

    /// Grants rest on it: what changed in the store is seen by the next visit.
    #[test]
    fn accounts_are_shared_until_one_changes() {
        let (reader, mut writer) = store();
        let known = KnownAccounts::default();
        let ids = || {
            let accounts = &known.now(&reader).accounts;
            let ids = accounts.all().map(|account| account.id.to_string());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(ids(), Vec::<String>::new());
        writer.apply_watcher_event(&Event::Apply(account("111111111111")));
        assert_eq!(ids(), ["111111111111"]);
        assert!(Arc::ptr_eq(&known.now(&reader), &known.now(&reader)));
        writer.apply_watcher_event(&Event::Apply(account("222222222222")));
        assert_eq!(ids(), ["222222222222"]);
        writer.apply_watcher_event(&Event::Delete(account("222222222222")));
        assert_eq!(ids(), Vec::<String>::new());
    }
}
