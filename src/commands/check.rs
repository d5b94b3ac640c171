//! `check`: whether an installation works, for `helm test` and people: the CRDs are served, a replica holds the lease, the accounts can be used.

use std::{fmt::Write, time::Duration};

use anyhow::Context;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::time::Instant;

use crate::{
    api::{
        AwsAccount,
        condition::{ConditionType, Reason},
    },
    api_server,
    config::Check,
    controller::object_apis,
};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// A line for each check.
    pub text: String,
    /// Whether every check passed.
    pub well: bool,
}

/// Checks, as the user of the kubeconfig or the pod's `ServiceAccount`, until every check passes or the time to wait is over.
///
/// # Errors
/// When the cluster can't be reached, or does not serve the CRDs.
pub async fn run(arguments: &Check) -> anyhow::Result<Found> {
    let client = api_server::client_of(&arguments.cluster).await?.0;
    let deadline = Instant::now() + arguments.wait;
    let mut leader = Leader::default();
    loop {
        let found = look(&client, arguments, &mut leader).await?;
        if found.well || Instant::now() >= deadline {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn look(client: &Client, arguments: &Check, leader: &mut Leader) -> anyhow::Result<Found> {
    let mut found = Found {
        text: String::new(),
        well: true,
    };
    let accounts = Api::<AwsAccount>::all(client.clone())
        .list(&ListParams::default())
        .await;
    let accounts = accounts.context("the AWSAccounts can't be listed")?;
    let everything = arguments.release.watch_namespaces.is_empty();
    for api in object_apis(client, &arguments.release.watch_namespaces) {
        api.list(&ListParams::default().limit(1))
            .await
            .context("the BucketReplications can't be listed")?;
    }
    found.publish(true, "the CRDs are served");
    let leases: Api<Lease> = Api::namespaced(client.clone(), &arguments.release.namespace);
    let lease = leases
        .get_opt(&arguments.release.name)
        .await
        .context("the lease can't be read")?;
    match leader.seen(lease.as_ref()) {
        Some(pod) => found.publish(true, &format!("leader: {pod}")),
        None => found.publish(
            false,
            &format!(
                "no replica renews lease {} in namespace {}: check the pods and their logs, and --release-namespace and --release-name; one that runs without leader election has no lease",
                arguments.release.name, arguments.release.namespace
            ),
        ),
    }
    // An operator of some namespaces does not write the status of accounts.
    for account in accounts.items.iter().filter(|_| everything) {
        let name = account.name_any();
        let mut conditions = account.status.iter().flat_map(|status| &status.conditions);
        match conditions.find(|condition| condition.type_ == ConditionType::Ready.as_str()) {
            Some(ready) if ready.status == "True" => {
                found.publish(true, &format!("AWSAccount {name}: ready"));
            }
            Some(ready) => {
                // The state of an account without credentials is unknown by design.
                let well = ready.reason == Reason::NotObservable.as_str();
                found.publish(
                    well,
                    &format!("AWSAccount {name}: {}: {}", ready.reason, ready.message),
                );
            }
            None => found.publish(
                false,
                &format!("AWSAccount {name}: the operator has not read it yet"),
            ),
        }
    }
    Ok(found)
}

impl Found {
    fn publish(&mut self, well: bool, text: &str) {
        self.well &= well;
        let _ = writeln!(self.text, "{} {text}", if well { "ok  " } else { "FAIL" });
    }
}

/// What was seen of the lease. Its times are those of another machine's clock, so only a change of them is meaningful.
#[derive(Debug, Default)]
struct Leader {
    first: Option<(String, MicroTime)>,
    pod: Option<String>,
}

impl Leader {
    /// The pod that renews the lease, once a renewal was seen.
    fn seen(&mut self, lease: Option<&Lease>) -> Option<&str> {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec
            .and_then(|spec| spec.holder_identity.clone())
            .filter(|holder| !holder.is_empty());
        let now = holder.zip(spec.and_then(|spec| spec.renew_time.clone()));
        if let Some((holder, renewed)) = now {
            match &self.first {
                Some((first, since)) if *first == holder && *since != renewed => {
                    self.pod = holder.split('_').next().map(ToOwned::to_owned);
                }
                Some((first, _)) if *first == holder => {}
                _ => self.first = Some((holder, renewed)),
            }
        }
        self.pod.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    #[test]
    fn a_replica_works_that_is_seen_to_renew_its_lease() {
        let lease = |holder: &str, renewed: &str| Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                renew_time: Some(MicroTime(renewed.parse().expect("a time"))),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        let mut leader = Leader::default();
        assert_eq!(leader.seen(None), None);
        assert_eq!(
            leader.seen(Some(&lease("a_1", "2026-01-01T00:00:00Z"))),
            None
        );
        assert_eq!(
            leader.seen(Some(&lease("a_1", "2026-01-01T00:00:00Z"))),
            None
        );
        assert_eq!(
            leader.seen(Some(&lease("", "2026-01-01T00:00:03Z"))),
            None,
            "nobody holds it"
        );
        assert_eq!(
            leader.seen(Some(&lease("b_1", "2026-01-01T00:00:04Z"))),
            None,
            "another one, which has to renew it first"
        );
        assert_eq!(
            leader.seen(Some(&lease("b_1", "2026-01-01T00:00:07Z"))),
            Some("b")
        );
    }
}
