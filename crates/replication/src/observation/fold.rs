//! Adds AWS's answers to what was observed.

use crate::{
    names::OwnedBucket,
    observed::{Bucket, Facet, Observed, Scope},
    question::Answer,
};

impl Observed {
    /// Adds an answer to a question of `scope`.
    pub fn fold(&mut self, scope: &Scope, answer: Answer) {
        self.take(scope, answer);
        self.role_policies = self.role_read.policies(scope, &self.role);
    }

    fn take(&mut self, scope: &Scope, answer: Answer) {
        match answer {
            Answer::Region(bucket, read) => self.bucket(bucket).region = read,
            Answer::Versioning(bucket, read) => self.bucket(bucket).versioning = read,
            Answer::ObjectLock(bucket, read) => self.bucket(bucket).traits.object_lock = read,
            Answer::RequesterPays(bucket, read) => self.bucket(bucket).traits.requester_pays = read,
            Answer::OwnerEnforced(bucket, read) => self.bucket(bucket).traits.owner_enforced = read,
            Answer::Tags(bucket, read) => self.bucket(bucket).tags = read,
            Answer::BucketPolicy(bucket, read) if bucket.account == scope.source.account => {
                self.bucket(bucket).traits.policy = read;
            }
            Answer::BucketPolicy(bucket, read) => self.bucket(bucket).policy = read,
            Answer::Configuration(bucket, read) if bucket == scope.source => {
                self.unknown_elements = read
                    .present()
                    .map(|(_, unknown)| unknown.clone())
                    .unwrap_or_default();
                self.configuration = read.map(|(configuration, _)| configuration);
            }
            Answer::Configuration(bucket, read) => {
                self.bucket(bucket).traits.syncs_back = match read {
                    Facet::Absent => Facet::Present(false),
                    read => {
                        read.map(|(configuration, _)| configuration.syncs_to(&scope.source.arn()))
                    }
                };
            }
            Answer::DefaultEncryption(read) => self.default_encryption = read,
            Answer::Key(query, read) => {
                self.keys.insert(query, read);
            }
            Answer::KeyPolicy(key, read) => {
                self.key_policies.insert(key, read);
            }
            Answer::Role(read) => self.role = read,
            Answer::InlinePolicy(role_arn, read) => {
                if self.role.present().is_some_and(|role| role.arn == role_arn) {
                    self.role_read.inline = read;
                } else {
                    self.merged.insert(role_arn, read);
                }
            }
            Answer::AttachedPolicies(read) => self.role_read.attached = read,
            Answer::PolicyVersions(policy_arn, read) => {
                self.role_read
                    .managed
                    .entry(policy_arn)
                    .or_default()
                    .versions = read;
            }
            Answer::DefaultVersion(_, Facet::Absent) => self.boundary = Facet::Absent,
            Answer::DefaultVersion(_, Facet::Failed(failure)) => {
                self.boundary = Facet::Failed(failure);
            }
            Answer::DefaultVersion(_, read) => self.boundary_version = read,
            Answer::PolicyDocument(policy_arn, read) => {
                if scope.boundary.as_ref() == Some(&policy_arn) {
                    self.boundary = read;
                } else {
                    self.role_read
                        .managed
                        .entry(policy_arn)
                        .or_default()
                        .document = read;
                }
            }
        }
    }

    fn bucket(&mut self, bucket: OwnedBucket) -> &mut Bucket {
        self.buckets.entry(bucket).or_default()
    }
}
