//! The reasons of Events that do not report a change of a condition. Events of such a change have the condition's reason.

/// Why an Event was recorded. The message says when it occurs, the detailed message what to do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::EnumMessage, strum::IntoStaticStr,
)]
pub enum EventReason {
    /// Drift was corrected.
    #[strum(
        message = "another writer changed or removed what the object created, and the operator corrected it; the Event's action names the step",
        detailed_message = "if it happens again, find the other writer in CloudTrail"
    )]
    DriftCorrected,
    /// An object was released before what it created was removed.
    #[strum(
        message = "the object was released, but some of its resources still exist in AWS",
        detailed_message = "remove these resources by hand if they are not needed"
    )]
    Abandoned,
    /// An unmanaged rule disappeared after the operator's write.
    #[strum(
        message = "an unmanaged rule no longer exists, although the configuration that the operator wrote contained it",
        detailed_message = "if no one removed it on purpose, two writers overwrote each other: add the rule again"
    )]
    ForeignRuleGone,
    /// A role could not be deleted.
    #[strum(
        message = "the last object on the bucket is gone, and its role still exists without the operator's policies, because another writer added something to it",
        detailed_message = "delete the role if it is not needed"
    )]
    RoleLeft,
    /// Statements remain in an account that can't be written.
    #[strum(
        message = "the object is gone, and statements that it needed still exist in policies that only their owners write: access is External, policies are Check, or the AWSAccount is gone",
        detailed_message = "have the owner remove them, if no other source bucket of the account uses them; the message names them"
    )]
    StatementsLeft,
    /// Canaries could not be removed.
    #[strum(
        message = "the object is gone, and canaries still exist in a bucket, because the operator could not remove them",
        detailed_message = "delete all versions of the objects below the folder .bucketops-canary that the message names"
    )]
    CanariesLeft,
}

impl EventReason {
    /// The reason as in Events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
