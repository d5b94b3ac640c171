//! Every reason that a condition can have, with when it occurs and what to do.

use strum::{EnumIter, EnumMessage, EnumString, IntoStaticStr};

/// Why a condition has its status. The message says when it occurs, the detailed message what to do about it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumIter,
    EnumMessage,
    EnumString,
    IntoStaticStr,
)]
#[allow(
    missing_docs,
    reason = "the message of each reason is its documentation, and the source of the table in the docs"
)]
pub enum Reason {
    // The condition is True.
    #[strum(
        message = "the object is valid and allowed",
        detailed_message = "nothing"
    )]
    Accepted,
    #[strum(message = "the bucket is ready", detailed_message = "nothing")]
    BucketReady,
    #[strum(
        message = "the keys and their policies are ready",
        detailed_message = "nothing"
    )]
    KeysReady,
    #[strum(
        message = "the spec does not include SSE-KMS objects, so no key is needed",
        detailed_message = "nothing"
    )]
    NoKeysNeeded,
    #[strum(
        message = "the role exists with its trust policy and permissions",
        detailed_message = "nothing"
    )]
    RoleReady,
    #[strum(
        message = "the replication configuration contains the rules",
        detailed_message = "nothing"
    )]
    RulesConfigured,
    #[strum(
        message = "everything that the object needs was read from AWS and is correct",
        detailed_message = "nothing"
    )]
    Ready,
    #[strum(
        message = "S3 replicated the last canary of every rule",
        detailed_message = "nothing"
    )]
    Verified,
    #[strum(
        message = "by S3's metrics, no operation failed, and the latency is within bounds",
        detailed_message = "nothing"
    )]
    Healthy,
    // Not known yet.
    #[strum(
        message = "no canary of the current spec was replicated yet: the object is not ready, or S3 has not replicated the canary",
        detailed_message = "wait; if the message says that a canary is pending for long, see AWS's status of S3 in both Regions"
    )]
    Verifying,
    #[strum(
        message = "the operator has not read the object yet",
        detailed_message = "wait; if the reason does not change, check that the operator is running"
    )]
    Pending,
    #[strum(
        message = "the operator is applying the object",
        detailed_message = "wait"
    )]
    Progressing,
    #[strum(
        message = "another condition is not True yet",
        detailed_message = "check the other conditions"
    )]
    Waiting,
    #[strum(
        message = "spec.mode is Paused",
        detailed_message = "set spec.mode to Enforce to continue"
    )]
    Paused,
    #[strum(
        message = "spec.mode is Observe and status.plan lists steps",
        detailed_message = "read status.plan; set spec.mode to Enforce to apply it"
    )]
    PlanPending,
    #[strum(
        message = "the object is being deleted, and the operator is removing its resources from AWS",
        detailed_message = "wait"
    )]
    Deleting,
    #[strum(
        message = "the destination's AWSAccount has access: External, so nothing in that account can be read",
        detailed_message = "have its owner apply status.requiredActions, then set the annotation bucketops.dev/applied to attest that they are applied"
    )]
    NotObservable,
    #[strum(
        message = "nothing in the destination's account can be read, and the current status.requiredActions are not attested as applied",
        detailed_message = "have its owner apply them, then set the annotation bucketops.dev/applied to the value in the message"
    )]
    NotAttested,
    #[strum(
        message = "status.requiredActions are attested as applied, and everything that can be read is correct",
        detailed_message = "nothing"
    )]
    Attested,
    // The spec, or what it may ask for.
    #[strum(
        message = "a field of the spec has a value that AWS does not accept",
        detailed_message = "correct the field that the message names"
    )]
    InvalidSpec,
    #[strum(
        message = "no AWSAccount of that name exists",
        detailed_message = "correct the name, or ask the platform team for the AWSAccount"
    )]
    AccountNotFound,
    #[strum(
        message = "the AWSAccount can't be used",
        detailed_message = "ask the platform team to check the AWSAccount's status"
    )]
    AccountNotReady,
    #[strum(
        message = "no grant of the AWSAccount allows this namespace to do what the message names",
        detailed_message = "ask the AWSAccount's contact for a grant"
    )]
    NotGranted,
    #[strum(
        message = "the API server refused to add the operator's finalizer to the object, so nothing is written to AWS for it",
        detailed_message = "change the admission policy or webhook that the message names"
    )]
    FinalizerRefused,
    // Buckets.
    #[strum(
        message = "the bucket does not exist, or belongs to another account",
        detailed_message = "correct the bucket or the account, or create the bucket"
    )]
    BucketNotFound,
    #[strum(
        message = "the bucket does not have versioning enabled",
        detailed_message = "enable versioning, or set spec.versioning to Enable if a grant allows it"
    )]
    VersioningNotEnabled,
    #[strum(
        message = "the bucket policy lacks a statement, and the AWSAccount has policies.bucketPolicy: Check",
        detailed_message = "have the bucket's owner apply the entry of status.requiredActions"
    )]
    BucketPolicyNeeded,
    #[strum(
        message = "the destination is a Requester Pays bucket, and S3 does not replicate to these across accounts",
        detailed_message = "have the bucket's owner run the command that the message shows"
    )]
    RequesterPays,
    #[strum(
        message = "destination.owner is Source, but the destination bucket's account owns every object in it",
        detailed_message = "set spec.destination.owner to Destination, or omit it"
    )]
    OwnerNotPossible,
    #[strum(
        message = "Object Lock is enabled on the source bucket but not on the destination bucket, so locked objects can't be replicated",
        detailed_message = "enable Object Lock on the destination bucket, as the message says"
    )]
    ObjectLockMissing,
    #[strum(
        message = "a statement of a bucket policy denies what the role needs",
        detailed_message = "have the bucket's owner exempt the role from the statement that the message names"
    )]
    DeniedByBucketPolicy,
    // Keys.
    #[strum(
        message = "SSE-KMS objects can't be replicated, because destination.kmsKey is missing",
        detailed_message = "set spec.destination.kmsKey, or set spec.source.sseKMSObjects to Skip"
    )]
    ReplicaKeyMissing,
    #[strum(
        message = "it is not known which keys encrypt the source objects",
        detailed_message = "set spec.source.kmsKeys, or enable SSE-KMS default encryption on the source bucket"
    )]
    SourceKeysMissing,
    #[strum(
        message = "spec.source.kmsKeys does not list the key that encrypts new objects of the source bucket by default",
        detailed_message = "add the key that the message names to spec.source.kmsKeys"
    )]
    DefaultKeyNotListed,
    #[strum(
        message = "the key or alias does not exist",
        detailed_message = "correct the key"
    )]
    KeyNotFound,
    #[strum(
        message = "the key is disabled, pending deletion, or not for symmetric encryption",
        detailed_message = "enable the key, or name another one"
    )]
    KeyNotUsable,
    #[strum(
        message = "the key is not in the bucket's Region",
        detailed_message = "name a key of the bucket's Region"
    )]
    KeyInOtherRegion,
    #[strum(
        serialize = "KeyManagedByAWS",
        message = "the replica key is managed by AWS, which can't be used across accounts",
        detailed_message = "name a customer managed key of the destination account"
    )]
    KeyManagedByAws,
    #[strum(
        message = "the key belongs to an account that has no AWSAccount",
        detailed_message = "ask the platform team for an AWSAccount of the key's account"
    )]
    KeyAccountUnknown,
    #[strum(
        message = "the key policy lacks a statement, and the AWSAccount has policies.keyPolicy: Check",
        detailed_message = "have the key's owner apply the entry of status.requiredActions"
    )]
    KeyPolicyNeeded,
    #[strum(
        message = "a statement of the key policy denies what the role needs",
        detailed_message = "have the key's owner exempt the role from the statement that the message names"
    )]
    DeniedByKeyPolicy,
    // Role and configuration.
    #[strum(
        message = "the AWSAccount's permissions boundary does not allow what the role needs",
        detailed_message = "have the platform team add the actions that the message names to the boundary"
    )]
    BoundaryTooNarrow,
    #[strum(
        message = "the role that S3 has to assume does not exist, or the AWSAccount has roles.management: Check and names none for the bucket",
        detailed_message = "have the platform team create the role and list it in roles.named; status.requiredActions shows its policy"
    )]
    RoleNotFound,
    #[strum(
        message = "the trust policy of a role that the operator does not manage does not allow S3 to assume the role",
        detailed_message = "have the role's owner apply the entry of status.requiredActions"
    )]
    RoleNotAssumable,
    #[strum(
        message = "a role that the operator does not manage lacks permissions, or its policies deny them",
        detailed_message = "have the role's owner apply the entry of status.requiredActions"
    )]
    RolePolicyNeeded,
    #[strum(
        message = "a role with the name of the operator's role already exists without the operator's tags",
        detailed_message = "delete that role if it is not needed"
    )]
    RoleNotOurs,
    #[strum(
        message = "the bucket already has a replication configuration with a role that the operator does not manage",
        detailed_message = "set spec.existingConfiguration to Merge (if the platform team allows it), take over the existing rules, or remove the existing configuration; status.plan shows what Merge would do"
    )]
    ForeignConfiguration,
    #[strum(
        message = "spec.existingConfiguration is Merge, but the AWSAccount does not list the existing configuration's role in roles.mergeableRoleARNs",
        detailed_message = "ask the AWSAccount's contact to add the role that the message names to roles.mergeableRoleARNs"
    )]
    RoleNotMergeable,
    #[strum(
        message = "a rule in the annotation bucketops.dev/take-over differs from every rule of the object",
        detailed_message = "change a rule of the object to match it, or remove the ID from the annotation"
    )]
    RuleDiffers,
    #[strum(
        message = "the existing configuration has rules of the earlier schema (V1), which can't be combined with the operator's",
        detailed_message = "rewrite these rules with a Filter, or take them over"
    )]
    ForeignVersion1Rules,
    #[strum(
        message = "an unmanaged rule has an element that this version of the operator does not support and would remove with any write, or that S3 no longer accepts",
        detailed_message = "remove the element that the message names, or upgrade the operator if it does not support the element"
    )]
    ForeignRuleNotPreservable,
    #[strum(
        message = "S3 refuses the bucket's replication configuration as it is, without any change of the operator: an unmanaged rule is invalid",
        detailed_message = "correct or remove the unmanaged rule that AWS's error in the message is about"
    )]
    ForeignRuleRefused,
    #[strum(
        message = "another installation of this operator manages the bucket",
        detailed_message = "use one installation for the bucket"
    )]
    OtherInstallation,
    #[strum(
        message = "an older object has rules that overlap, with the same destination bucket but other settings",
        detailed_message = "narrow the prefix or tags, or use the same settings"
    )]
    OverlappingRules,
    #[strum(
        message = "the configuration or a policy would exceed an AWS quota",
        detailed_message = "use fewer rules or shorter prefixes on this bucket"
    )]
    LimitExceeded,
    #[strum(
        message = "another writer keeps changing what the object created; the operator corrects it at most once an hour",
        detailed_message = "find the other writer of the resource that the message names, and let only it or the operator manage that resource"
    )]
    Contended,
    // What AWS answered.
    #[strum(
        message = "AWS denied a call because a permission is missing",
        detailed_message = "grant the action that the message names to the operator's role in that account; if it is sts:AssumeRole, correct that role's trust policy, the external ID, or the policy of the operator's own identity"
    )]
    AccessDenied,
    #[strum(
        message = "a policy of the organization (a service control policy or resource control policy) denies a call, whatever the account allows",
        detailed_message = "ask the organization's administrators to exempt the call that the message names"
    )]
    DeniedByOrganization,
    #[strum(
        serialize = "RefusedByAWS",
        message = "AWS refused a call as invalid",
        detailed_message = "read AWS's error in the message"
    )]
    RefusedByAws,
    #[strum(
        serialize = "AWSUnavailable",
        message = "AWS could not be reached, or throttled a call",
        detailed_message = "wait; the operator retries"
    )]
    AwsUnavailable,
    #[strum(
        message = "the operator failed by a fault of its own while it visited the source bucket",
        detailed_message = "report it with the operator's log; the operator retries"
    )]
    InternalError,
    #[strum(
        message = "the operator has no AWS credentials",
        detailed_message = "ask the platform team to give the operator's ServiceAccount an IAM role, as the message of the AWSAccount says"
    )]
    NoCredentials,
    #[strum(
        message = "the object's resources in AWS can't be removed: AWS refuses the removal, or it has failed for three minutes",
        detailed_message = "do what the message says"
    )]
    DeletionBlocked,
    // Canaries.
    #[strum(
        message = "S3 did not replicate a canary",
        detailed_message = "correct what the message names; S3 does not retry objects that failed, so upload those of that time again or use S3 Batch Replication"
    )]
    CanaryFailed,
    #[strum(
        message = "S3 replicated a canary, but the replica has another key or owner than the object asks for",
        detailed_message = "correct what the message names"
    )]
    ReplicaDiffers,
    #[strum(
        message = "no canary is uploaded, because default retention of Object Lock would keep it",
        detailed_message = "remove spec.verification.canary, or the bucket's default retention"
    )]
    DefaultRetention,
    // S3's own metrics.
    #[strum(
        message = "CloudWatch has no replication metrics of the object's rules",
        detailed_message = "wait: S3 publishes the first some 15 minutes after it replicates; if that does not come, check that the AWSAccount's replicationMetrics are of the account that owns the source bucket"
    )]
    NoMetrics,
    #[strum(
        message = "by S3's metrics, operations failed to replicate",
        detailed_message = "find objects with the replication status FAILED, correct what they lack, and upload them again or use S3 Batch Replication: S3 does not retry them"
    )]
    OperationsFailed,
    #[strum(
        message = "by S3's metrics, the replication latency exceeds spec.verification.maxLatency",
        detailed_message = "wait, or raise maxLatency; replicationTimeControl replicates within 15 minutes"
    )]
    LatencyTooHigh,
    // AWSAccount.
    #[strum(
        message = "an older AWSAccount names the same account",
        detailed_message = "keep one AWSAccount for each account"
    )]
    DuplicateAccount,
    #[strum(
        message = "the credentials belong to a different account from spec.accountID",
        detailed_message = "correct spec.accountID or spec.assumeRole.roleARN"
    )]
    WrongAccount,
}

impl Reason {
    /// The reason as in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
