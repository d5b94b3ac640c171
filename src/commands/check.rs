//! `check`: whether an installation is well, as `helm test` and people ask it: the CRDs are served, a replica works, the accounts can be used.

use std::fmt::Write;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{
    api::{AwsAccount, BucketReplication, condition::ConditionType},
    config::Check,
};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// A line for each thing that was looked at.
    pub text: String,
    /// Whether all of it is well.
    pub well: bool,
}

/// Looks, as the caller of the kubeconfig or as the pod's `ServiceAccount`.
///
/// # Errors
/// When the cluster can't be asked, or does not serve the CRDs.
pub async fn run(arguments: &Check) -> anyhow::Result<Found> {
    let client = Client::try_default().await.context("no cluster: set KUBECONFIG, or run in a pod with a ServiceAccount")?;
    let missing = "is not served, or may not be listed: install the chart with crds.install=true, and look at its RBAC";
    let accounts = Api::<AwsAccount>::all(client.clone()).list(&ListParams::default()).await;
    let accounts = accounts.with_context(|| format!("kind AwsAccount {missing}"))?;
    let replications = match arguments.watch_namespaces.as_slice() {
        [] => vec![Api::<BucketReplication>::all(client.clone())],
        namespaces => namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
    };
    let mut found = Found { text: String::new(), well: true };
    let (mut all, mut ready) = (0, 0);
    for api in replications {
        let list = api.list(&ListParams::default()).await.with_context(|| format!("kind BucketReplication {missing}"))?;
        all += list.items.len();
        let is_ready = |object: &&BucketReplication| {
            let conditions = object.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == ConditionType::Ready.as_str() && condition.status == "True")
        };
        ready += list.iter().filter(is_ready).count();
    }
    let leases: Api<Lease> = Api::namespaced(client, &arguments.release_namespace);
    let lease = leases.get_opt(&arguments.release_name).await.context("the lease can't be read")?;
    let (text, well) = leader(lease.as_ref(), arguments, Timestamp::now());
    found.tell(well, &text);
    for account in &accounts.items {
        let condition = account.status.iter().flat_map(|status| &status.conditions).find(|condition| condition.type_ == "Ready");
        let name = account.name_any();
        match condition {
            Some(ready) if ready.status == "True" => found.tell(true, &format!("AwsAccount {name}: ready")),
            Some(ready) => found.tell(false, &format!("AwsAccount {name}: {}: {}", ready.reason, ready.message)),
            // The status of accounts is not written by an operator of some namespaces.
            None => found.tell(!arguments.watch_namespaces.is_empty(), &format!("AwsAccount {name}: nobody has looked at it yet")),
        }
    }
    found.tell(true, &format!("BucketReplications: {ready} of {all} ready"));
    Ok(found)
}

impl Found {
    fn tell(&mut self, well: bool, text: &str) {
        self.well &= well;
        let _ = writeln!(self.text, "{} {text}", if well { "ok  " } else { "FAIL" });
    }
}

/// Whether a replica renews the lease.
fn leader(lease: Option<&Lease>, arguments: &Check, now: Timestamp) -> (String, bool) {
    let Check { release_name, release_namespace, .. } = arguments;
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let duration = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    match renewed {
        Some(renewed) if !holder.is_empty() && now.duration_since(renewed.0) <= SignedDuration::from_secs(duration.into()) => {
            (format!("leader: {}", holder.split('_').next().unwrap_or(holder)), true)
        }
        _ => (format!("no replica holds lease {release_name} in namespace {release_namespace}: look at the pods' logs"), false),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

    use super::*;

    #[test]
    fn a_replica_works_that_renewed_its_lease_in_time() {
        let arguments = Check { release_namespace: "operator".into(), release_name: "brepl".into(), watch_namespaces: vec![] };
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let lease = |holder: &str, renewed: &str| Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                renew_time: Some(MicroTime(renewed.parse().expect("a time"))),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        assert_eq!(leader(Some(&lease("pod-a_1_2", "2026-01-01T00:00:50Z")), &arguments, now), ("leader: pod-a".into(), true));
        for gone in [Some(lease("pod-a_1_2", "2026-01-01T00:00:44Z")), Some(lease("", "2026-01-01T00:00:59Z")), None] {
            let (text, well) = leader(gone.as_ref(), &arguments, now);
            assert!(!well && text.contains("lease brepl in namespace operator"), "{text}");
        }
    }
}
