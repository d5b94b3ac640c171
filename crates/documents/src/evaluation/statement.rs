//! Whether one statement is about a request.

use serde_json::Value;

use super::{
    Cause, Request, Truth,
    caller::Named,
    condition,
    pattern::{Reading, Resolved},
};
use crate::policy::{Statement, strings};

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

impl Statement {
    pub(super) fn has_effect(&self, effect: Effect) -> bool {
        let name = match effect {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        };
        self.json().get("Effect").and_then(Value::as_str) == Some(name)
    }

    /// Whether action, resource and conditions of the statement are those of the request. `variables`: whether its policy has the version that
    /// has policy variables.
    pub(super) fn is_about(&self, request: &Request<'_>, variables: bool) -> Truth {
        self.has_action(request)
            .and(self.has_resource(request, variables))
            .and(condition::holds(
                self.json().get("Condition"),
                variables,
                request.context,
            ))
    }

    fn has_action(&self, request: &Request<'_>) -> Truth {
        let action = request.action.to_ascii_lowercase();
        let reading = Reading {
            variables: false,
            wildcards: true,
            context: request.context,
        };
        let matches = |text: &str| match reading.read(text) {
            Resolved::Pattern(pattern) => pattern.lowercase().matches(&action).into(),
            Resolved::NoValue(_) => Truth::No,
            Resolved::Unknown(cause) => Truth::Unknown(cause),
        };
        self.element("Action", &matches).unwrap_or(Truth::No)
    }

    /// Trust policies have no resources: they are about their role.
    fn has_resource(&self, request: &Request<'_>, variables: bool) -> Truth {
        let reading = Reading {
            variables,
            wildcards: true,
            context: request.context,
        };
        let covers = |text: &str| request.resource.is_covered_by(text, reading);
        self.element("Resource", &covers).unwrap_or(Truth::Yes)
    }

    /// Whether any value of the element matches, or none of the one that begins with `Not`.
    fn element(&self, name: &str, matches: &dyn Fn(&str) -> Truth) -> Option<Truth> {
        let each = |values| strings(values).into_iter().map(matches);
        let not = format!("Not{name}");
        match (self.json().get(name), self.json().get(&not)) {
            (Some(values), _) => Some(Truth::any(each(values).map(Truth::of_positive))),
            (None, Some(values)) => Some(!Truth::any(each(values))),
            (None, None) => None,
        }
    }

    /// Whether the statement of a policy of a resource allows the caller, named in that way.
    pub(super) fn allows_caller(&self, request: &Request<'_>, how: Named) -> Truth {
        match self.json().get("Principal") {
            Some(principal) => request.caller.is_named(principal, how),
            None if self.json().get("NotPrincipal").is_some() && how == Named::Caller => {
                Truth::Unknown(Cause::AllowNotPrincipal)
            }
            None => Truth::No,
        }
    }

    /// Whether the statement of a policy of a resource denies the caller.
    pub(super) fn denies_caller(&self, request: &Request<'_>) -> Truth {
        if let Some(principal) = self.json().get("Principal") {
            let named = [Named::Caller, Named::Role, Named::Account];
            return Truth::any(named.map(|how| request.caller.is_named(principal, how)));
        }
        match self.json().get("NotPrincipal") {
            Some(spared) => request.caller.is_not_spared(spared),
            None => Truth::No,
        }
    }
}
