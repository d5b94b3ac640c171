//! The `AWSAccount`s of one moment, with their versions.

use std::{collections::BTreeMap, sync::Arc};

use kube::{ResourceExt, runtime::reflector::Store};

use super::kubernetes::AccountVersion;
use crate::{
    api::{AwsAccount, BucketReplication},
    replication::accounts::Accounts,
};

/// The `AWSAccount`s of one moment.
pub(super) struct Known {
    pub(super) accounts: Arc<Accounts>,
    versions: BTreeMap<String, AccountVersion>,
}

impl Known {
    pub(super) fn of(store: &Store<AwsAccount>) -> Self {
        let state = store.state();
        let version = |account: &Arc<AwsAccount>| {
            let version = AccountVersion::of(&account.metadata);
            (account.name_any(), version)
        };
        Self {
            versions: state.iter().map(version).collect(),
            accounts: Arc::new(Accounts::new(state.iter().map(AsRef::as_ref))),
        }
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
