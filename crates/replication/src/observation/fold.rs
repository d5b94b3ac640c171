//! Adds AWS's answers to what was observed.

use crate::{
    arns::{ManagedPolicyArn, RoleArn},
    names::OwnedBucket,
    observed::{Bucket, Facet, ForeignRole, ManagedRead, Observed, Scope},
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
                if self.was_versioned && self.configuration.present().is_some() {
                    self.bucket(bucket).versioning = Facet::Present(true);
                }
            }
            Answer::Configuration(bucket, read) => {
                self.bucket(bucket).traits.syncs_back = match read {
                    Facet::Absent => Facet::Present(false),
                    read => {
                        read.map(|(configuration, _)| configuration.syncs_to(&scope.source.arn()))
                    }
                };
            }
            Answer::Encryption(bucket, read) => {
                if bucket == scope.source {
                    self.default_encryption = read.clone().map(|encryption| encryption.default);
                }
                self.bucket(bucket).traits.blocks_sse_c =
                    read.map(|encryption| encryption.blocks_sse_c);
            }
            Answer::Key(query, read) => {
                self.keys.insert(query, read);
            }
            Answer::KeyPolicy(key, read) => {
                self.key_policies.insert(key, read);
            }
            Answer::Role(read) => self.role = read,
            Answer::InlinePolicy(arn, read) => {
                let own = self.role.present().map(|role| &role.arn);
                // IAM finds a role by its name, so that it is the same one, whatever its path is now.
                if own == Some(&arn) || self.known_role.as_ref() == Some(&arn) {
                    self.role_read.inline = read;
                } else {
                    self.merged.insert(arn, read);
                }
            }
            Answer::AttachedPolicies(read) => self.role_read.attached = read,
            Answer::PolicyVersions(policy, read) => {
                self.role_read.managed.entry(policy).or_default().versions = read;
            }
            Answer::PolicyDocument(policy, read) => {
                self.role_read.managed.entry(policy).or_default().document = read;
            }
            Answer::ForeignRole(role, read) => self.foreign(role).role = read,
            Answer::InlinePolicyNames(role, read) => self.foreign(role).names = read,
            Answer::ForeignInlinePolicy(role, policy, read) => {
                self.foreign(role).inline.insert(policy, read);
            }
            Answer::ForeignAttachedPolicies(role, read) => self.foreign(role).attached = read,
            Answer::ManagedVersion(policy, read) => self.managed(policy).version = read,
            Answer::ManagedDocument(policy, read) => self.managed(policy).document = read,
        }
    }

    fn foreign(&mut self, role: RoleArn) -> &mut ForeignRole {
        self.foreign_roles.entry(role).or_default()
    }

    fn managed(&mut self, policy: ManagedPolicyArn) -> &mut ManagedRead {
        self.managed.entry(policy).or_default()
    }

    fn bucket(&mut self, bucket: OwnedBucket) -> &mut Bucket {
        self.buckets.entry(bucket).or_default()
    }
}
