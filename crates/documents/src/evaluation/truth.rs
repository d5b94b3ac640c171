//! Answers in three values, and why the third one is given.

use std::fmt;

/// Yes, no, or unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It certainly is.
    Yes,
    /// It certainly is not.
    No,
    /// What is known does not decide it.
    Unknown(Cause),
}

/// Why an answer is unknown. There are no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The condition key may have several values, or be absent, and they decide differently.
    Key(String),
    /// A policy variable has several possible values.
    Variable(String),
    /// A policy variable has no value, in an operator or element that is negated: AWS says that it holds, and evaluators differ.
    VariableWithoutValue(String),
    /// `ForAnyValue` with `IfExists` for a key that is absent: AWS says of one that it does not hold, and of the other that it does.
    AnyValueIfExists(String),
    /// A statement is about a part of the resources that are asked for.
    PartOfResources,
    /// The wildcards of an ARN match only if they cross its colons, of which the guide says only that some do.
    WildcardAcrossColons,
    /// `NotPrincipal` names the role and its account, but not the session: AWS "might" deny.
    NotPrincipal,
    /// `NotPrincipal` in a statement that allows: AWS says not to use it, and not what it does.
    AllowNotPrincipal,
    /// A canonical user ID names an account, and it is not known which.
    CanonicalUser,
    /// An operator without a set operator on a key with several values.
    SeveralValues(String),
    /// A condition operator that the IAM User Guide does not have.
    Operator(String),
    /// A value that its operator does not take.
    Value(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "the value of {key} is not known"),
            Self::Variable(key) => write!(f, "the value of policy variable {key} is not known"),
            Self::VariableWithoutValue(key) => {
                write!(
                    f,
                    "policy variable {key} has no value, and what it is in is negated"
                )
            }
            Self::AnyValueIfExists(key) => {
                write!(
                    f,
                    "{key} is absent, and tested by ForAnyValue with IfExists"
                )
            }
            Self::PartOfResources => f.write_str("it is about a part of the resources"),
            Self::WildcardAcrossColons => {
                f.write_str("its wildcards match only across the colons of an ARN")
            }
            Self::NotPrincipal => {
                f.write_str("its NotPrincipal names the role and its account, but not the session")
            }
            Self::AllowNotPrincipal => f.write_str("it allows with NotPrincipal"),
            Self::CanonicalUser => f.write_str("it names a canonical user ID"),
            Self::SeveralValues(key) => {
                write!(
                    f,
                    "it tests {key}, which has several values, without ForAllValues or ForAnyValue"
                )
            }
            Self::Operator(operator) => write!(f, "condition operator {operator} does not exist"),
            Self::Value(value) => write!(f, "its operator does not take the value \"{value}\""),
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown(cause) => Self::Unknown(cause),
        }
    }
}

impl Truth {
    /// Whether all hold. One that does not decides, whatever the others are.
    #[must_use]
    pub fn all(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::Yes;
        for truth in truths {
            match truth {
                Self::No => return Self::No,
                Self::Unknown(_) if all == Self::Yes => all = truth,
                Self::Yes | Self::Unknown(_) => {}
            }
        }
        all
    }

    /// Whether any holds. One that does decides, whatever the others are.
    #[must_use]
    pub fn any(truths: impl IntoIterator<Item = Self>) -> Self {
        !Self::all(truths.into_iter().map(std::ops::Not::not))
    }

    /// The answer of what is not negated: a variable without a value matches nothing.
    pub(super) fn of_positive(self) -> Self {
        match self {
            Self::Unknown(Cause::VariableWithoutValue(_)) => Self::No,
            known => known,
        }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all([self, other])
    }

    /// At least one of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::any([self, other])
    }

    /// Whether it certainly holds.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }

    /// Whether it certainly does not hold.
    #[must_use]
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_decides() {
        let unknown = || Truth::Unknown(Cause::PartOfResources);
        for (truths, all, any) in [
            (vec![], Truth::Yes, Truth::No),
            (vec![Truth::Yes, Truth::No], Truth::No, Truth::Yes),
            (vec![Truth::Yes, unknown()], unknown(), Truth::Yes),
            (vec![unknown(), Truth::No], Truth::No, unknown()),
            (vec![unknown(), unknown()], unknown(), unknown()),
        ] {
            assert_eq!(Truth::all(truths.clone()), all, "all of {truths:?}");
            assert_eq!(Truth::any(truths.clone()), any, "any of {truths:?}");
        }
    }
}
