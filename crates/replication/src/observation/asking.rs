//! What to ask AWS next: everything that a visit needs, that was not answered yet, and that can be asked by what was answered.

use std::collections::BTreeSet;

use crate::{
    arns::RoleArn,
    configuration::{Configuration, ReplicationRule},
    keys::KeyArn,
    names::{OwnedBucket, Region},
    observation::ledger::ledger,
    observed::{Bucket, DefaultEncryption, Depth, Facet, KeyQuery, Observed, Scope, Traits},
    question::Question,
    role_policies::PolicyOwner,
};

/// All that `scope` asks for, that was not answered yet, and that can be asked by what was answered. Empty when everything is answered.
#[must_use]
pub fn questions(scope: &Scope, observed: &Observed) -> BTreeSet<Question> {
    let mut asking = Asking {
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
    for bucket in buckets.iter().filter(managed).chain(&scope.destinations) {
        asking.destination(bucket);
    }
    asking.role();
    asking.unmanaged_roles();
    asking.boundary();
    asking.keys(keys);
    asking.questions
}

struct Asking<'a> {
    scope: &'a Scope,
    observed: &'a Observed,
    questions: BTreeSet<Question>,
}

impl Asking<'_> {
    /// Asks if the scope is that deep, the answer `matters` and is not there yet.
    fn at<T>(
        &mut self,
        depth: Depth,
        matters: bool,
        answered: &Facet<T>,
        question: impl FnOnce() -> Question,
    ) {
        if matters && self.scope.depth >= depth && matches!(answered, Facet::Unread) {
            self.questions.insert(question());
        }
    }

    fn seen_of(&self, bucket: &OwnedBucket) -> Bucket {
        self.observed
            .buckets
            .get(bucket)
            .cloned()
            .unwrap_or_default()
    }

    /// What was seen of the bucket, once its Region is known.
    fn located(&mut self, bucket: &OwnedBucket) -> Option<(Bucket, Region)> {
        let seen = self.seen_of(bucket);
        self.at(Depth::Foundation, true, &seen.region, || {
            Question::Region(bucket.clone())
        });
        let region = seen.region.present().cloned()?;
        Some((seen, region))
    }

    fn source(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        let bucket = &scope.source;
        let Some((seen, region)) = self.located(bucket) else {
            return;
        };
        let of = |make: fn(OwnedBucket, Region) -> Question| {
            let (bucket, region) = (bucket.clone(), region.clone());
            move || make(bucket, region)
        };
        let matters = !scope.removing;
        self.at(
            Depth::Foundation,
            matters,
            &seen.versioning,
            of(Question::Versioning),
        );
        self.at(
            Depth::Foundation,
            scope.default_encryption,
            &observed.default_encryption,
            of(Question::Encryption),
        );
        self.at(
            Depth::Traits,
            matters,
            &seen.traits.object_lock,
            of(Question::ObjectLock),
        );
        self.at(
            Depth::Traits,
            matters,
            &seen.traits.policy,
            of(Question::BucketPolicy),
        );
        self.at(
            Depth::Everything,
            true,
            &observed.configuration,
            of(Question::Configuration),
        );
        self.at(
            Depth::Everything,
            scope.tags,
            &seen.tags,
            of(Question::Tags),
        );
    }

    fn destination(&mut self, bucket: &OwnedBucket) {
        let scope = self.scope;
        let Some((seen, region)) = self.located(bucket) else {
            return;
        };
        let of = |make: fn(OwnedBucket, Region) -> Question| {
            let (bucket, region) = (bucket.clone(), region.clone());
            move || make(bucket, region)
        };
        // Within one account the role's own policy is enough, so the bucket's policy is not written, but it can deny.
        let across = bucket.account != scope.source.account;
        let matters = !scope.removing && scope.destinations.contains(bucket);
        let traits = &seen.traits;
        self.at(
            Depth::Foundation,
            !scope.removing,
            &seen.versioning,
            of(Question::Versioning),
        );
        self.at(
            Depth::Policies,
            across,
            &seen.policy,
            of(Question::BucketPolicy),
        );
        self.at(
            Depth::Traits,
            matters && !across,
            &traits.policy,
            of(Question::BucketPolicy),
        );
        self.traits(bucket, &region, &seen.traits);
        self.at(
            Depth::Everything,
            scope.tags,
            &seen.tags,
            of(Question::Tags),
        );
    }

    /// What decides whether a destination can be replicated to.
    fn traits(&mut self, bucket: &OwnedBucket, region: &Region, traits: &Traits) {
        let scope = self.scope;
        let of = |make: fn(OwnedBucket, Region) -> Question| {
            let (bucket, region) = (bucket.clone(), region.clone());
            move || make(bucket, region)
        };
        let across = bucket.account != scope.source.account;
        let matters = !scope.removing && scope.destinations.contains(bucket);
        let takes_sse_c = self.seen_of(&scope.source).traits.blocks_sse_c == Facet::Present(false);
        self.at(
            Depth::Everything,
            matters && takes_sse_c,
            &traits.blocks_sse_c,
            of(Question::Encryption),
        );
        let locked = self.seen_of(&scope.source).traits.object_lock == Facet::Present(true);
        // Requester Pays is rare, so that it is asked last, as is what makes only a note.
        self.at(
            Depth::Everything,
            matters && across,
            &traits.requester_pays,
            of(Question::RequesterPays),
        );
        self.at(
            Depth::Traits,
            matters && scope.ownership.contains(bucket),
            &traits.owner_enforced,
            of(Question::OwnerEnforced),
        );
        self.at(
            Depth::Everything,
            matters && scope.acls.contains(bucket),
            &traits.owner_enforced,
            of(Question::OwnerEnforced),
        );
        self.at(
            Depth::Traits,
            matters && scope.synced.contains(bucket),
            &traits.syncs_back,
            of(Question::Configuration),
        );
        self.at(
            Depth::Traits,
            locked && scope.destinations.contains(bucket),
            &traits.object_lock,
            of(Question::ObjectLock),
        );
    }

    fn role(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        let account = &scope.source.account;
        self.at(Depth::Everything, true, &observed.role, || {
            Question::Role(account.clone(), scope.role.clone())
        });
        let Facet::Present(role) = &observed.role else {
            return;
        };
        let read = &observed.role_read;
        self.at(Depth::Everything, true, &read.inline, || {
            Question::InlinePolicy {
                role: role.arn.clone(),
                policy: scope.role.clone(),
            }
        });
        let numbers = role.managed_policies();
        self.at(
            Depth::Everything,
            !numbers.is_empty(),
            &read.attached,
            || Question::AttachedPolicies(account.clone(), scope.role.clone()),
        );
        let owner = PolicyOwner::of(&scope.source, &role.arn.path, &scope.role);
        for policy in numbers.map(|number| owner.policy(number)) {
            let seen = read.managed.get(&policy).cloned().unwrap_or_default();
            self.at(Depth::Everything, true, &seen.versions, || {
                Question::PolicyVersions(policy.clone())
            });
            if let Facet::Present(versions) = &seen.versions {
                self.at(Depth::Everything, true, &seen.document, || {
                    Question::PolicyDocument {
                        policy,
                        version: versions.default.clone(),
                    }
                });
            }
        }
    }

    fn unmanaged_roles(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        if matches!(observed.configuration, Facet::Unread) {
            return;
        }
        for arn in roles_to_read(scope, observed.configuration.present()) {
            let seen = observed.merged.get(&arn).cloned().unwrap_or_default();
            self.at(Depth::Everything, true, &seen, || Question::InlinePolicy {
                role: arn,
                policy: scope.role.clone(),
            });
        }
    }

    fn boundary(&mut self) {
        let (scope, observed) = (self.scope, self.observed);
        let Some(boundary) = scope.boundary.clone().filter(|_| !scope.removing) else {
            return;
        };
        if !matches!(observed.boundary, Facet::Unread) {
            return;
        }
        let account = scope.source.account.clone();
        match &observed.boundary_version {
            Facet::Present(version) => self.at(Depth::Traits, true, &observed.boundary, || {
                Question::BoundaryDocument {
                    account,
                    boundary,
                    version: version.clone(),
                }
            }),
            unread => self.at(Depth::Traits, true, unread, || {
                Question::BoundaryVersion(account, boundary)
            }),
        }
    }

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

/// The unmanaged roles that may have an inline policy of the operator: if objects ask to merge, those that the platform team lists, and that of
/// a configuration with rules of both.
#[must_use]
pub fn roles_to_read(scope: &Scope, configuration: Option<&Configuration>) -> BTreeSet<RoleArn> {
    let mut roles = if scope.merges {
        scope.mergeable.clone()
    } else {
        BTreeSet::new()
    };
    let Some(configuration) = configuration else {
        return roles;
    };
    let is_ours = |rule: &ReplicationRule| rule.mark(&scope.installation).is_some();
    let (ours, theirs): (Vec<_>, Vec<_>) =
        configuration.rules.iter().partition(|rule| is_ours(rule));
    let unmanaged = configuration
        .role_arn()
        .filter(|role| !ours.is_empty() && role.name != scope.role)
        .filter(|role| !theirs.is_empty() || scope.mergeable.contains(role));
    roles.extend(unmanaged);
    roles
}
