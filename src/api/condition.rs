//! Conditions of a status: their types, and every reason that they can have, with when it occurs and what to do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::{EnumIter, EnumMessage, IntoStaticStr};

/// What a condition of a `BucketReplication` is about. `Accepted` to `Ready` are present from the first visit, in this
/// order; `Reconciling` and `Stalled` only while they hold, as [kstatus](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus) reads them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumMessage, IntoStaticStr,
)]
pub enum ConditionType {
    /// The object is valid, and its namespace may do what it asks for.
    #[strum(message = "the object is valid and allowed")]
    Accepted,
    /// The source bucket is there and can be replicated from.
    #[strum(message = "the source bucket is there, is ours to read, and has versioning")]
    SourceReady,
    /// The destination bucket is there and lets the role write.
    #[strum(
        message = "the destination bucket is there, has versioning, and its policy lets the role write"
    )]
    DestinationReady,
    /// The KMS keys are usable, and their policies let the role use them.
    #[strum(message = "the KMS keys are usable and their policies let the role use them")]
    KeysReady,
    /// The role that S3 assumes stands, with its permissions.
    #[strum(message = "the role that S3 assumes stands with its permissions")]
    RoleReady,
    /// The rules stand in the source bucket's replication configuration.
    #[strum(message = "the rules stand in the source bucket's replication configuration")]
    ReplicationConfigured,
    /// The summary of all others: S3 replicates what the object asks for.
    #[strum(message = "all of the above hold")]
    Ready,
    /// The operator is at work on the object.
    #[strum(message = "present while the operator is at work on the object")]
    Reconciling,
    /// The object waits for somebody to act.
    #[strum(message = "present while the object waits for somebody to act")]
    Stalled,
}

impl ConditionType {
    /// Those that say where the object stands, in the order of `status.conditions`; all but the last make up the last.
    pub const PERSISTENT: [Self; 7] = [
        Self::Accepted,
        Self::SourceReady,
        Self::DestinationReady,
        Self::KeysReady,
        Self::RoleReady,
        Self::ReplicationConfigured,
        Self::Ready,
    ];

    /// The type as it stands in `status.conditions`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a condition has its status. The message is when it occurs, the detailed message what to do about it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumMessage, IntoStaticStr,
)]
#[allow(
    missing_docs,
    reason = "the message of each reason is its documentation, and the source of the table in the docs"
)]
pub enum Reason {
    // The condition holds.
    #[strum(
        message = "the object is valid and allowed",
        detailed_message = "nothing"
    )]
    Accepted,
    #[strum(
        message = "the bucket is as it has to be",
        detailed_message = "nothing"
    )]
    BucketReady,
    #[strum(
        message = "the keys and their policies are as they have to be",
        detailed_message = "nothing"
    )]
    KeysReady,
    #[strum(
        message = "the object asks for no SSE-KMS replication, so that no key is needed",
        detailed_message = "nothing"
    )]
    NoKeysNeeded,
    #[strum(
        message = "the role, its trust and its permissions stand",
        detailed_message = "nothing"
    )]
    RoleReady,
    #[strum(
        message = "the rules stand in the replication configuration",
        detailed_message = "nothing"
    )]
    RulesConfigured,
    #[strum(
        message = "everything that the object needs was read in AWS and is right",
        detailed_message = "nothing"
    )]
    Ready,
    // Not known yet.
    #[strum(
        message = "the operator has not looked yet",
        detailed_message = "wait; if it stays, see whether the operator runs"
    )]
    Pending,
    #[strum(message = "the operator is making it so", detailed_message = "wait")]
    Progressing,
    #[strum(
        message = "something else that comes first does not hold",
        detailed_message = "look at the other conditions"
    )]
    Waiting,
    #[strum(
        message = "spec.mode is Paused",
        detailed_message = "set spec.mode to Enforce to go on"
    )]
    Paused,
    #[strum(
        message = "spec.mode is Observe and status.plan holds steps",
        detailed_message = "read status.plan; set spec.mode to Enforce to have them done"
    )]
    PlanPending,
    #[strum(
        message = "the object is being deleted and what it made in AWS is being removed",
        detailed_message = "wait"
    )]
    Deleting,
    #[strum(
        message = "the destination's AWSAccount says access: External, so that nothing there can be read",
        detailed_message = "have its owner apply status.requiredActions; then attest it with the annotation bucketops.dev/applied"
    )]
    NotObservable,
    #[strum(
        message = "nothing in the destination's account can be read, and nobody attested status.requiredActions as they are now",
        detailed_message = "have its owner apply them, then set the annotation bucketops.dev/applied to the value that the message names"
    )]
    NotAttested,
    #[strum(
        message = "somebody attested that status.requiredActions are applied; all that can be read is right",
        detailed_message = "nothing"
    )]
    Attested,
    // The spec, or what it may ask for.
    #[strum(
        message = "a field of the spec holds what AWS would not take",
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
        detailed_message = "ask the platform team to look at the AWSAccount's status"
    )]
    AccountNotReady,
    #[strum(
        message = "no grant of the AWSAccount lets this namespace do that",
        detailed_message = "ask the AWSAccount's contact for a grant"
    )]
    NotGranted,
    // Buckets.
    #[strum(
        message = "the bucket does not exist, or belongs to another account",
        detailed_message = "correct the bucket or the account, or create the bucket"
    )]
    BucketNotFound,
    #[strum(
        message = "the bucket has no versioning",
        detailed_message = "enable versioning, or set spec.versioning to Enable where that is granted"
    )]
    VersioningNotEnabled,
    #[strum(
        message = "the bucket policy lacks a statement and the AWSAccount says policies.bucketPolicy: Check",
        detailed_message = "have the bucket's owner apply the entry of status.requiredActions"
    )]
    BucketPolicyNeeded,
    #[strum(
        message = "the destination bucket is Requester Pays, to which S3 does not replicate across accounts",
        detailed_message = "have the bucket's owner run the command that the message names"
    )]
    RequesterPays,
    #[strum(
        message = "destination.owner is Source, but the destination bucket gives all its objects to its own account",
        detailed_message = "set spec.destination.owner to Destination, or leave it out"
    )]
    OwnerNotPossible,
    #[strum(
        message = "Object Lock is on for the source bucket, but not for the destination, where replicas of locked objects fail",
        detailed_message = "switch Object Lock on for the destination bucket, as the message says"
    )]
    ObjectLockMissing,
    #[strum(
        message = "a statement of a bucket policy denies what the role needs",
        detailed_message = "have the bucket's owner except the role from the statement that the message names"
    )]
    DeniedByBucketPolicy,
    // Keys.
    #[strum(
        message = "SSE-KMS objects can't be replicated since destination.kmsKey is missing",
        detailed_message = "set spec.destination.kmsKey, or spec.source.sseKMSObjects to Skip"
    )]
    ReplicaKeyMissing,
    #[strum(
        message = "it is not known which keys encrypt the source objects",
        detailed_message = "set spec.source.kmsKeys, or SSE-KMS default encryption on the source bucket"
    )]
    SourceKeysMissing,
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
        message = "the key is in another Region than the bucket",
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
        message = "the key policy lacks a statement and the AWSAccount says policies.keyPolicy: Check",
        detailed_message = "have the key's owner apply the entry of status.requiredActions"
    )]
    KeyPolicyNeeded,
    #[strum(
        message = "a statement of the key policy denies what the role needs",
        detailed_message = "have the key's owner except the role from the statement that the message names"
    )]
    DeniedByKeyPolicy,
    // Role and configuration.
    #[strum(
        message = "the AWSAccount's permissions boundary does not allow what the role needs",
        detailed_message = "have the platform team add to the boundary what the message names"
    )]
    BoundaryTooNarrow,
    #[strum(
        message = "a role of our name stands that does not carry our tags",
        detailed_message = "delete or rename that role, if nobody needs it"
    )]
    RoleNotOurs,
    #[strum(
        message = "a replication configuration under a foreign role stands on the bucket",
        detailed_message = "set spec.existingConfiguration to Merge where the platform team allows it, take its rules over, or remove it; status.plan says what Merge would do"
    )]
    ForeignConfiguration,
    #[strum(
        message = "spec.existingConfiguration is Merge, but the AWSAccount does not list the standing configuration's role in roles.mergeableRoleARNs",
        detailed_message = "ask the AWSAccount's contact to list the role that the message names"
    )]
    RoleNotMergeable,
    #[strum(
        message = "a rule that the annotation bucketops.dev/take-over names says something else than each rule of the object",
        detailed_message = "make a rule of the object say the same, or take the ID out of the annotation"
    )]
    RuleDiffers,
    #[strum(
        message = "the standing configuration has rules of the old schema (V1), which can't stand beside ours",
        detailed_message = "rewrite those rules with a Filter, or take them over"
    )]
    ForeignVersion1Rules,
    #[strum(
        message = "a foreign rule holds an element that this version does not know, and would lose with any write",
        detailed_message = "upgrade the operator, or remove the element that the message names"
    )]
    ForeignRuleNotPreservable,
    #[strum(
        message = "another installation of this operator works on the bucket",
        detailed_message = "leave the bucket to one installation"
    )]
    OtherInstallation,
    #[strum(
        message = "rules of an object that came first overlap with other settings toward the same bucket",
        detailed_message = "narrow the prefix or tags, or use the same settings"
    )]
    OverlappingRules,
    #[strum(
        message = "the configuration or a policy would grow beyond what AWS takes",
        detailed_message = "use fewer rules or shorter prefixes on this bucket"
    )]
    LimitExceeded,
    #[strum(
        message = "somebody else changes what the object made again and again; it is put right once an hour at most",
        detailed_message = "find the other writer of what the message names, and let one of you keep it"
    )]
    Contended,
    // What AWS answered.
    #[strum(
        message = "AWS refused a call for lack of a permission",
        detailed_message = "grant what the message names to the operator's role in that account"
    )]
    AccessDenied,
    #[strum(
        message = "a policy of the organization (a service or resource control policy) denies a call, whatever the account grants",
        detailed_message = "ask the organization's administrators to except what the message names"
    )]
    DeniedByOrganization,
    #[strum(
        serialize = "RefusedByAWS",
        message = "AWS did not take what was sent",
        detailed_message = "read AWS's words in the message"
    )]
    RefusedByAws,
    #[strum(
        serialize = "AWSUnavailable",
        message = "AWS could not be reached, or asked to slow down",
        detailed_message = "wait; the operator tries again"
    )]
    AwsUnavailable,
    #[strum(
        message = "what the object made can't be removed: AWS refuses it, or it has failed for minutes",
        detailed_message = "do what the message says"
    )]
    DeletionBlocked,
    // AWSAccount.
    #[strum(
        message = "another AWSAccount names the same account and came first",
        detailed_message = "keep one AWSAccount for each account"
    )]
    DuplicateAccount,
    #[strum(
        message = "the credentials lead to another account than spec.accountID",
        detailed_message = "correct spec.accountID or spec.assumeRole.roleARN"
    )]
    WrongAccount,
}

impl Reason {
    /// The reason as it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What is known of one condition: its status with reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `None` is `Unknown`.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// One sentence for people; never empty.
    pub message: String,
}

impl Finding {
    /// The condition holds.
    #[must_use]
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(true),
            reason,
            message: message.into(),
        }
    }

    /// The condition does not hold.
    #[must_use]
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(false),
            reason,
            message: message.into(),
        }
    }

    /// It is not known whether the condition holds.
    #[must_use]
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: None,
            reason,
            message: message.into(),
        }
    }

    /// The finding as a condition. The transition time is kept from `previous` where the status is the same, and has whole seconds,
    /// since the API server would cut the rest and the condition read back would differ.
    #[must_use]
    pub fn condition(
        &self,
        kind: ConditionType,
        generation: Option<i64>,
        previous: &[Condition],
        now: jiff::Timestamp,
    ) -> Condition {
        let status = match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        // The defaults of the CRD, from before anybody looked, have a time that means nothing.
        let same =
            |condition: &&Condition| condition.type_ == kind.as_str() && condition.status == status;
        let unchanged = previous
            .iter()
            .find(same)
            .filter(|condition| condition.reason != Reason::Pending.as_str());
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        Condition {
            type_: kind.as_str().into(),
            status: status.into(),
            reason: self.reason.as_str().into(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |condition| {
                condition.last_transition_time.clone()
            }),
        }
    }
}
