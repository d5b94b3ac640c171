//! The reasons of Events that are no change of a condition. Events of such a change have the condition's reason.

/// Why an Event was recorded. The message tells when; the detailed message, what to do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::EnumMessage, strum::IntoStaticStr,
)]
pub enum EventReason {
    /// Something was put right.
    #[strum(
        message = "somebody else changed or removed what the object made, and it was put right; the action of the Event is the step",
        detailed_message = "find out who, if it comes again; CloudTrail knows"
    )]
    DriftCorrected,
    /// An object went without what it made.
    #[strum(
        message = "the object was let go while something that it made still stands in AWS",
        detailed_message = "remove that by hand, where nobody needs it"
    )]
    Abandoned,
    /// A rule of somebody else vanished after our write.
    #[strum(
        message = "a foreign rule that was in the configuration that the operator wrote does not stand any more",
        detailed_message = "if nobody removed it, two writers crossed: have it written again"
    )]
    ForeignRuleGone,
    /// A role could not be deleted.
    #[strum(
        message = "the last object on the bucket is gone, and its role stays without our policies, since somebody gave it something of their own",
        detailed_message = "delete the role, where nobody needs it"
    )]
    RoleLeft,
    /// Statements stay in an account that can't be written.
    #[strum(
        message = "the object is gone, and statements that the owner of an account with access: External applied for it stand there still",
        detailed_message = "have the owner remove them; the message names the documents"
    )]
    StatementsLeft,
}

impl EventReason {
    /// The reason as Events have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
