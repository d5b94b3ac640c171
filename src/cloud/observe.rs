//! The reads of a visit, side by side where nothing depends on the other: one function for each facet.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled, ObjectOwnership, Payer, ServerSideEncryption};
use futures::future::join_all;

use super::{
    aws::AwsCloud,
    calls::action,
    convert::{configuration_from_sdk, iam_document},
    error::Call,
    raw::{Body, unknown_elements},
};
use crate::replication::{
    compose::{TAG_POLICIES, ledger},
    configuration::Configuration,
    merge::roles_to_read,
    names::{KeyArn, KeyReference, ManagedPolicyName, OwnedBucket, Region, RoleName, path_of_role, role_name},
    observed::{
        Bucket, DefaultEncryption, Facet, Failure, FailureKind, KeyDescription, KeyQuery, Observed, Role, Scope, Traits, UnknownElement,
    },
    permissions::{MOST_POLICIES, ManagedPolicy, PolicyOwner, RolePolicies},
    policy::Document,
};

pub(super) async fn observe(cloud: &AwsCloud, scope: &Scope) -> Observed {
    let facets = Facets { cloud, scope };
    let destinations = scope.destinations.iter().map(|bucket| facets.destination(bucket));
    let (source, (role, role_policies), destinations, boundary) =
        futures::join!(facets.source(), facets.role(), join_all(destinations), facets.boundary());
    let (bucket, (configuration, unknown_elements), default_encryption) = source;
    let destinations = facets.object_lock_of(destinations, bucket.traits.object_lock == Facet::Present(true)).await;
    let theirs = roles_to_read(scope, configuration.present());
    let merged = join_all(theirs.iter().map(|arn| facets.merged_policy(arn))).await;
    let merged = theirs.into_iter().zip(merged).collect();
    let mut observed =
        Observed { default_encryption, configuration, unknown_elements, role, role_policies, boundary, merged, ..Observed::default() };
    let (ledger_buckets, ledger_keys) =
        ledger(&scope.installation, &scope.source, observed.configuration.present(), &observed.permissions());
    let further: Vec<_> =
        ledger_buckets.difference(&scope.destinations).filter(|bucket| cloud.accounts.managed(&bucket.account).is_some()).collect();
    let further_read = join_all(further.iter().map(|bucket| facets.destination(bucket))).await;
    observed.buckets.insert(scope.source.clone(), bucket);
    observed.buckets.extend(scope.destinations.iter().cloned().zip(destinations));
    observed.buckets.extend(further.into_iter().cloned().zip(further_read));
    facets.keys(&mut observed, ledger_keys).await;
    observed
}

struct Facets<'a> {
    cloud: &'a AwsCloud,
    scope: &'a Scope,
}

impl Facets<'_> {
    async fn source(&self) -> (Bucket, (Facet<Configuration>, Vec<UnknownElement>), Facet<DefaultEncryption>) {
        let bucket = &self.scope.source;
        let region = self.region(bucket).await;
        let Some(at) = region.present() else { return (Bucket { region, ..Bucket::default() }, (Facet::Unread, vec![]), Facet::Unread) };
        let (versioning, configuration, encryption, tags, traits) = futures::join!(
            self.versioning(bucket, at),
            self.configuration(bucket, at),
            self.default_encryption(at),
            self.tags(bucket, at),
            self.traits_of_source(at)
        );
        (Bucket { region, versioning, policy: Facet::Unread, tags, traits }, configuration, encryption)
    }

    async fn destination(&self, bucket: &OwnedBucket) -> Bucket {
        let region = self.region(bucket).await;
        let Some(at) = region.present() else { return Bucket { region, ..Bucket::default() } };
        let policy = async {
            // Within one account the role's own policy is enough.
            if bucket.account == self.scope.source.account { Facet::Unread } else { self.bucket_policy(bucket, at).await }
        };
        let (versioning, policy, tags, traits) =
            futures::join!(self.versioning(bucket, at), policy, self.tags(bucket, at), self.traits_of_destination(bucket, at));
        Bucket { region, versioning, policy, tags, traits }
    }

    /// What is known of a bucket already, or need not be.
    fn known_traits(&self, bucket: &OwnedBucket) -> Option<Traits> {
        if self.scope.removing {
            return Some(Traits::default());
        }
        self.scope.known.as_ref()?.traits.get(bucket).cloned()
    }

    async fn traits_of_source(&self, region: &Region) -> Traits {
        let bucket = &self.scope.source;
        if let Some(known) = self.known_traits(bucket) {
            return known;
        }
        let (object_lock, policy) = futures::join!(self.object_lock(bucket, region), self.bucket_policy(bucket, region));
        Traits { object_lock, policy, ..Traits::default() }
    }

    async fn traits_of_destination(&self, bucket: &OwnedBucket, region: &Region) -> Traits {
        if let Some(known) = self.known_traits(bucket).or_else(|| (!self.scope.destinations.contains(bucket)).then(Traits::default)) {
            return known;
        }
        let across = bucket.account != self.scope.source.account;
        let (requester_pays, owner_enforced, policy, syncs_back) = futures::join!(
            async { if across { self.requester_pays(bucket, region).await } else { Facet::Unread } },
            async { if self.scope.ownership.contains(bucket) { self.owner_enforced(bucket, region).await } else { Facet::Unread } },
            async { if across { Facet::Unread } else { self.bucket_policy(bucket, region).await } },
            async { if self.scope.synced.contains(bucket) { self.syncs_back(bucket, region).await } else { Facet::Unread } },
        );
        Traits { requester_pays, owner_enforced, object_lock: Facet::Unread, syncs_back, policy }
    }

    /// Adds whether Object Lock is on for the destinations, which only matters where it is `on` for the source.
    async fn object_lock_of(&self, destinations: Vec<Bucket>, on: bool) -> Vec<Bucket> {
        let read = self.scope.destinations.iter().zip(destinations).map(async |(name, mut bucket)| {
            if let (true, Some(region), Facet::Unread) = (on, bucket.region.present(), &bucket.traits.object_lock) {
                bucket.traits.object_lock = self.object_lock(name, region).await;
            }
            bucket
        });
        join_all(read).await
    }

    async fn requester_pays(&self, bucket: &OwnedBucket, region: &Region) -> Facet<bool> {
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_BUCKET_REQUEST_PAYMENT, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_request_payment().bucket(bucket.name.as_str());
        match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => Facet::Present(answer.payer() == Some(&Payer::Requester)),
            // Emulators that know no Requester Pays list the bucket instead.
            Err(error) if error.raw_response().is_some_and(|response| response.status().is_success()) => Facet::Absent,
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn owner_enforced(&self, bucket: &OwnedBucket, region: &Region) -> Facet<bool> {
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_BUCKET_OWNERSHIP_CONTROLS, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_ownership_controls().bucket(bucket.name.as_str());
        match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => {
                let rules = answer.ownership_controls().map(aws_sdk_s3::types::OwnershipControls::rules).unwrap_or_default();
                Facet::Present(rules.iter().any(|rule| *rule.object_ownership() == ObjectOwnership::BucketOwnerEnforced))
            }
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn syncs_back(&self, bucket: &OwnedBucket, region: &Region) -> Facet<bool> {
        let (read, _) = self.configuration(bucket, region).await;
        match read {
            Facet::Present(configuration) => Facet::Present(configuration.syncs_to(&self.scope.source.arn())),
            Facet::Absent => Facet::Present(false),
            Facet::Unread => Facet::Unread,
            Facet::Failed(failure) => Facet::Failed(failure),
        }
    }

    async fn object_lock(&self, bucket: &OwnedBucket, region: &Region) -> Facet<bool> {
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call =
            Call { action: action::GET_BUCKET_OBJECT_LOCK_CONFIGURATION, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_object_lock_configuration().bucket(bucket.name.as_str());
        match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => {
                let enabled = answer.object_lock_configuration().and_then(|lock| lock.object_lock_enabled());
                Facet::Present(enabled == Some(&ObjectLockEnabled::Enabled))
            }
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    /// The document of the permissions boundary, which is a managed policy of the account's or AWS's own.
    async fn boundary(&self) -> Facet<Document> {
        let Some(arn) = self.scope.boundary.as_ref().filter(|_| !self.scope.removing) else { return Facet::Unread };
        if let Some(known) = self.scope.known.as_ref().and_then(|known| known.boundary.clone()) {
            return Facet::Present(known);
        }
        let session = match self.cloud.session(&self.scope.source.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_POLICY, on: format!("policy {arn}"), caller: &session.caller };
        let policy = match session.iam.get_policy().policy_arn(arn).send().await {
            Ok(policy) => policy,
            Err(error) => return absent_or_failed(call.failed(&error)),
        };
        let version = policy.policy().and_then(|policy| policy.default_version_id()).unwrap_or_default();
        let call = Call { action: action::GET_POLICY_VERSION, ..call };
        match session.iam.get_policy_version().policy_arn(arn).version_id(version).send().await {
            Ok(answer) => {
                let text = answer.policy_version().and_then(aws_sdk_iam::types::PolicyVersion::document).unwrap_or("{}");
                readable(iam_document(text), &call)
            }
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn tags(&self, bucket: &OwnedBucket, region: &Region) -> Facet<BTreeMap<String, String>> {
        if !self.scope.tags {
            return Facet::Unread;
        }
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_BUCKET_TAGGING, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_tagging().bucket(bucket.name.as_str());
        match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => Facet::Present(answer.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()),
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn region(&self, bucket: &OwnedBucket) -> Facet<Region> {
        if let Some(region) = self.scope.known.as_ref().and_then(|known| known.regions.get(bucket)) {
            return Facet::Present(region.clone());
        }
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_BUCKET_LOCATION, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let home = self.cloud.aws.home(bucket.partition);
        let request = session.s3(&home).get_bucket_location().bucket(bucket.name.as_str()).expected_bucket_owner(bucket.account.as_str());
        match request.send().await {
            // Two old names are left from the time when Regions had none ("GetBucketLocation" in the S3 API Reference).
            Ok(answer) => {
                let named = match answer.location_constraint().map_or("", |constraint| constraint.as_str()) {
                    "" | "US" => "us-east-1",
                    "EU" => "eu-west-1",
                    region => region,
                };
                match named.parse() {
                    Ok(region) => Facet::Present(region),
                    Err(error) => {
                        Facet::Failed(Failure { kind: FailureKind::Invalid, action: call.action.into(), message: error.to_string() })
                    }
                }
            }
            Err(error) => {
                // S3 sends a client of the wrong Region away, but says where the bucket is.
                let response = error.raw_response();
                let moved = response.filter(|response| matches!(response.status().as_u16(), 301 | 400));
                let region =
                    moved.and_then(|response| response.headers().get("x-amz-bucket-region")).and_then(|region| region.parse().ok());
                region.map_or_else(|| absent_or_failed(call.failed(&error)), Facet::Present)
            }
        }
    }

    async fn versioning(&self, bucket: &OwnedBucket, region: &Region) -> Facet<bool> {
        if self.scope.removing {
            return Facet::Unread;
        }
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_BUCKET_VERSIONING, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_versioning().bucket(bucket.name.as_str());
        match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => Facet::Present(answer.status() == Some(&BucketVersioningStatus::Enabled)),
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn configuration(&self, bucket: &OwnedBucket, region: &Region) -> (Facet<Configuration>, Vec<UnknownElement>) {
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return (Facet::Failed(failure), vec![]),
        };
        let call = Call { action: action::GET_REPLICATION_CONFIGURATION, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_replication().bucket(bucket.name.as_str());
        let body = Body::default();
        match request.expected_bucket_owner(bucket.account.as_str()).customize().interceptor(body.clone()).send().await {
            Ok(answer) => {
                let Some(read) = answer.replication_configuration().map(configuration_from_sdk) else { return (Facet::Absent, vec![]) };
                match unknown_elements(&body.text(), &read) {
                    Ok(unknown) => (Facet::Present(read), unknown),
                    Err(error) => {
                        let message = format!("the replication configuration of {} is not readable as XML: {error}", call.on);
                        (Facet::Failed(Failure { kind: FailureKind::Invalid, action: call.action.into(), message }), vec![])
                    }
                }
            }
            Err(error) => (absent_or_failed(call.failed(&error)), vec![]),
        }
    }

    async fn default_encryption(&self, region: &Region) -> Facet<DefaultEncryption> {
        let bucket = &self.scope.source;
        if !self.scope.default_encryption {
            return Facet::Unread;
        }
        if let Some(known) = self.scope.known.as_ref().and_then(|known| known.default_encryption.clone()) {
            return Facet::Present(known);
        }
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_ENCRYPTION_CONFIGURATION, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_encryption().bucket(bucket.name.as_str());
        let answer = match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => answer,
            Err(error) => return absent_or_failed(call.failed(&error)),
        };
        let rules = answer.server_side_encryption_configuration().map(aws_sdk_s3::types::ServerSideEncryptionConfiguration::rules);
        let default = rules.unwrap_or_default().iter().find_map(|rule| rule.apply_server_side_encryption_by_default());
        let Some(default) =
            default.filter(|default| matches!(default.sse_algorithm(), ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse))
        else {
            return Facet::Present(DefaultEncryption::S3);
        };
        let named = default.kms_master_key_id().unwrap_or("alias/aws/s3");
        // S3 also takes a bare key id, which is a key of the bucket's account and Region.
        let bare = format!("arn:{}:kms:{region}:{}:key/{named}", bucket.partition, bucket.account);
        match named.parse().or_else(|_| bare.parse::<KeyReference>()) {
            Ok(reference) => Facet::Present(DefaultEncryption::Kms(reference)),
            Err(error) => Facet::Failed(Failure { kind: FailureKind::Invalid, action: call.action.into(), message: error.to_string() }),
        }
    }

    async fn bucket_policy(&self, bucket: &OwnedBucket, region: &Region) -> Facet<Document> {
        let session = match self.cloud.session(&bucket.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_BUCKET_POLICY, on: format!("bucket {}", bucket.name), caller: &session.caller };
        let request = session.s3(region).get_bucket_policy().bucket(bucket.name.as_str());
        match request.expected_bucket_owner(bucket.account.as_str()).send().await {
            Ok(answer) => answer.policy().map_or(Facet::Absent, |text| readable(Document::parse(text), &call)),
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn role(&self) -> (Facet<Role>, Facet<RolePolicies>) {
        let name = &self.scope.role;
        let session = match self.cloud.session(&self.scope.source.account).await {
            Ok(session) => session,
            Err(failure) => return (Facet::Failed(failure), Facet::Unread),
        };
        let call = Call { action: action::GET_ROLE, on: format!("role {name}"), caller: &session.caller };
        let answer = match session.iam.get_role().role_name(name.as_str()).send().await {
            Ok(answer) => answer,
            Err(error) => return (absent_or_failed(call.failed(&error)), Facet::Absent),
        };
        let Some(role) = answer.role() else { return (Facet::Absent, Facet::Absent) };
        let trust = readable(iam_document(role.assume_role_policy_document().unwrap_or("{}")), &call);
        let role = match trust {
            Facet::Present(trust) => Facet::Present(Role {
                arn: role.arn().to_owned(),
                trust,
                tags: role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
                boundary: role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn()).map(ToOwned::to_owned),
            }),
            Facet::Failed(failure) => Facet::Failed(failure),
            Facet::Absent | Facet::Unread => Facet::Absent,
        };
        let policies = match &role {
            Facet::Present(role) => self.role_policies(name, role).await.unwrap_or_else(Facet::Failed),
            _ => Facet::Absent,
        };
        (role, policies)
    }

    async fn role_policies(&self, name: &RoleName, role: &Role) -> Result<Facet<RolePolicies>, Failure> {
        let last = role.tags.get(TAG_POLICIES).and_then(|last| last.parse::<u32>().ok()).unwrap_or_default().min(MOST_POLICIES);
        let path = path_of_role(&role.arn);
        let owner = PolicyOwner::of(&self.scope.source, &path, name);
        let inline = match self.inline_policy(name, name).await {
            Facet::Present(document) => Some(document),
            Facet::Failed(failure) => return Err(failure),
            Facet::Absent | Facet::Unread => None,
        };
        let mut managed = BTreeMap::new();
        if last > 0 {
            let attached = self.attached_policies(name).await?;
            let read = join_all((1..=last).map(|number| self.managed_policy(owner.policy(number), &attached))).await;
            for (number, policy) in (1..=last).zip(read) {
                managed.extend(policy?.map(|policy| (number, policy)));
            }
        }
        let nothing = inline.is_none() && managed.is_empty();
        Ok(if nothing { Facet::Absent } else { Facet::Present(RolePolicies { inline, managed }) })
    }

    /// Our inline policy on a role of somebody else.
    async fn merged_policy(&self, arn: &str) -> Facet<Document> {
        match role_name(arn) {
            Some(role) => self.inline_policy(&role, &self.scope.role).await,
            None => Facet::Absent,
        }
    }

    async fn inline_policy(&self, role: &RoleName, name: &RoleName) -> Facet<Document> {
        let session = match self.cloud.session(&self.scope.source.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_ROLE_POLICY, on: format!("role {role}"), caller: &session.caller };
        match session.iam.get_role_policy().role_name(role.as_str()).policy_name(name.as_str()).send().await {
            Ok(answer) => readable(iam_document(answer.policy_document()), &call),
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }

    async fn attached_policies(&self, name: &RoleName) -> Result<BTreeSet<String>, Failure> {
        let session = self.cloud.session(&self.scope.source.account).await?;
        let call = Call { action: action::LIST_ATTACHED_ROLE_POLICIES, on: format!("role {name}"), caller: &session.caller };
        // A role has at most 20 managed policies, and a page 100 entries.
        let answer =
            session.iam.list_attached_role_policies().role_name(name.as_str()).send().await.map_err(|error| call.failed(&error))?;
        Ok(answer.attached_policies().iter().filter_map(|policy| policy.policy_arn().map(ToOwned::to_owned)).collect())
    }

    async fn managed_policy(&self, name: ManagedPolicyName, attached: &BTreeSet<String>) -> Result<Option<ManagedPolicy>, Failure> {
        let session = self.cloud.session(&name.account).await?;
        let arn = name.to_string();
        let call = Call { action: action::LIST_POLICY_VERSIONS, on: format!("policy {arn}"), caller: &session.caller };
        let versions = match session.iam.list_policy_versions().policy_arn(&arn).send().await.map_err(|error| call.failed(&error)) {
            Ok(answer) => answer.versions().to_vec(),
            Err(failure) if failure.kind == FailureKind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let id = |version: &aws_sdk_iam::types::PolicyVersion| version.version_id().unwrap_or_default().to_owned();
        let Some(version) = versions.iter().find(|version| version.is_default_version()).map(id) else { return Ok(None) };
        let call = Call { action: action::GET_POLICY_VERSION, ..call };
        let answer = session.iam.get_policy_version().policy_arn(&arn).version_id(&version).send().await;
        let answer = answer.map_err(|error| call.failed(&error))?;
        let text = answer.policy_version().and_then(aws_sdk_iam::types::PolicyVersion::document).unwrap_or("{}");
        let document = match readable(iam_document(text), &call) {
            Facet::Present(document) => document,
            Facet::Failed(failure) => return Err(failure),
            Facet::Absent | Facet::Unread => return Ok(None),
        };
        let stale_versions = versions.iter().filter(|version| !version.is_default_version()).map(id).collect();
        Ok(Some(ManagedPolicy { document, version, stale_versions, attached: attached.contains(&arn) }))
    }

    /// Keys that objects name are looked up and their policies read; of keys that only carry statements of ours, just the policies.
    async fn keys(&self, observed: &mut Observed, ledger_keys: BTreeSet<KeyArn>) {
        let default = match &observed.default_encryption {
            Facet::Present(DefaultEncryption::Kms(reference)) => {
                Some(KeyQuery { reference: reference.clone(), beside: self.scope.source.clone() })
            }
            _ => None,
        };
        let queries: BTreeSet<_> = self.scope.keys.iter().cloned().chain(default).collect();
        let described = join_all(queries.iter().map(|query| self.key(query, observed.region(&query.beside)))).await;
        observed.keys = queries.into_iter().zip(described).collect();
        let named = observed.keys.values().filter_map(Facet::present).map(|description| description.arn.clone());
        let arns: BTreeSet<_> = named.chain(ledger_keys).filter(|key| self.cloud.accounts.managed(&key.account).is_some()).collect();
        let policies = join_all(arns.iter().map(|key| self.key_policy(key))).await;
        observed.key_policies = arns.into_iter().zip(policies).collect();
    }

    async fn key(&self, query: &KeyQuery, region: Option<&Region>) -> Facet<KeyDescription> {
        if let Some(known) = self.scope.known.as_ref().and_then(|known| known.keys.get(query)) {
            return Facet::Present(known.clone());
        }
        let Some(region) = region else { return Facet::Unread };
        let reference = query.reference.clone().beside(query.beside.partition, &query.beside.account, region);
        let (Some(account), Some(region)) = (reference.account(), reference.region()) else { return Facet::Unread };
        if self.cloud.accounts.managed(account).is_none() {
            return Facet::Unread;
        }
        let session = match self.cloud.session(account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::DESCRIBE_KEY, on: format!("key {reference}"), caller: &session.caller };
        let answer = match session.kms(region).describe_key().key_id(reference.to_string()).send().await {
            Ok(answer) => answer,
            Err(error) => return absent_or_failed(call.failed(&error)),
        };
        let Some(key) = answer.key_metadata() else { return Facet::Absent };
        match key.arn().unwrap_or_default().parse() {
            Ok(arn) => Facet::Present(KeyDescription {
                arn,
                state: key.key_state().map_or("Enabled", aws_sdk_kms::types::KeyState::as_str).to_owned(),
                symmetric: key.key_spec().is_none_or(|spec| spec.as_str() == "SYMMETRIC_DEFAULT"),
                managed_by_aws: key.key_manager().is_some_and(|manager| manager.as_str() == "AWS"),
            }),
            Err(error) => Facet::Failed(Failure { kind: FailureKind::Invalid, action: call.action.into(), message: error.to_string() }),
        }
    }

    async fn key_policy(&self, key: &KeyArn) -> Facet<Document> {
        let session = match self.cloud.session(&key.account).await {
            Ok(session) => session,
            Err(failure) => return Facet::Failed(failure),
        };
        let call = Call { action: action::GET_KEY_POLICY, on: format!("key {key}"), caller: &session.caller };
        match session.kms(&key.region).get_key_policy().key_id(key.to_string()).policy_name("default").send().await {
            Ok(answer) => answer.policy().map_or(Facet::Absent, |text| readable(Document::parse(text), &call)),
            Err(error) => absent_or_failed(call.failed(&error)),
        }
    }
}

fn absent_or_failed<T>(failure: Failure) -> Facet<T> {
    if failure.kind == FailureKind::NotFound { Facet::Absent } else { Facet::Failed(failure) }
}

fn readable(document: Result<Document, serde_json::Error>, call: &Call<'_>) -> Facet<Document> {
    match document {
        Ok(document) => Facet::Present(document),
        Err(error) => Facet::Failed(Failure {
            kind: FailureKind::Invalid,
            action: call.action.into(),
            message: format!("the policy of {} is not readable as JSON: {error}", call.on),
        }),
    }
}
