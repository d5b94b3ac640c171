//! The reads of a visit, in parallel if they don't depend on each other: what is read, how deep, and in which order.

use std::{collections::BTreeSet, future::Future};

use futures::future::join_all;

use super::{aws::AwsCloud, read::Read};
use crate::replication::{
    compose::ledger,
    configuration::Configuration,
    merge::roles_to_read,
    names::{KeyArn, OwnedBucket, Region, role_name},
    observed::{
        Bucket, DefaultEncryption, Depth, Facet, KeyDescription, KeyQuery, Observed, Role, Scope,
        Traits, UnknownElement,
    },
    policy::Document,
    role_policies::RolePolicies,
};

pub(super) async fn observe(cloud: &AwsCloud, scope: &Scope, seen: &Observed) -> Observed {
    let look = Observation { cloud, scope, seen };
    let destinations = scope
        .destinations
        .iter()
        .map(|bucket| look.destination(bucket));
    let (source, (role, role_policies), destinations, boundary) = futures::join!(
        look.source(),
        look.role(),
        join_all(destinations),
        look.boundary()
    );
    let (bucket, (configuration, unknown_elements), default_encryption) = source;
    let destinations = look
        .object_lock_of(
            destinations,
            bucket.traits.object_lock == Facet::Present(true),
        )
        .await;
    let theirs = roles_to_read(scope, configuration.present());
    let merged = join_all(theirs.iter().map(|arn| look.merged_policy(arn))).await;
    let merged = theirs.into_iter().zip(merged).collect();
    let depth = scope.depth;
    let mut observed = Observed {
        depth,
        default_encryption,
        configuration,
        unknown_elements,
        role,
        role_policies,
        boundary,
        merged,
        ..Observed::default()
    };
    let (ledger_buckets, ledger_keys) = ledger(
        &scope.installation,
        &scope.source,
        observed.configuration.present(),
        &observed.role_statements(),
    );
    let further: Vec<_> = ledger_buckets
        .difference(&scope.destinations)
        .filter(|bucket| cloud.accounts.managed(&bucket.account).is_some())
        .collect();
    let further_read = join_all(further.iter().map(|bucket| look.destination(bucket))).await;
    observed.buckets.insert(scope.source.clone(), bucket);
    observed
        .buckets
        .extend(scope.destinations.iter().cloned().zip(destinations));
    observed
        .buckets
        .extend(further.into_iter().cloned().zip(further_read));
    look.keys(&mut observed, ledger_keys).await;
    observed
}

struct Observation<'a> {
    cloud: &'a AwsCloud,
    scope: &'a Scope,
    seen: &'a Observed,
}

impl Observation<'_> {
    /// What was already seen, or what `read` returns if it `matters` and the scope is that deep.
    async fn at<T: Clone>(
        &self,
        depth: Depth,
        matters: bool,
        seen: Facet<T>,
        read: impl Future<Output = Read<T>>,
    ) -> Facet<T> {
        match seen {
            Facet::Unread if matters && self.scope.depth >= depth => read.await.into(),
            seen => seen,
        }
    }

    fn seen_of(&self, bucket: &OwnedBucket) -> Bucket {
        self.seen.buckets.get(bucket).cloned().unwrap_or_default()
    }

    async fn region(&self, bucket: &OwnedBucket) -> Facet<Region> {
        self.at(
            Depth::Foundation,
            true,
            self.seen_of(bucket).region,
            self.cloud.region(bucket),
        )
        .await
    }

    async fn source(
        &self,
    ) -> (
        Bucket,
        (Facet<Configuration>, Vec<UnknownElement>),
        Facet<DefaultEncryption>,
    ) {
        let (cloud, scope, bucket) = (self.cloud, self.scope, &self.scope.source);
        let seen = self.seen_of(bucket);
        let region = self.region(bucket).await;
        let Some(at) = region.present() else {
            return (
                Bucket {
                    region,
                    ..Bucket::default()
                },
                (Facet::Unread, vec![]),
                Facet::Unread,
            );
        };
        let default_encryption = self.seen.default_encryption.clone();
        let (versioning, default_encryption, object_lock, policy, configuration, tags) = futures::join!(
            self.at(
                Depth::Foundation,
                !scope.removing,
                seen.versioning,
                cloud.versioning(bucket, at)
            ),
            self.at(
                Depth::Foundation,
                scope.default_encryption,
                default_encryption,
                cloud.default_encryption(bucket, at)
            ),
            self.at(
                Depth::Traits,
                !scope.removing,
                seen.traits.object_lock,
                cloud.object_lock(bucket, at)
            ),
            self.at(
                Depth::Traits,
                !scope.removing,
                seen.traits.policy,
                cloud.bucket_policy(bucket, at)
            ),
            self.at(
                Depth::Everything,
                true,
                Facet::Unread,
                cloud.configuration(bucket, at)
            ),
            self.at(
                Depth::Everything,
                scope.tags,
                Facet::Unread,
                cloud.tags(bucket, at)
            ),
        );
        let traits = Traits {
            object_lock,
            policy,
            ..Traits::default()
        };
        let unknown = configuration
            .present()
            .map(|(_, unknown)| unknown.clone())
            .unwrap_or_default();
        let configuration = configuration.map(|(configuration, _)| configuration);
        (
            Bucket {
                region,
                versioning,
                policy: Facet::Unread,
                tags,
                traits,
            },
            (configuration, unknown),
            default_encryption,
        )
    }

    async fn destination(&self, bucket: &OwnedBucket) -> Bucket {
        let (cloud, scope) = (self.cloud, self.scope);
        let seen = self.seen_of(bucket);
        let region = self.region(bucket).await;
        let Some(at) = region.present() else {
            return Bucket {
                region,
                ..Bucket::default()
            };
        };
        // Within one account the role's own policy is enough, so the bucket's policy is not written, but it can deny.
        let across = bucket.account != scope.source.account;
        let matters = !scope.removing && scope.destinations.contains(bucket);
        let traits = seen.traits;
        let (
            versioning,
            policy,
            policy_in_account,
            requester_pays,
            owner_enforced,
            syncs_back,
            tags,
        ) = futures::join!(
            self.at(
                Depth::Foundation,
                !scope.removing,
                seen.versioning,
                cloud.versioning(bucket, at)
            ),
            self.at(
                Depth::Policies,
                across,
                seen.policy,
                cloud.bucket_policy(bucket, at)
            ),
            self.at(
                Depth::Traits,
                matters && !across,
                traits.policy,
                cloud.bucket_policy(bucket, at)
            ),
            // Requester Pays is rare, so that it is asked last.
            self.at(
                Depth::Everything,
                matters && across,
                traits.requester_pays,
                cloud.requester_pays(bucket, at)
            ),
            self.at(
                Depth::Traits,
                matters && scope.ownership.contains(bucket),
                traits.owner_enforced,
                cloud.owner_enforced(bucket, at)
            ),
            self.at(
                Depth::Traits,
                matters && scope.synced.contains(bucket),
                traits.syncs_back,
                cloud.syncs_to(bucket, at, &scope.source)
            ),
            self.at(
                Depth::Everything,
                scope.tags,
                Facet::Unread,
                cloud.tags(bucket, at)
            ),
        );
        let traits = Traits {
            requester_pays,
            owner_enforced,
            object_lock: traits.object_lock,
            syncs_back,
            policy: policy_in_account,
        };
        Bucket {
            region,
            versioning,
            policy,
            tags,
            traits,
        }
    }

    /// Adds whether Object Lock is enabled on the destinations, which only matters if it is `on` for the source.
    async fn object_lock_of(&self, destinations: Vec<Bucket>, on: bool) -> Vec<Bucket> {
        let read =
            self.scope
                .destinations
                .iter()
                .zip(destinations)
                .map(async |(name, mut bucket)| {
                    if let (true, Some(region), Facet::Unread) =
                        (on, bucket.region.present(), &bucket.traits.object_lock)
                    {
                        bucket.traits.object_lock =
                            self.cloud.object_lock(name, region).await.into();
                    }
                    bucket
                });
        join_all(read).await
    }

    async fn boundary(&self) -> Facet<Document> {
        let Some(arn) = self
            .scope
            .boundary
            .as_ref()
            .filter(|_| !self.scope.removing)
        else {
            return Facet::Unread;
        };
        self.at(
            Depth::Traits,
            true,
            self.seen.boundary.clone(),
            self.cloud.boundary(&self.scope.source.account, arn),
        )
        .await
    }

    async fn role(&self) -> (Facet<Role>, Facet<RolePolicies>) {
        let (source, name) = (&self.scope.source, &self.scope.role);
        let role = self
            .at(
                Depth::Everything,
                true,
                Facet::Unread,
                self.cloud.role(&source.account, name),
            )
            .await;
        let policies = match &role {
            Facet::Present(role) => self.cloud.role_policies(source, name, role).await.into(),
            Facet::Absent => Facet::Absent,
            Facet::Unread | Facet::Failed(_) => Facet::Unread,
        };
        (role, policies)
    }

    /// The operator's inline policy on an unmanaged role.
    async fn merged_policy(&self, arn: &str) -> Facet<Document> {
        match role_name(arn) {
            Some(role) => self
                .cloud
                .inline_policy(&self.scope.source.account, &role, &self.scope.role)
                .await
                .into(),
            None => Facet::Absent,
        }
    }

    /// Reads keys that objects name, and their policies; of keys that only have statements of the operator, just the policies.
    async fn keys(&self, observed: &mut Observed, ledger_keys: BTreeSet<KeyArn>) {
        let default = match &observed.default_encryption {
            Facet::Present(DefaultEncryption::Kms(reference)) => Some(KeyQuery {
                reference: reference.clone(),
                beside: self.scope.source.clone(),
            }),
            _ => None,
        };
        let queries: BTreeSet<_> = self.scope.keys.iter().cloned().chain(default).collect();
        let described = join_all(
            queries
                .iter()
                .map(|query| self.key(query, observed.region(&query.beside))),
        )
        .await;
        observed.keys = queries.into_iter().zip(described).collect();
        let named = observed
            .keys
            .values()
            .filter_map(Facet::present)
            .map(|description| description.arn.clone());
        let arns: BTreeSet<_> = named
            .chain(ledger_keys)
            .filter(|key| self.cloud.accounts.managed(&key.account).is_some())
            .collect();
        let policies = arns.iter().map(|key| {
            let seen = self.seen.key_policies.get(key).cloned().unwrap_or_default();
            self.at(Depth::Policies, true, seen, self.cloud.key_policy(key))
        });
        let policies = join_all(policies).await;
        observed.key_policies = arns.into_iter().zip(policies).collect();
    }

    async fn key(&self, query: &KeyQuery, region: Option<&Region>) -> Facet<KeyDescription> {
        let seen = self.seen.keys.get(query).cloned().unwrap_or_default();
        let Some(region) = region else { return seen };
        let reference =
            query
                .reference
                .clone()
                .beside(query.beside.partition, &query.beside.account, region);
        let (Some(account), Some(region)) = (reference.account(), reference.region()) else {
            return seen;
        };
        let readable = self.cloud.accounts.managed(account).is_some();
        self.at(
            Depth::Foundation,
            readable,
            seen,
            self.cloud.key(&reference, account, region),
        )
        .await
    }
}
