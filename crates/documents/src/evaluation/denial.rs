//! What one policy says of a request: what it allows, and which statement denies.

use std::fmt;

use super::{Cause, Request, Truth, caller::Named, statement::Effect};
use crate::policy::{Document, Statement};

/// Whether a policy denies a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No statement does.
    No,
    /// A statement may, and why that is unknown.
    Perhaps(DenyingStatement, Cause),
    /// A statement does.
    Yes(DenyingStatement),
}

/// Which statement denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyingStatement {
    /// Its Sid, if it has one.
    pub sid: Option<String>,
    /// How many statements come before it.
    pub position: usize,
}

impl fmt::Display for DenyingStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sid {
            Some(sid) => f.write_str(sid),
            None => write!(f, "number {} (no Sid)", self.position + 1),
        }
    }
}

impl Document {
    /// Policy variables came with this version ("IAM JSON policy elements: Version" in the IAM User Guide).
    fn has_variables(&self) -> bool {
        self.version() == Some("2012-10-17")
    }

    fn any_of(&self, effect: Effect, is_met: impl Fn(&Statement) -> Truth) -> Truth {
        let statements = self.statements();
        let of_effect = statements
            .iter()
            .filter(|statement| statement.has_effect(effect));
        Truth::any(of_effect.map(is_met))
    }

    /// Whether a policy of IAM allows the request and does not deny it: an identity's policy, or a permissions boundary.
    #[must_use]
    pub fn permits(&self, request: &Request<'_>) -> Truth {
        let variables = self.has_variables();
        let about = |statement: &Statement| statement.is_about(request, variables);
        self.any_of(Effect::Allow, about)
            .and(!self.any_of(Effect::Deny, about))
    }

    /// Whether a statement outside of `ignored` of a policy of a resource allows the request, in whichever way it names the caller.
    #[must_use]
    pub fn grants(&self, request: &Request<'_>, ignored: impl Fn(&Statement) -> bool) -> Truth {
        let ways = [Named::Caller, Named::Role, Named::Account];
        Truth::any(ways.map(|how| self.grants_to(request, how, &ignored)))
    }

    /// As [`Self::grants`], for one way to name the caller.
    pub(super) fn grants_to(
        &self,
        request: &Request<'_>,
        how: Named,
        ignored: impl Fn(&Statement) -> bool,
    ) -> Truth {
        let variables = self.has_variables();
        self.any_of(Effect::Allow, |statement| {
            if ignored(statement) {
                return Truth::No;
            }
            statement
                .allows_caller(request, how)
                .and(statement.is_about(request, variables))
        })
    }

    /// Whether a policy of IAM allows the request, whatever it denies.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>) -> Truth {
        let variables = self.has_variables();
        self.any_of(Effect::Allow, |statement| {
            statement.is_about(request, variables)
        })
    }

    /// Whether a policy of a resource denies the request: the first statement that does, or else the first that may.
    #[must_use]
    pub fn denies(&self, request: &Request<'_>) -> Denial {
        self.denial(request, |statement| statement.denies_caller(request))
    }

    /// Whether a policy of IAM denies the request, as [`Self::denies`].
    #[must_use]
    pub fn forbids(&self, request: &Request<'_>) -> Denial {
        self.denial(request, |_| Truth::Yes)
    }

    fn denial(
        &self,
        request: &Request<'_>,
        is_about_caller: impl Fn(&Statement) -> Truth,
    ) -> Denial {
        let mut perhaps = Denial::No;
        for (position, statement) in self.statements().iter().enumerate() {
            if !statement.has_effect(Effect::Deny) {
                continue;
            }
            let denying = || DenyingStatement {
                sid: statement
                    .sid()
                    .filter(|sid| !sid.is_empty())
                    .map(ToOwned::to_owned),
                position,
            };
            let denies =
                is_about_caller(statement).and(statement.is_about(request, self.has_variables()));
            match denies {
                Truth::Yes => return Denial::Yes(denying()),
                Truth::Unknown(cause) if perhaps == Denial::No => {
                    perhaps = Denial::Perhaps(denying(), cause);
                }
                Truth::No | Truth::Unknown(_) => {}
            }
        }
        perhaps
    }
}
