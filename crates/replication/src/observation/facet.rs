//! One read of AWS, and how it can fail.

/// One read. A refusal is not an absence: what can't be read must not be overwritten either.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Facet<T> {
    /// It was not read.
    #[default]
    Unread,
    /// It does not exist.
    Absent,
    /// It exists.
    Present(T),
    /// It could not be read.
    Failed(Failure),
}

impl<T> From<Result<Option<T>, Failure>> for Facet<T> {
    fn from(read: Result<Option<T>, Failure>) -> Self {
        match read {
            Ok(read) => Self::from_option(read),
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl<T> Facet<T> {
    /// What was read: the thing, or that it does not exist.
    #[must_use]
    pub fn from_option(read: Option<T>) -> Self {
        read.map_or(Self::Absent, Self::Present)
    }

    /// The same of a part of the thing.
    #[must_use]
    pub fn map<U>(self, part: impl FnOnce(T) -> U) -> Facet<U> {
        match self {
            Self::Unread => Facet::Unread,
            Self::Absent => Facet::Absent,
            Self::Present(thing) => Facet::Present(part(thing)),
            Self::Failed(failure) => Facet::Failed(failure),
        }
    }

    /// The same if it exists; otherwise unread, so that it is read again.
    #[must_use]
    pub(crate) fn lasting(&self) -> Self
    where
        T: Clone,
    {
        self.present().cloned().map_or(Self::Unread, Self::Present)
    }

    /// What was read, if it exists.
    #[must_use]
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(thing) => Some(thing),
            _ => None,
        }
    }

    /// Why it could not be read.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The action as IAM names it, such as `s3:PutReplicationConfiguration`.
    pub action: String,
    /// Which call, on what, as whom, and AWS's error; without request IDs.
    pub message: String,
}

/// The kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum FailureKind {
    /// A permission is missing.
    Denied,
    /// A policy of the organization denies it.
    DeniedByOrganization,
    /// What the call is about does not exist.
    NotFound,
    /// AWS throttled the call.
    Throttled,
    /// Another change of the resource, or its state, conflicts with the call.
    Conflict,
    /// Something else still uses what would be deleted.
    InUse,
    /// A role that was just created is not yet visible everywhere (`Principal` in the IAM User Guide).
    PrincipalNotVisible,
    /// Versioning was just enabled and is not yet effective everywhere, or it is not enabled in an account that can't be read.
    VersioningNotVisible,
    /// The operator has no credentials.
    NoCredentials,
    /// A fault of the network or of AWS, or no answer in time.
    Transient,
    /// AWS refused the call as invalid.
    Invalid,
    /// What the call depends on changed since it was read: it has to be read again.
    Outdated,
}
