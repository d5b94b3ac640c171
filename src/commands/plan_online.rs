//! `plan` with cluster and AWS: the steps that would be applied now, for all objects on the bucket including the one in the file.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    api::{AwsAccount, BucketReplication, bucket_replication::Mode},
    api_server,
    cloud::{
        Cloud,
        aws::{Aws, AwsCloud},
        editor::Editors,
    },
    config::{self, Plan},
    leader::Leadership,
    metrics::Metrics,
    replication::{
        Object,
        accounts::{Accounts, Labels},
        names::{InstallationId, ObjectKey, OwnedBucket},
        observed::Observed,
        validate::source_of,
        visit::{
            Next, Times, Visit, decision::Decision, disposition::Disposition, memory::Memory, next,
            seen::Seen, upstream_of,
        },
    },
};

use super::plan_answer::{Answer, default_installation, five, in_namespace, lines, refused};

/// A plan takes new permissions as settled, and a read as final.
pub const AT_ONCE: Times = Times {
    preflight: Duration::ZERO,
    grace: Duration::ZERO,
    settle: Duration::ZERO,
    sweep: Duration::ZERO,
    retry: Duration::ZERO,
    drain: Duration::ZERO,
};

/// What a visit would decide now. Nothing is written.
///
/// # Errors
/// When what is needed can't be read.
pub async fn decided<C: Cloud>(cloud: &C, visit: &Visit) -> anyhow::Result<(Decision, Observed)> {
    let mut seen = Seen::new(visit, Memory::default(), Timestamp::now());
    loop {
        let prepared = match next(visit, &seen, Timestamp::now()) {
            Next::Ask(questions) => {
                let answers = join_all(questions.iter().map(|question| cloud.ask(question))).await;
                seen.answered(visit, answers);
                continue;
            }
            Next::Confirm(prepared) | Next::Apply(prepared) => prepared,
            Next::End(report) => report.prepared.context("nothing was decided")?,
        };
        return Ok((prepared.decision.clone(), seen.observed().clone()));
    }
}

fn is_same(one: &BucketReplication, other: &BucketReplication) -> bool {
    (one.namespace(), one.name_any()) == (other.namespace(), other.name_any())
}

/// What `existing` becomes when `planned` is applied to it.
fn edited(existing: &BucketReplication, planned: &BucketReplication) -> BucketReplication {
    let mut edited = existing.clone();
    edited.spec = planned.spec.clone();
    let annotations = planned.annotations().clone();
    edited.annotations_mut().extend(annotations);
    edited
}

/// Rule IDs begin with the installation's ID.
fn named_installation(objects: &[BucketReplication]) -> Option<InstallationId> {
    let mut rules = objects
        .iter()
        .flat_map(|object| &object.status)
        .flat_map(|status| &status.rules);
    rules.find_map(|rule| rule.id.split('/').next()?.parse().ok())
}

/// With cluster and AWS: the steps that would be applied now, for all objects on the bucket including this one.
pub(super) async fn online(
    arguments: &Plan,
    replication: BucketReplication,
    files: Vec<AwsAccount>,
) -> anyhow::Result<(Answer, bool)> {
    let cluster = Cluster::read(files, &arguments.cluster).await?;
    let source = source_of(&replication.spec, &cluster.accounts);
    let source = source.map_err(|problem| refused(&[problem]))?;
    let mut warnings = vec![];
    let installation = if let Some(known) = arguments
        .installation_id
        .clone()
        .or_else(|| named_installation(&cluster.existing))
    {
        known
    } else {
        let warning = "no BucketReplication in the cluster shows an installation ID in its status, so the plan uses \"default\": set --installation-id";
        warnings.push(warning.to_owned());
        default_installation()?
    };
    let namespace = arguments.namespace.as_ref().unwrap_or(&cluster.namespace);
    let planned = in_namespace(&replication, namespace);
    let (key, objects) = cluster.objects_on(&source, &planned);
    let upstream = upstream_of(&source, &cluster.existing);
    let aws = Aws::from_environment(installation.clone(), Metrics::default()).await;
    let times = Times {
        drain: arguments.drain_period,
        ..AT_ONCE
    };
    let (accounts, now) = (cluster.accounts, Timestamp::now());
    let visit = Visit::new(
        installation,
        accounts,
        source,
        objects,
        upstream,
        times,
        now,
    );
    let editors = Editors::new(Duration::ZERO, Timestamp::now);
    let cloud = AwsCloud {
        aws,
        accounts: Arc::clone(&visit.accounts),
        role: visit.role(),
        since: editors.moment(),
        editors,
        leadership: Leadership::alone(),
    };
    let (decision, observed) = decided(&cloud, &visit).await?;
    answer(arguments, &key, &decision, &observed, warnings)
}

/// The steps and documents of the planned object.
fn answer(
    arguments: &Plan,
    key: &ObjectKey,
    decision: &Decision,
    observed: &Observed,
    mut warnings: Vec<String>,
) -> anyhow::Result<(Answer, bool)> {
    let resolved = match decision.dispositions.get(key) {
        Some(Disposition::Acting {
            resolved, problems, ..
        }) => {
            warnings.extend(problems.iter().map(|problem| problem.message.clone()));
            resolved
        }
        Some(Disposition::Refused { problems, .. }) => return Err(refused(problems)),
        _ => bail!("the object is neither planned nor refused"),
    };
    let blockers = decision.blockers.iter();
    warnings.extend(blockers.map(|problem| problem.message.clone()));
    warnings.extend(resolved.notes.iter().map(|(_, note)| note.clone()));
    let steps = lines(&decision.steps, observed, arguments.verbose);
    let changes = !steps.is_empty();
    let documents = five(&decision.desired, &resolved.valid, resolved.keys.as_ref());
    let answer = Answer {
        steps,
        offline: false,
        documents,
        warnings,
    };
    Ok((answer, changes))
}

/// What the cluster has, and the accounts in the files.
struct Cluster {
    /// The namespace of the context.
    namespace: String,
    accounts: Arc<Accounts>,
    labels: BTreeMap<String, Labels>,
    existing: Vec<BucketReplication>,
}

impl Cluster {
    /// All objects on `source` once `planned` is applied, and the key of that one.
    fn objects_on(
        &self,
        source: &OwnedBucket,
        planned: &BucketReplication,
    ) -> (ObjectKey, Vec<Object>) {
        let labels_of = |replication: &BucketReplication| {
            let namespace = replication.namespace().unwrap_or_default();
            self.labels.get(&namespace).cloned().unwrap_or_default()
        };
        let mut existing = self.existing.iter();
        let mut this = match existing.find(|other| is_same(other, planned)) {
            Some(existing) => Object::of(&edited(existing, planned), labels_of(planned)),
            None => Object::of(planned, labels_of(planned)),
        };
        // A plan shows what would be done, so an object in Observe mode is planned as in Enforce mode.
        this.spec.mode = Mode::Enforce;
        this.created = this.created.or_else(|| Some(Timestamp::now()));
        let others = self
            .existing
            .iter()
            .filter(|other| other.spec.source.bucket == source.name.as_str())
            .filter(|other| !is_same(other, planned))
            .filter(|other| {
                let of_other = source_of(&other.spec, &self.accounts);
                of_other.is_ok_and(|of_other| of_other == *source)
            });
        let key = this.key.clone();
        let others = others.map(|other| Object::of(other, labels_of(other)));
        (key, others.chain([this]).collect())
    }

    async fn read(files: Vec<AwsAccount>, which: &config::Cluster) -> anyhow::Result<Self> {
        let (client, namespace) = api_server::client_of(which)
            .await
            .context("no cluster: use --offline, or set KUBECONFIG")?;
        let all = ListParams::default();
        let mut accounts = files;
        let listed = Api::<AwsAccount>::all(client.clone()).list(&all).await?;
        for account in listed.items {
            let is_same = |given: &AwsAccount| given.name_any() == account.name_any();
            if !accounts.iter().any(is_same) {
                accounts.push(account);
            }
        }
        let namespaces = Api::<Namespace>::all(client.clone());
        let namespaces = namespaces.list_metadata(&all).await?.items.into_iter();
        Ok(Self {
            namespace,
            accounts: Arc::new(Accounts::new(&accounts)),
            labels: namespaces
                .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
                .collect(),
            existing: Api::<BucketReplication>::all(client)
                .list(&all)
                .await?
                .items,
        })
    }
}
