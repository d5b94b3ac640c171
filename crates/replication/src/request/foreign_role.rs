//! Whether a role that others create suffices: it exists, S3 may assume it, and its policies and its own boundary allow what S3 asks for.

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};
use serde_json::{Value, json};

use crate::{
    Problem,
    assess::failed,
    evaluation::{
        Access, Caller, Context, Denial, DenyingStatement, Policies, Request, Resource,
        ResourcePolicy, Truth, access,
    },
    names::s3_principals,
    observed::{Facet, ForeignRole, Role},
    policy::{Document, Statement},
    remedy::quoted,
    request::{
        facts::{Facts, Preflight},
        policy_checks::{MAY_BE_DENIED, WITHOUT_TAGS},
        problem::first_of,
    },
};

/// Checks the role, if others create it.
pub(super) fn foreign_role(facts: &Facts<'_>, found: &mut Preflight) {
    if facts.own {
        return;
    }
    let named = facts
        .account
        .roles
        .named
        .contains_key(&facts.resolved.valid.source.name);
    if facts.account.roles.are_checked() && !named {
        found.problems.push(facts.not_named());
        return;
    }
    let Some(foreign) = facts.observed.foreign_roles.get(facts.role) else {
        return;
    };
    let role = match &foreign.role {
        Facet::Unread => return,
        Facet::Failed(failure) => {
            found
                .problems
                .push(failed(ConditionType::RoleReady, failure));
            return;
        }
        Facet::Absent => {
            found.problems.push(facts.not_there());
            return;
        }
        Facet::Present(role) => role,
    };
    facts.may_be_assumed(role, found);
    match facts.policies(foreign, role) {
        Err(failure) => found.problems.push(failure),
        Ok((identity, boundary)) => {
            facts.suffices(&identity, found);
            facts.is_within(role, boundary.as_ref(), found);
        }
    }
}

fn with(reason: Reason, message: String, action: RequiredAction) -> Problem {
    Problem {
        action: Some(Box::new(action)),
        ..Problem::new(ConditionType::RoleReady, reason, message)
    }
}

impl Facts<'_> {
    fn not_named(&self) -> Problem {
        let (account, bucket) = (self.account, &self.resolved.valid.source.name);
        let message = format!(
            "AWSAccount {} has roles.management: Check, and roles.named has no role for bucket {bucket}: {} to create one, as status.requiredActions shows, and to list it there",
            account.name,
            account.whom_to_ask()
        );
        with(Reason::RoleNotFound, message, self.create())
    }

    fn not_there(&self) -> Problem {
        let message = format!(
            "role {}, which S3 has to assume for bucket {}, does not exist: {} to create it, as status.requiredActions shows",
            self.role,
            self.resolved.valid.source.name,
            self.account.whom_to_ask()
        );
        with(Reason::RoleNotFound, message, self.create())
    }

    /// The command that creates the role with its trust policy and its policy.
    fn create(&self) -> RequiredAction {
        let (name, path) = (&self.role.name, &self.role.path);
        let trust = quoted(&self.trust().to_string());
        let policy = self.needed();
        let create = format!(
            "aws iam create-role --role-name {name} --path {path} --assume-role-policy-document {trust}"
        );
        let command = format!("{create} && {}", self.put(&policy));
        self.action(format!("role {}", self.role), &policy, command)
    }

    fn action(&self, document: String, statement: &Value, command: String) -> RequiredAction {
        RequiredAction {
            document,
            account_id: self.role.account.to_string(),
            statement: format!("{statement:#}"),
            command,
        }
    }

    fn put(&self, policy: &Value) -> String {
        format!(
            "aws iam put-role-policy --role-name {} --policy-name bucket-replication-{} --policy-document {}",
            self.role.name,
            self.resolved.valid.key.name,
            quoted(&policy.to_string())
        )
    }

    fn trust(&self) -> Value {
        let service = &s3_principals(self.role.partition)[0];
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]})
    }

    /// A policy that allows what the object needs.
    fn needed(&self) -> Value {
        let without_sid = |statement: &Statement| {
            let mut statement = statement.json().clone();
            if let Value::Object(fields) = &mut statement {
                fields.remove("Sid");
            }
            statement
        };
        let statements: Vec<_> = self.statements.iter().map(without_sid).collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// "Setting up permissions for live replication" in the S3 User Guide.
    pub(super) fn may_be_assumed(&self, role: &Role, found: &mut Preflight) {
        let caller = Caller::Service(s3_principals(self.role.partition)[0].clone());
        let (resource, context) = (Resource::one(self.role.to_string()), Context::partial());
        let request = Request {
            caller: &caller,
            action: "sts:AssumeRole",
            resource: &resource,
            context: &context,
        };
        let policies = Policies {
            identity: &[],
            boundary: None,
            resource: ResourcePolicy::Trust(&role.trust),
            owner: &self.role.account,
        };
        match access(&request, &policies) {
            Access::Allowed => {}
            Access::Unknown(cause) => {
                let note = format!(
                    "the trust policy of role {} may not allow S3 to assume it: {cause}",
                    self.role
                );
                found.notes.push((ConditionType::RoleReady, note));
            }
            Access::Denied(..) | Access::NotAllowed(_) => {
                let message = format!(
                    "the trust policy of role {} does not allow S3 to assume it: have the role's owner apply status.requiredActions",
                    self.role
                );
                let trust = self.trust();
                let command = format!(
                    "aws iam update-assume-role-policy --role-name {} --policy-document {}",
                    self.role.name,
                    quoted(&trust.to_string())
                );
                let action = self.action(
                    format!("trust policy of role {}", self.role),
                    &trust,
                    command,
                );
                found
                    .problems
                    .push(with(Reason::RoleNotAssumable, message, action));
            }
        }
    }

    /// All policies of the role and its boundary, or the first that can't be read.
    pub(super) fn policies(
        &self,
        foreign: &ForeignRole,
        role: &Role,
    ) -> Result<(Vec<Document>, Option<Document>), Problem> {
        let lists = [foreign.names.failure(), foreign.attached.failure()];
        let inline = foreign.inline.values().cloned();
        let attached = foreign.attached.present().into_iter().flatten();
        let attached = attached.map(|policy| self.observed.managed_policy(policy));
        let mut documents = vec![];
        for read in inline.chain(attached) {
            match read {
                Facet::Present(document) => documents.push(document),
                Facet::Failed(failure) => return Err(failed(ConditionType::RoleReady, &failure)),
                Facet::Absent | Facet::Unread => {}
            }
        }
        if let Some(failure) = lists.into_iter().flatten().next() {
            return Err(failed(ConditionType::RoleReady, failure));
        }
        let boundary = role
            .boundary
            .as_ref()
            .map(|arn| self.observed.managed_policy(arn));
        match boundary {
            Some(Facet::Failed(failure)) => Err(failed(ConditionType::RoleReady, &failure)),
            // A policy that is gone allows nothing.
            Some(Facet::Absent) => Ok((documents, Some(Document::default()))),
            Some(Facet::Present(document)) => Ok((documents, Some(document))),
            Some(Facet::Unread) | None => Ok((documents, None)),
        }
    }

    /// Whether the role's policies allow everything; under unmanaged rules the operator adds its own policy, so that only a denial matters.
    fn suffices(&self, identity: &[Document], found: &mut Preflight) {
        let adds = !self.account.roles.are_checked();
        let (mut missing, mut unknown): (Vec<String>, Option<(String, String)>) = (vec![], None);
        for asked in &self.requests {
            let needed = format!("{} on {}", asked.action, asked.resource);
            let request = asked.request();
            let is_for_tags = MAY_BE_DENIED.contains(&asked.action);
            for denial in identity.iter().map(|policy| policy.forbids(&request)) {
                match denial {
                    Denial::No => {}
                    Denial::Perhaps(_, cause) => {
                        unknown.get_or_insert((needed.clone(), cause.to_string()));
                    }
                    Denial::Yes(_) if is_for_tags => {
                        unknown.get_or_insert((needed.clone(), WITHOUT_TAGS.to_owned()));
                    }
                    Denial::Yes(statement) => {
                        found.problems.push(self.denied(&statement, &needed));
                        return;
                    }
                }
            }
            let allows = identity.iter().map(|policy| policy.allows(&request));
            match if adds { Truth::Yes } else { Truth::any(allows) } {
                Truth::Yes => {}
                Truth::No if is_for_tags => {
                    unknown.get_or_insert((needed, WITHOUT_TAGS.to_owned()));
                }
                Truth::No => missing.push(needed),
                Truth::Unknown(cause) => {
                    unknown.get_or_insert((needed, cause.to_string()));
                }
            }
        }
        if !missing.is_empty() {
            found.problems.push(self.lacking(&missing));
        } else if let Some((first, cause)) = unknown {
            let note = format!(
                "the policies of role {} may not allow {first}, which S3 needs: {cause}",
                self.role
            );
            found.notes.push((ConditionType::RoleReady, note));
        }
    }

    fn denied(&self, statement: &DenyingStatement, needed: &str) -> Problem {
        let message = format!(
            "statement {statement} of a policy of role {} denies {needed}, which S3 needs: have the role's owner remove or narrow the statement",
            self.role
        );
        Problem::new(ConditionType::RoleReady, Reason::RolePolicyNeeded, message)
    }

    fn lacking(&self, missing: &[String]) -> Problem {
        let lacking = first_of(missing);
        let message = format!(
            "the policies of role {} do not allow {lacking}, which S3 needs: have the role's owner apply status.requiredActions",
            self.role
        );
        let policy = self.needed();
        let document = format!("policies of role {}", self.role);
        let action = self.action(document, &policy, self.put(&policy));
        with(Reason::RolePolicyNeeded, message, action)
    }

    /// Whether the role's own permissions boundary allows everything.
    fn is_within(&self, role: &Role, boundary: Option<&Document>, found: &mut Preflight) {
        let (Some(arn), Some(boundary)) = (&role.boundary, boundary) else {
            return;
        };
        let (missing, unknown) = self.missing_in(boundary);
        if let Some(first) = missing.first() {
            let message = format!(
                "permissions boundary {arn} of role {} does not allow {first}, which S3 needs: have the role's owner widen it",
                self.role
            );
            found.problems.push(Problem::new(
                ConditionType::RoleReady,
                Reason::BoundaryTooNarrow,
                message,
            ));
        } else if let Some((first, cause)) = unknown.first() {
            let note = format!(
                "permissions boundary {arn} of role {} may not allow {first}, which S3 needs: {cause}",
                self.role
            );
            found.notes.push((ConditionType::RoleReady, note));
        }
    }
}
