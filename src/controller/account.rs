//! Reconciles an `AWSAccount`: the operator's identity in it, the objects that use it, and its orphaned roles.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{kubernetes::AccountVersion, publish::RECONCILE, reconcile::Context};
use crate::{
    api::{
        AwsAccount, BucketReplication,
        aws_account::{Access, AwsAccountStatus, Replication},
        condition::{ConditionType, Reason},
        finding::Finding,
    },
    replication::{
        Problem,
        accounts::{Account, Accounts},
        assess,
        names::{AccountId, RoleName},
        observed::{Failure, FailureKind},
        requeue::Ending,
        validate::source_of,
        visit::check_period::Checked,
    },
};

/// The most entries of a list in the status. The counts next to them include all.
const MOST_LISTED: usize = 100;

/// What is remembered of an `AWSAccount`.
#[derive(Clone, Default)]
pub struct AccountMemory {
    identity: Option<Identified>,
    /// When roles were last listed.
    swept: Option<Instant>,
}

/// The operator's identity in an account: for which version of the `AWSAccount`, since when, and the outcome.
#[derive(Clone)]
struct Identified {
    version: AccountVersion,
    since: Instant,
    finding: Finding,
    arn: String,
}

impl Context {
    /// Visits an `AWSAccount`, and returns how that ended. Nothing is left to visit if it is gone.
    pub(super) async fn account(&self, name: &str) -> Option<Ending> {
        let Some(object) = self.accounts.find(|account| account.name_any() == name) else {
            self.forget_account(name);
            return None;
        };
        if !self.writes_account_status {
            return None;
        }
        let accounts = self.current_accounts();
        let (finding, identity) = self.identify(&object, &accounts).await;
        let replications = replications(name, &self.all_objects());
        let period = shortest_drift_period(&object, &replications);
        let finding = slower(finding, period, self.periods.drift);
        let previous = object.status.clone().unwrap_or_default();
        let generation = object.metadata.generation;
        let orphaned = self.orphaned_roles(name, &accounts, &finding).await;
        let status = AwsAccountStatus {
            observed_generation: generation,
            conditions: vec![finding.condition(
                ConditionType::Ready,
                generation,
                &previous.conditions,
                Timestamp::now(),
            )],
            identity_arn: (!identity.is_empty()).then_some(identity),
            replication_count: i64::try_from(replications.len()).ok(),
            replications: replications.into_iter().take(MOST_LISTED).collect(),
            shortest_drift_period: period.map(readable),
            orphaned_role_count: orphaned
                .as_ref()
                .map_or(previous.orphaned_role_count, |found| {
                    i64::try_from(found.len()).ok()
                }),
            orphaned_role_arns: orphaned.map_or_else(
                || previous.orphaned_role_arns.clone(),
                |found| found.into_iter().take(MOST_LISTED).collect(),
            ),
        };
        if status != previous
            && let Err(error) = self.kubernetes.write_account_status(&object, &status).await
        {
            tracing::warn!(%error, account = name, "the status of an AWSAccount was not written");
            return Some(Ending::Retry);
        }
        self.report(&object, &previous, &finding).await;
        let holds = finding.holds == Some(true);
        Some(if holds { Ending::Done } else { Ending::Blocked })
    }

    /// Records an Event if an account became ready, ceased to be, or is not for another reason.
    async fn report(&self, account: &AwsAccount, previous: &AwsAccountStatus, now: &Finding) {
        let (holds, reason) = (now.status(), now.reason.as_str());
        let mut before = previous.conditions.iter();
        if before.any(|before| before.status == holds && before.reason == reason) {
            return;
        }
        let warning = now.holds == Some(false);
        self.kubernetes
            .record(account, warning, reason, RECONCILE, &now.message)
            .await;
    }

    /// The operator's identity in the account. It is read once in a preflight period, and at each visit while that fails.
    async fn identify(&self, object: &AwsAccount, accounts: &Accounts) -> (Finding, String) {
        let name = object.name_any();
        let version = AccountVersion::of(&object.metadata);
        let account = match accounts.by_name(&name) {
            Ok(account) => account,
            Err(problem) => {
                let problem = accounts.problem(&name).cloned().unwrap_or(problem);
                return (Finding::no(problem.reason, problem.message), String::new());
            }
        };
        if account.access == Access::External {
            let message = "access is External: the operator has no credentials in this account, and its owner applies what is needed";
            return (
                Finding::unknown(Reason::NotObservable, message),
                String::new(),
            );
        }
        if let Some(known) = self.account_memory(&name).identity
            && known.version == version
            && known.since.elapsed() < self.times.preflight
            && known.finding.holds == Some(true)
        {
            return (known.finding, known.arn);
        }
        let (finding, arn) = self.ask_identity(account).await;
        let identified = Identified {
            version,
            since: Instant::now(),
            finding: finding.clone(),
            arn: arn.clone(),
        };
        self.account_memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name)
            .or_default()
            .identity = Some(identified);
        (finding, arn)
    }

    /// What is known of an account that is gone is not needed, and does not hold for another of its name.
    fn forget_account(&self, name: &str) {
        self.metrics.without_account(name);
        let mut memories = self
            .account_memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        memories.remove(name);
        drop(memories);
        let accounts = self.current_accounts();
        let exists = |id: &AccountId| accounts.by_id(id).is_some();
        self.aws.keep_only(&exists);
        self.editors.uses.keep_only(&exists);
    }

    async fn ask_identity(&self, account: &Account) -> (Finding, String) {
        identified(account, self.aws.identity(account).await)
    }

    fn account_memory(&self, name: &str) -> AccountMemory {
        self.account_memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// ARNs of roles of this installation in the account that no object uses any longer, for example because a finalizer was removed or a cluster
    /// restored. They are reported and never deleted. `None` if it is not time to read them, or AWS does not list them.
    async fn orphaned_roles(
        &self,
        name: &str,
        accounts: &Accounts,
        finding: &Finding,
    ) -> Option<Vec<String>> {
        let account = accounts
            .by_name(name)
            .ok()
            .filter(|account| account.access == Access::Managed && account.has_sources())
            .filter(|account| !account.roles.are_checked())?;
        let recently = self
            .account_memory(name)
            .swept
            .is_some_and(|since| since.elapsed() < self.times.sweep);
        if recently || finding.holds != Some(true) {
            return None;
        }
        let roles = match self
            .aws
            .roles(account, &account.roles.path, &self.installation)
            .await
        {
            Ok(roles) => roles,
            Err(failure) => {
                tracing::warn!(account = name, error = %failure, "orphaned roles were not read");
                return None;
            }
        };
        // An object that was created after the list was requested is in the store by now.
        let sources = self
            .all_objects()
            .into_iter()
            .filter_map(|object| source_of(&object.spec, accounts).ok());
        let live: BTreeSet<_> = sources
            .map(|source| RoleName::of(&self.installation, &source))
            .collect();
        let orphans: BTreeSet<_> = roles
            .into_iter()
            .filter(|role| !live.contains(&role.name))
            .map(|role| role.to_string())
            .collect();
        self.account_memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.to_owned())
            .or_default()
            .swept = Some(Instant::now());
        self.metrics.orphaned_roles(name, orphans.len());
        Some(orphans.into_iter().collect())
    }
}

/// The `BucketReplication`s that name the account, and for which bucket, in order.
fn replications(account: &str, objects: &[Arc<BucketReplication>]) -> Vec<Replication> {
    let mut found: Vec<_> = objects
        .iter()
        .filter_map(|object| {
            let (source, destination) = (&object.spec.source, &object.spec.destination);
            let bucket_of = |name: &str, bucket: &str| (name == account).then(|| bucket.to_owned());
            let replication = Replication {
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
                source_bucket: bucket_of(&source.account_name, &source.bucket),
                destination_bucket: bucket_of(&destination.account_name, &destination.bucket),
            };
            let names_it =
                replication.source_bucket.is_some() || replication.destination_bucket.is_some();
            names_it.then_some(replication)
        })
        .collect();
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    found
}

/// The shortest drift period that the account's limits allow, if it sets any.
fn shortest_drift_period(account: &AwsAccount, replications: &[Replication]) -> Option<Duration> {
    let limits = account.spec.requests_per_second.as_ref()?;
    let number = |has: &dyn Fn(&Replication) -> bool| {
        let counted = replications.iter().filter(|one| has(one)).count();
        u32::try_from(counted).unwrap_or(u32::MAX / 8)
    };
    let checked = Checked {
        sources: number(&|one| one.source_bucket.is_some()),
        destinations: number(&|one| one.destination_bucket.is_some()),
    };
    checked.shortest_period(limits)
}

/// The finding of an account that can be used, with how often its buckets are checked if that is less often than asked for.
fn slower(finding: Finding, period: Option<Duration>, drift: Duration) -> Finding {
    match period {
        Some(period) if period > drift && finding.holds == Some(true) => Finding {
            message: format!(
                "{}; with spec.requestsPerSecond, its buckets are checked for drift every {} and not every {} (--drift-period)",
                finding.message,
                readable(period),
                readable(drift)
            ),
            ..finding
        },
        _ => finding,
    }
}

/// As flags have it: 1h 30m, 20m or 1m 30s.
fn readable(period: Duration) -> String {
    let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
    format!("{period:#}")
}

/// What the answer of `GetCallerIdentity` says about the account.
fn identified(account: &Account, answer: Result<(String, String), Failure>) -> (Finding, String) {
    match answer {
        Ok((arn, id)) if id == account.id.as_str() => {
            // The session's name at the end of an assumed role's ARN adds nothing.
            (
                Finding::yes(Reason::Ready, format!("account {id} can be reached")),
                arn,
            )
        }
        Ok((arn, id)) => {
            let message = format!(
                "{arn} is in account {id}, not in {}: correct spec.accountID or spec.assumeRole",
                account.id
            );
            (Finding::no(Reason::WrongAccount, message), arn)
        }
        Err(failure) => {
            let problem: Problem = assess::failed(ConditionType::Ready, &failure);
            let denied = matches!(
                failure.kind,
                FailureKind::Denied | FailureKind::DeniedByOrganization
            );
            let holds = if denied { Some(false) } else { None };
            (
                Finding {
                    holds,
                    reason: problem.reason,
                    message: problem.message,
                },
                String::new(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(names: &[&str]) -> Accounts {
        let make = |name: &&str| -> AwsAccount {
            let account = serde_json::json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name}, "spec": {"accountID": "111111111111"}});
            serde_json::from_value(account).expect("an AWSAccount")
        };
        Accounts::new(&names.iter().map(make).collect::<Vec<_>>())
    }

    #[test]
    fn an_account_is_only_ready_where_the_answer_comes_from_it() {
        let accounts = accounts(&["prod"]);
        let account = accounts.by_name("prod").expect("prod");
        let answer =
            |id: &str| identified(account, Ok(("arn:aws:iam::1:role/r".into(), id.into()))).0;
        assert_eq!(
            (answer("111111111111").holds, answer("111111111111").reason),
            (Some(true), Reason::Ready)
        );
        assert_eq!(
            (answer("222222222222").holds, answer("222222222222").reason),
            (Some(false), Reason::WrongAccount)
        );
        let failed = |kind| {
            identified(
                account,
                Err(Failure {
                    kind,
                    action: "sts:AssumeRole".into(),
                    message: "no".into(),
                }),
            )
            .0
        };
        assert_eq!(
            (
                failed(FailureKind::Denied).holds,
                failed(FailureKind::Denied).reason
            ),
            (Some(false), Reason::AccessDenied)
        );
        assert_eq!(
            (
                failed(FailureKind::Transient).holds,
                failed(FailureKind::Transient).reason
            ),
            (None, Reason::AwsUnavailable)
        );
    }

    #[test]
    fn an_account_says_if_its_limits_allow_fewer_checks() {
        let account: AwsAccount = serde_json::from_value(serde_json::json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "prod"},
            "spec": {"accountID": "111111111111", "requestsPerSecond": {"iam": 2}},
        }))
        .expect("an AWSAccount");
        let source = |number: usize| Replication {
            namespace: "n".into(),
            name: format!("r{number}"),
            source_bucket: Some(format!("b{number}")),
            destination_bucket: None,
        };
        let of = |many| shortest_drift_period(&account, &(0..many).map(source).collect::<Vec<_>>());
        let ready = || Finding::yes(Reason::Ready, "account 1 can be reached");
        let drift = Duration::from_mins(10);
        assert_eq!(slower(ready(), of(600), drift), ready());
        let said = slower(ready(), of(5400), drift).message;
        assert!(
            said.ends_with(
                "its buckets are checked for drift every 1h 30m and not every 10m (--drift-period)"
            ),
            "{said}"
        );
    }

    #[test]
    fn the_second_that_names_an_account_says_so() {
        let accounts = accounts(&["a", "b"]);
        assert_eq!(
            accounts.problem("b").map(|problem| problem.reason),
            Some(Reason::DuplicateAccount)
        );
    }
}
