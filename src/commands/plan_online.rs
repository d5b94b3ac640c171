//! `plan` with cluster and AWS: the steps that would be applied now, for all objects on each bucket with those of the files.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};

use crate::{
    api::{AwsAccount, BucketReplication, bucket_replication::Mode},
    api_server,
    cloud::{
        aws::{Aws, AwsCloud, LatestAccounts},
        editor::Editors,
    },
    config::Plan,
    controller::visit::decided,
    leader::Leadership,
    metrics::Metrics,
    replication::{
        Object,
        accounts::{Accounts, Labels},
        names::{InstallationId, ObjectKey, OwnedBucket},
        observed::Observed,
        validate::source_of,
        visit::{Times, Visit, decision::Decision, disposition::Disposition, upstream_of},
    },
};

use super::plan_answer::{Answer, BucketPlan, Given, default_installation, five, lines, refused};

/// How many buckets are read at once.
const AT_THE_SAME_TIME: usize = 4;

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

/// With cluster and AWS: the steps that would be applied now, for all objects on each bucket, with those of the files as they are there. Who may not read
/// the accounts gets the answer of the API server.
pub(super) async fn online(
    arguments: &Plan,
    replications: Vec<(String, BucketReplication)>,
    files: Vec<AwsAccount>,
) -> anyhow::Result<Answer> {
    let (client, namespace) = api_server::client_of(&arguments.cluster)
        .await
        .context("no cluster: use --offline, or set KUBECONFIG")?;
    let namespace = arguments.namespace.as_ref().unwrap_or(&namespace);
    let given = replications
        .into_iter()
        .map(|named| Given::in_namespace(named, namespace));
    let given: Vec<_> = given.collect();
    let cluster = match Cluster::read(files, &client).await {
        Ok(cluster) => cluster,
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            return dry_run(&given, client, &status.message).await;
        }
        Err(error) => return Err(error.into()),
    };
    let mut answer = Answer::default();
    let mut by_source = BTreeMap::<OwnedBucket, Vec<Given>>::new();
    for one in given {
        let namespace = one.namespace();
        if !cluster.labels.contains_key(&namespace) {
            answer.refuse(&one, &anyhow!("there is no namespace {namespace}"));
            continue;
        }
        match source_of(&one.replication.spec, &cluster.accounts) {
            Ok(source) => by_source.entry(source).or_default().push(one),
            Err(problem) => answer.refuse(&one, &refused(&[problem])),
        }
    }
    let installation = installation(arguments, &cluster, &mut answer)?;
    let aws = Aws::from_environment(installation.clone(), Metrics::default()).await;
    let decided = by_source.into_iter().map(|(source, given)| {
        let (cluster, installation, aws) = (&cluster, &installation, aws.clone());
        async move {
            let (keys, visit) = visit(arguments, cluster, installation, source, &given);
            let decided = decided_in_aws(aws, &visit).await;
            (given, keys, visit, decided)
        }
    });
    let mut decided = stream::iter(decided).buffered(AT_THE_SAME_TIME);
    while let Some((given, keys, visit, decided)) = decided.next().await {
        let (decision, observed) =
            decided.with_context(|| format!("bucket {}", visit.source.name))?;
        let planned = given.iter().zip(&keys);
        add(
            arguments,
            &mut answer,
            &visit,
            planned,
            &decision,
            &observed,
        );
    }
    Ok(answer)
}

/// The installation that the plan is for.
fn installation(
    arguments: &Plan,
    cluster: &Cluster,
    answer: &mut Answer,
) -> anyhow::Result<InstallationId> {
    let known = arguments.installation_id.clone();
    if let Some(known) = known.or_else(|| named_installation(&cluster.existing)) {
        return Ok(known);
    }
    let warning = "no BucketReplication in the cluster shows an installation ID in its status, so the plan uses \"default\": set --installation-id";
    answer.warn(warning.to_owned());
    default_installation()
}

/// The visit of a bucket once the given objects are applied, and their keys.
fn visit(
    arguments: &Plan,
    cluster: &Cluster,
    installation: &InstallationId,
    source: OwnedBucket,
    given: &[Given],
) -> (Vec<ObjectKey>, Visit) {
    let (keys, objects) = cluster.objects_on(&source, given);
    let upstream = upstream_of(&source, &cluster.existing);
    let times = Times {
        drain: arguments.drain_period,
        ..Times::AT_ONCE
    };
    let visit = Visit::new(
        installation.clone(),
        Arc::clone(&cluster.accounts),
        source,
        objects,
        upstream,
        times,
        Timestamp::now(),
    );
    (keys, visit)
}

async fn decided_in_aws(aws: Aws, visit: &Visit) -> anyhow::Result<(Decision, Observed)> {
    let editors = Editors::new(Duration::ZERO, Timestamp::now);
    let accounts = Arc::clone(&visit.accounts);
    let cloud = AwsCloud {
        aws,
        accounts: Arc::clone(&accounts),
        latest: LatestAccounts::by(move || Arc::clone(&accounts)),
        role: visit.role(),
        since: editors.moment(),
        editors,
        leadership: Leadership::alone(),
    };
    decided(&cloud, visit).await
}

/// Adds what was decided for a bucket: steps and documents if any of its given objects can get what it asks for, and what keeps the others from it.
fn add<'a>(
    arguments: &Plan,
    answer: &mut Answer,
    visit: &Visit,
    planned: impl Iterator<Item = (&'a Given, &'a ObjectKey)>,
    decision: &Decision,
    observed: &Observed,
) {
    let mut acting = vec![];
    let mut objects = vec![];
    for (given, key) in planned {
        match decision.dispositions.get(key) {
            Some(Disposition::Acting {
                resolved, problems, ..
            }) => {
                let problems = problems.iter().map(|problem| problem.message.clone());
                let notes = resolved.notes.iter().map(|(_, note)| note.clone());
                problems.chain(notes).for_each(|words| answer.warn(words));
                acting.push((&resolved.valid, resolved.keys.as_ref()));
                objects.push(given.key());
            }
            Some(Disposition::Refused { problems, .. }) => answer.refuse(given, &refused(problems)),
            _ => answer.refuse(given, &anyhow!("it is neither planned nor refused")),
        }
    }
    if objects.is_empty() {
        return;
    }
    for blocker in &decision.blockers {
        answer.warn(blocker.message.clone());
    }
    answer.buckets.push(BucketPlan {
        bucket: visit.source.name.to_string(),
        objects,
        steps: lines(&decision.steps, observed, arguments.verbose),
        documents: five(&decision.desired, &acting),
    });
}

/// Asks the API server whether it takes the objects, by a dry run: what its admission policies say is all that a user sees who may not read the accounts.
async fn dry_run(given: &[Given], client: Client, refusal: &str) -> anyhow::Result<Answer> {
    let mut answer = Answer::default();
    answer.warn(format!(
        "{refusal}. Without that, no step can be planned, so the API server was asked by a dry run whether it takes each object. To see the steps, apply the object with spec.mode: Observe, and run plan NAME"
    ));
    for one in given {
        let api = Api::<BucketReplication>::namespaced(client.clone(), &one.namespace());
        let parameters = PatchParams::apply("kubectl-bucketreplication")
            .dry_run()
            .force();
        let name = one.replication.name_any();
        match api
            .patch(&name, &parameters, &Patch::Apply(&one.replication))
            .await
        {
            Ok(_) => answer.taken.push(one.key()),
            Err(error) => answer.refuse(one, &error.into()),
        }
    }
    Ok(answer)
}

/// What the cluster has, and the accounts in the files.
struct Cluster {
    accounts: Arc<Accounts>,
    labels: BTreeMap<String, Labels>,
    existing: Vec<BucketReplication>,
}

impl Cluster {
    /// All objects on `source` once those of the files are applied, and the keys of these.
    fn objects_on(&self, source: &OwnedBucket, given: &[Given]) -> (Vec<ObjectKey>, Vec<Object>) {
        let labels_of = |replication: &BucketReplication| {
            let namespace = replication.namespace().unwrap_or_default();
            self.labels.get(&namespace).cloned().unwrap_or_default()
        };
        let applied = given.iter().map(|one| {
            let planned = &one.replication;
            let mut existing = self.existing.iter();
            let mut this = match existing.find(|other| is_same(other, planned)) {
                Some(existing) => Object::of(&edited(existing, planned), labels_of(planned)),
                None => Object::of(planned, labels_of(planned)),
            };
            // A plan shows what would be done, so an object in Observe mode is planned as in Enforce mode.
            this.spec.mode = Mode::Enforce;
            this.created = this.created.or_else(|| Some(Timestamp::now()));
            this
        });
        let applied: Vec<_> = applied.collect();
        let is_given =
            |other: &BucketReplication| given.iter().any(|one| is_same(other, &one.replication));
        let others = self
            .existing
            .iter()
            .filter(|other| other.spec.source.bucket == source.name.as_str())
            .filter(|other| !is_given(other))
            .filter(|other| {
                let of_other = source_of(&other.spec, &self.accounts);
                of_other.is_ok_and(|of_other| of_other == *source)
            })
            .map(|other| Object::of(other, labels_of(other)));
        let keys = applied.iter().map(|object| object.key.clone()).collect();
        (keys, others.chain(applied.iter().cloned()).collect())
    }

    async fn read(files: Vec<AwsAccount>, client: &Client) -> kube::Result<Self> {
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
            accounts: Arc::new(Accounts::new(&accounts)),
            labels: namespaces
                .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
                .collect(),
            existing: Api::<BucketReplication>::all(client.clone())
                .list(&all)
                .await?
                .items,
        })
    }
}
