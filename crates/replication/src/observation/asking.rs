//! What to ask AWS next: everything that a visit needs, that was not answered yet, and that can be asked by what was answered.

use std::collections::BTreeSet;

use crate::{
    keys::KeyArn,
    names::OwnedBucket,
    observation::{inquiry::Inquiry, ledger::ledger},
    observed::{DefaultEncryption, Depth, Facet, KeyQuery, Observed, Scope},
    question::Question,
    shared_policy::SharedPolicy,
};

/// All that `scope` asks for, that was not answered yet, and that can be asked by what was answered. Empty when everything is answered.
#[must_use]
pub fn questions(scope: &Scope, observed: &Observed) -> BTreeSet<Question> {
    let mut asking = Inquiry {
        scope,
        observed,
        questions: BTreeSet::new(),
    };
    let (buckets, keys) = ledger(
        &scope.installation,
        &scope.source,
        observed.configuration.present(),
        &observed.role_statements(),
    );
    asking.source();
    let managed = |bucket: &&OwnedBucket| scope.managed.contains(&bucket.account);
    let former = scope.former.iter().filter_map(SharedPolicy::bucket);
    let named = buckets.iter().chain(former).filter(managed);
    for bucket in named.chain(&scope.destinations) {
        asking.destination(bucket);
    }
    asking.role();
    asking.unmanaged_roles();
    asking.boundary();
    asking.foreign_roles();
    asking.keys(
        keys.into_iter()
            .chain(scope.former.iter().filter_map(SharedPolicy::key).cloned())
            .collect(),
    );
    asking.questions
}

impl Inquiry<'_> {
    /// Asks for keys that objects name, and their policies; of keys that only have statements of the operator, just for the policies.
    fn keys(&mut self, ledger_keys: BTreeSet<KeyArn>) {
        let (scope, observed) = (self.scope, self.observed);
        let default = match &observed.default_encryption {
            Facet::Present(DefaultEncryption::Kms(reference)) => Some(KeyQuery {
                reference: reference.clone(),
                beside: scope.source.clone(),
            }),
            _ => None,
        };
        for query in scope.keys.iter().cloned().chain(default) {
            self.key(query);
        }
        let named = observed
            .keys
            .values()
            .filter_map(Facet::present)
            .map(|description| description.arn.clone());
        let keys: BTreeSet<_> = named
            .chain(ledger_keys)
            .filter(|key| scope.managed.contains(&key.account))
            .collect();
        for key in keys {
            let seen = observed.key_policies.get(&key).cloned().unwrap_or_default();
            self.at(Depth::Policies, true, &seen, || Question::KeyPolicy(key));
        }
    }

    fn key(&mut self, query: KeyQuery) {
        let Some(region) = self.observed.region(&query.beside) else {
            return;
        };
        let beside = &query.beside;
        let reference = query
            .reference
            .clone()
            .beside(beside.partition, &beside.account, region);
        let (Some(account), Some(region)) =
            (reference.account().cloned(), reference.region().cloned())
        else {
            return;
        };
        let readable = self.scope.managed.contains(&account);
        let seen = self.observed.keys.get(&query).cloned().unwrap_or_default();
        self.at(Depth::Foundation, readable, &seen, || Question::Key {
            query,
            reference,
            account,
            region,
        });
    }
}
