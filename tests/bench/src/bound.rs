//! A lower bound: the requests that the operator makes for one object, recorded, and replayed for many objects with the same concurrency, without it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use strict_aws::message::{Request, fields};

use crate::{
    fleet::{Fleet, USERS},
    ground::{Ground, NAMESPACE},
    meter::{self, Requests},
};
use api::{AwsAccount, BucketReplication, FIELD_MANAGER, FINALIZER};

/// What the operator asks for one object whose account and destination it knows.
pub struct Template {
    /// The object, which is also the name of the source bucket.
    name: String,
    /// Its role.
    role: String,
    /// The requests to AWS, in rounds, with the status of each answer.
    rounds: Vec<Vec<(Request, Option<u16>)>>,
    /// The requests to the API server, by verb, resource and subresource.
    requests: Requests,
    /// The object's status in the end.
    status: Value,
}

/// What a template is made of, for the table.
pub struct Figures {
    /// Calls to AWS.
    pub calls: usize,
    /// Rounds of these calls.
    pub rounds: usize,
    /// Milliseconds from the first to the last of them.
    pub span: u64,
}

impl Template {
    /// Records what the operator, which runs, does for a new object, after another one like it: it needs nothing that all of them share, and what they
    /// read of the destination was read a moment ago.
    ///
    /// # Errors
    /// When an object does not become ready.
    pub async fn record(ground: &Ground) -> anyhow::Result<(Self, Figures)> {
        let most = Duration::from_mins(1);
        let [first, like_it, second] =
            ["first", "like", "template"].map(|label| Fleet::new(ground, 0, label, 1));
        first.create().await?;
        first.ready(1, most).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = meter::requests(ground).await?;
        like_it.create().await?;
        like_it.ready(1, most).await?;
        let _ = ground.aws.take_calls();
        ground.aws.record_requests();
        second.create().await?;
        second.ready(1, most).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (calls, requests) = (ground.aws.take_calls(), ground.aws.take_requests());
        let after = meter::requests(ground).await?;
        // The same was asked of the API server for both.
        let mut of_both = meter::since(&before, &after);
        for count in of_both.values_mut() {
            *count /= 2;
        }
        let name = second.names[0].clone();
        let object = second.get(&name).await?;
        let rounds = meter::rounds(&calls);
        let figures = Figures {
            calls: calls.len(),
            rounds: rounds.len(),
            span: meter::span(&calls),
        };
        let created = requests.iter().find_map(|request| {
            let body = String::from_utf8_lossy(&request.body);
            let form = fields(&body);
            let is_creation = form.get("Action").is_some_and(|of| of == "CreateRole");
            is_creation.then(|| form.get("RoleName").cloned()).flatten()
        });
        let of_round = |round: Vec<usize>| {
            let recorded = round.into_iter();
            recorded
                .map(|index| (requests[index].clone(), calls[index].status))
                .collect()
        };
        let template = Self {
            role: created.context("no role was created")?,
            rounds: rounds.into_iter().map(of_round).collect(),
            requests: of_both,
            status: serde_json::to_value(&object.status)?,
            name,
        };
        // The first one stays, with what all of them share.
        for fleet in [like_it, second] {
            fleet.delete().await?;
            fleet.gone(most).await?;
        }
        Ok((template, figures))
    }
}

/// Sends the requests of a template for an object.
struct Replay<'a> {
    ground: &'a Ground,
    template: &'a Template,
    http: Client<HttpConnector, Full<Bytes>>,
    objects: Api<BucketReplication>,
    accounts: Api<AwsAccount>,
}

/// How long the same requests take for every object of `fleet`, at most `at_once` objects at the same time. What it made is removed.
///
/// # Errors
/// When an answer is not that of the recording.
pub async fn replay(
    ground: &Ground,
    template: &Template,
    fleet: &Fleet,
    at_once: usize,
) -> anyhow::Result<Duration> {
    let before = ground.aws.with(|state| state.clone());
    let replay = Replay {
        ground,
        template,
        http: Client::builder(TokioExecutor::new()).build_http(),
        objects: Api::namespaced(ground.client.clone(), NAMESPACE),
        accounts: Api::all(ground.client.clone()),
    };
    let start = Instant::now();
    stream::iter(&fleet.names)
        .map(|name| fleet.create_one(name))
        .buffer_unordered(USERS)
        .try_for_each_concurrent(at_once, |object| replay.of(object))
        .await?;
    let took = start.elapsed();
    fleet.remove().await?;
    ground.aws.with(|state| *state = before);
    let _ = ground.aws.take_calls();
    Ok(took)
}

impl Replay<'_> {
    async fn of(&self, object: BucketReplication) -> anyhow::Result<()> {
        let name = object.metadata.name.clone().context("a name")?;
        let mut last = vec![];
        for ((verb, resource, subresource), count) in &self.template.requests {
            for _ in 0..*count {
                let kind = (verb.as_str(), resource.as_str(), subresource.as_str());
                match kind {
                    // The last status and the Event say what came of it.
                    ("APPLY", "bucketreplications", "status") | ("POST", "events", _) => {
                        last.push(kind);
                    }
                    _ => self.ask(&name, kind).await?,
                }
            }
        }
        for round in &self.template.rounds {
            let sent = round.iter();
            try_join_all(sent.map(|(request, status)| self.send(&name, request, *status))).await?;
        }
        for kind in last {
            self.ask(&name, kind).await?;
        }
        Ok(())
    }

    /// One request to the API server, as the operator makes it.
    async fn ask(&self, name: &str, kind: (&str, &str, &str)) -> anyhow::Result<()> {
        match kind {
            ("LIST", "bucketreplications", "") => {
                let params = ListParams::default().fields(&format!("spec.source.bucket={name}"));
                let all: Api<BucketReplication> = Api::all(self.ground.client.clone());
                all.list(&params).await.map(drop)?;
            }
            ("GET", "bucketreplications", "") => self.objects.get(name).await.map(drop)?,
            ("LIST", "awsaccounts", "") => {
                let params = ListParams::default().fields("metadata.name=dr");
                self.accounts.list_metadata(&params).await.map(drop)?;
            }
            ("GET", "awsaccounts", "") => self.accounts.get_metadata("dr").await.map(drop)?,
            ("PATCH", "bucketreplications", "") => {
                let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
                self.objects
                    .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .map(drop)?;
            }
            ("APPLY" | "PATCH", "bucketreplications", "status") => {
                let status = json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication", "metadata": {"name": name}, "status": self.template.status});
                let (parameters, patch) = if kind.0 == "APPLY" {
                    (
                        PatchParams::apply(FIELD_MANAGER).force(),
                        Patch::Apply(status),
                    )
                } else {
                    (PatchParams::default(), Patch::Merge(status))
                };
                self.objects
                    .patch_status(name, &parameters, &patch)
                    .await
                    .map(drop)?;
            }
            ("POST", "events", "") => {
                let events: Api<k8s_openapi::api::events::v1::Event> =
                    Api::namespaced(self.ground.client.clone(), NAMESPACE);
                let event = serde_json::from_value(json!({
                    "metadata": {"generateName": "replay-", "namespace": NAMESPACE},
                    "action": "Replicating", "reason": "Ready", "type": "Normal", "note": "replayed",
                    "reportingController": "bench", "reportingInstance": "bench",
                    "eventTime": self.template.status["conditions"][0]["lastTransitionTime"].as_str().map(|time| time.replace('Z', ".000000Z")),
                    "regarding": {"apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication", "name": name, "namespace": NAMESPACE},
                }))?;
                events
                    .create(&PostParams::default(), &event)
                    .await
                    .map(drop)?;
            }
            // Their number does not depend on the number of objects, and the users create these themselves.
            (_, "leases", _)
            | (_, "awsaccounts", "status")
            | ("POST", "bucketreplications", "") => {}
            (verb, resource, subresource) => bail!(
                "the operator made a request that is not replayed: {verb} {resource}/{subresource}"
            ),
        }
        Ok(())
    }

    /// One call to AWS.
    async fn send(
        &self,
        name: &str,
        request: &Request,
        expected: Option<u16>,
    ) -> anyhow::Result<()> {
        let (of, role) = (&self.template.name, &self.template.role);
        // As long as the recorded one, and another for each object.
        let number = name.rsplit('-').next().unwrap_or_default();
        let kept = role.len().saturating_sub(number.len());
        let other_role = format!("{}{number}", &role[..kept]);
        let renamed = |text: &str| text.replace(role, &other_role).replace(of, name);
        let path = renamed(&request.path);
        let query = renamed(&request.query);
        let body = renamed(&String::from_utf8_lossy(&request.body));
        let uri = format!("{}{path}?{query}", self.ground.endpoint());
        let mut sent = hyper::Request::builder()
            .method(request.method.as_str())
            .uri(uri);
        for (header, value) in &request.headers {
            if !OF_A_CONNECTION.contains(&header.as_str()) {
                sent = sent.header(header, value);
            }
        }
        let answer = self
            .http
            .request(sent.body(Full::new(Bytes::from(body)))?)
            .await?;
        let status = answer.status().as_u16();
        let answer = answer.into_body().collect().await?.to_bytes();
        if Some(status) != expected {
            bail!(
                "{} {path}?{query} of the replay was answered with {status}, and {expected:?} when it was recorded: {}",
                request.method,
                String::from_utf8_lossy(&answer)
            );
        }
        Ok(())
    }
}

/// Headers that are about a connection, or about the bytes of a body, and not about what is asked.
const OF_A_CONNECTION: [&str; 7] = [
    "host",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
];

/// What the API server was asked in all, for a table.
pub fn total(requests: &Requests) -> u64 {
    let without_leases = requests
        .iter()
        .filter(|((_, resource, _), _)| resource != "leases");
    without_leases.map(|(_, count)| count).sum()
}

/// The requests by kind, in words.
pub fn in_words(requests: &Requests) -> BTreeMap<String, u64> {
    let kinds = requests.iter().map(|((verb, resource, part), count)| {
        let part = if part.is_empty() {
            String::new()
        } else {
            format!("/{part}")
        };
        (format!("{verb} {resource}{part}"), *count)
    });
    kinds.collect()
}
