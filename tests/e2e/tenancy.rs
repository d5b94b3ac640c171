//! What namespaces may do: the API server and the controller decide alike, and what is narrowed takes hold.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use bucket_replication_operator::{
    api::{AwsAccount, BucketReplication},
    replication::{Object, accounts::Accounts, validate::validate},
};
use futures::StreamExt;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use testbed::stage::{SOURCE_REGION, Stage, until};

use crate::{
    Ground, bad_input,
    door::{never_touched, nothing_is_written},
};

fn reduced(object: &Value, labels: &Value) -> anyhow::Result<Object> {
    let read: BucketReplication = serde_json::from_value(object.clone())?;
    Ok(Object::of(&read, serde_json::from_value(labels.clone())?))
}

/// Which of the objects the API server would take, by name, and what it says of the others.
async fn tried(ground: &Ground, objects: &[Value]) -> anyhow::Result<(BTreeSet<String>, String)> {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(
        Kubeconfig::read_from(ground.environment.kubeconfig())?,
        &options,
    )
    .await?;
    let client = kube::Client::try_from(config)?;
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::apply("tests")
    }
    .validation_strict();
    let answers = futures::stream::iter(objects.iter().cloned().map(|object| {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let kind = ApiResource::erase::<BucketReplication>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
        let parameters = parameters.clone();
        async move {
            (
                api.patch(&name, &parameters, &Patch::Apply(&object)).await,
                name,
            )
        }
    }));
    let (mut taken, mut said) = (BTreeSet::new(), String::new());
    let mut answers = std::pin::pin!(answers.buffer_unordered(16));
    while let Some((answer, name)) = answers.next().await {
        match answer {
            Ok(_) => {
                taken.insert(name);
            }
            Err(kube::Error::Api(status)) => {
                said.extend([name.as_str(), ": ", &status.message, "\n"]);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((taken, said))
}

/// Selectors of which some are for the namespace, with every operator.
fn selectors(namespace: &str) -> Vec<Value> {
    let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    vec![
        json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}}),
        json!({"matchLabels": {"team": "finance"}}),
        json!({"matchLabels": {"team": "finance", "stage": "test"}}),
        json!({"matchLabels": {"kubernetes.io/metadata.name": "somebody-else"}}),
        expression("team", "In", json!(["hr", "finance"])),
        expression("team", "In", json!(["hr"])),
        expression("team", "NotIn", json!(["hr"])),
        expression("stage", "NotIn", json!(["test"])),
        json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}),
        json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
        json!({"matchExpressions": [{"key": "stage", "operator": "DoesNotExist"}], "matchLabels": {"team": "finance"}}),
    ]
}

fn some<T: Clone + std::fmt::Debug + 'static>(
    of: Vec<T>,
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    let most = most.min(of.len());
    proptest::sample::subsequence(of, 0..=most)
}

fn grants(namespace: &str, names: &[String], id: &str) -> impl Strategy<Value = Value> + use<> {
    let buckets =
        || proptest::sample::select(vec!["tax-*", "tax-*", "*", "t?x-?", "ax-*", "tax.a"]);
    let source = (
        buckets(),
        proptest::option::of(some(vec!["Tax", "Tax/2024", "Le"], 2)),
        proptest::option::of(some(names.to_vec(), 4)),
    );
    let source = source.prop_map(|(bucket, prefixes, accounts)| {
        let mut source = json!({ "bucket": bucket });
        for (field, listed) in [
            ("prefixes", prefixes.map(|it| json!(it))),
            ("destinationAccountNames", accounts.map(|it| json!(it))),
        ] {
            if let Some(listed) = listed.filter(|listed| listed != &json!([])) {
                source[field] = listed;
            }
        }
        source
    });
    let keys = vec![
        format!("arn:aws:kms:*:{id}:key/*"),
        format!("arn:aws:kms:us-east-1:{id}:key/a?"),
        "*".to_owned(),
    ];
    let grant = (
        proptest::sample::select(selectors(namespace)),
        proptest::collection::vec(source, 1..4),
        proptest::collection::vec(
            buckets().prop_map(|bucket| json!({ "bucket": bucket })),
            1..4,
        ),
        some(keys, 2),
        some(vec!["EnableVersioning", "MergeConfiguration", "Retain"], 3),
    );
    let grant = grant.prop_map(|(namespaces, sources, destinations, keys, allow)| {
        json!({"namespaces": namespaces, "sources": sources, "destinations": destinations, "kmsKeys": keys, "allow": allow})
    });
    proptest::collection::vec(grant, 2..7).prop_map(|grants| json!(grants))
}

fn object(names: &[String], ids: &[String]) -> impl Strategy<Value = Value> + use<> {
    let bucket =
        || proptest::sample::select(vec!["tax-a", "tax-b", "tax-a", "tax-b", "taxxa", "tax.a"]);
    let key = proptest::option::of(proptest::sample::select(
        ids.iter()
            .flat_map(|id| ["a1", "bb"].map(|key| format!("arn:aws:kms:us-east-1:{id}:key/{key}")))
            .collect::<Vec<_>>(),
    ));
    let rare = |values: [&'static str; 2]| prop_oneof![12 => Just(values[0]), 1 => Just(values[1])];
    let rules = some(vec!["Tax", "Tax/2024", "Legal", ""], 2)
        .prop_filter("at least one", |prefixes| !prefixes.is_empty());
    let options = (
        rare(["Require", "Enable"]),
        rare(["Refuse", "Merge"]),
        rare(["Delete", "Retain"]),
    );
    let account = || proptest::sample::select(names.to_vec());
    (account(), bucket(), account(), bucket(), key, rules, options).prop_map(
        |(from, source, to, destination, key, prefixes, (versioning, existing, deletion))| {
            let rules: Vec<_> =
                prefixes.iter().enumerate().map(|(index, prefix)| json!({"name": format!("r{index}"), "prefix": prefix})).collect();
            let mut spec = json!({
                "source": {"accountName": from, "bucket": source}, "destination": {"accountName": to, "bucket": destination}, "rules": rules,
                "versioning": versioning, "existingConfiguration": existing, "deletionPolicy": deletion,
            });
            if let Some(key) = key {
                spec["destination"]["kmsKey"] = json!(key);
            }
            spec
        },
    )
}

/// What a grant forbids is refused at the door, and nothing else is: for random grants and objects, the answer is the controller's.
pub async fn the_door_and_the_controller_agree_on_random_grants(
    ground: &Ground,
) -> anyhow::Result<()> {
    let environment = &ground.environment;
    let labels =
        json!({"kubernetes.io/metadata.name": "agree", "team": "finance", "stage": "test"});
    environment
        .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "agree", "labels": labels}}).to_string())
        .await?;
    let names: Vec<_> = (0..4).map(|number| format!("agree-{number}")).collect();
    let ids: Vec<_> = (0..4)
        .map(|number| format!("70000000000{number}"))
        .collect();
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let mut accounts = vec![];
    for (name, id) in names.iter().zip(&ids) {
        let grants = grants("agree", &names, id)
            .new_tree(&mut runner)
            .map_err(anyhow::Error::msg)?
            .current();
        let account = json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name}, "spec": {"accountID": id, "grants": grants},
        });
        environment.apply(&account.to_string()).await?;
        accounts.push(serde_json::from_value::<AwsAccount>(account)?);
    }
    let accounts = Accounts::new(&accounts);
    let mut objects = vec![];
    for number in 0..400 {
        let spec = object(&names, &ids)
            .new_tree(&mut runner)
            .map_err(anyhow::Error::msg)?
            .current();
        if spec["source"]["bucket"] == spec["destination"]["bucket"] {
            continue;
        }
        objects.push(json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
            "metadata": {"name": format!("agree-{number}"), "namespace": "agree"}, "spec": spec,
        }));
    }
    let allowed = |object: &Value| -> anyhow::Result<bool> {
        let object = reduced(object, &labels)?;
        let Ok(valid) = validate(&object, &accounts) else {
            return Ok(false);
        };
        let keys = bucket_replication_operator::replication::assess::keys_of(&valid);
        Ok(keys.iter().all(|query| match &query.reference {
            bucket_replication_operator::replication::keys::KeyReference::Key(arn) => accounts
                .by_id(&arn.account)
                .is_some_and(|account| account.allow_key(&object.namespace_labels, arn).is_ok()),
            _ => true,
        }))
    };
    let mut expected = BTreeSet::new();
    for object in &objects {
        if allowed(object)? {
            expected.insert(
                object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    ensure!(
        expected.len() > 10 && expected.len() + 100 < objects.len(),
        "{} of {} are allowed",
        expected.len(),
        objects.len()
    );
    // The API server's admission follows the accounts with a short delay.
    let mut last = (BTreeSet::new(), String::new());
    let agreed = until(std::time::Duration::from_secs(30), async || {
        last = tried(ground, &objects).await?;
        Ok((last.0 == expected).then_some(()))
    })
    .await?;
    let name = |object: &&Value| {
        object["metadata"]["name"]
            .as_str()
            .is_some_and(|name| last.0.contains(name) != expected.contains(name))
    };
    ensure!(
        agreed.is_some(),
        "they differ on {:#?}\n{}",
        objects.iter().filter(name).take(3).collect::<Vec<_>>(),
        last.1
    );
    let refused = last
        .1
        .lines()
        .find(|line| line.contains("no grant of AWSAccount agree-"))
        .context("no message of a grant")?;
    ensure!(refused.contains("ask the platform team"), "{refused}");
    Ok(())
}

/// One bad attribute each: refused at the door, or by the controller, and nothing is written.
pub async fn a_thousand_objects_with_one_bad_attribute_each_are_refused(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("thousand").await?;
    stage.start().await?;
    let good = stage.replication();
    let objects = bad_input::generated(&good, 1000);
    // Only where it is the attribute that is bad does a refusal say something. Admission follows new accounts with a short delay.
    let mut foreign = good.clone();
    foreign["metadata"]["name"] = json!("foreign");
    foreign["spec"]["source"]["bucket"] = json!("payroll");
    let both = [good.clone(), foreign];
    let sharp = until(std::time::Duration::from_secs(30), async || {
        let (taken, _) = tried(ground, &both).await?;
        Ok((taken.len() == 1 && taken.contains("tax")).then_some(()))
    });
    sharp
        .await?
        .context("the good object is refused, or a foreign one taken")?;
    let _ = stage.proxy.take();
    let (taken, said) = tried(ground, &objects).await?;
    ensure!(
        objects.len() == 1000 && !taken.is_empty() && taken.len() < 300,
        "{} were taken at the door:\n{said}",
        taken.len()
    );
    let passed: Vec<_> = objects
        .into_iter()
        .filter(|object| {
            object["metadata"]["name"]
                .as_str()
                .is_some_and(|name| taken.contains(name))
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": passed});
    stage.apply(&list).await?;
    let refused = until(std::time::Duration::from_mins(2), async || {
        let text = ground
            .environment
            .kubectl(&["get", "bucketreplications", "-n", &stage.name, "-o", "json"])
            .await?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let ready = |object: &Value| object["status"]["conditions"][6].clone();
        ensure!(
            !items.iter().any(|object| ready(object)["status"] == "True"),
            "{list:#}"
        );
        let refused = items
            .iter()
            .filter(|object| ready(object)["status"] == "False")
            .count();
        Ok((refused == passed.len()).then_some(refused))
    });
    refused
        .await?
        .context("the controller did not refuse all that the door took")?;
    nothing_is_written(&stage)?;
    never_touched(&stage, &["payroll", "attacker", "nobody"])?;
    // All of them fail on, and hold up nobody.
    stage.apply(&good).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await
}

async fn rule_statuses(stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    let configuration = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?;
    let rules = configuration
        .iter()
        .flat_map(aws_sdk_s3::types::ReplicationConfiguration::rules);
    Ok(rules
        .map(|rule| rule.status().as_str().to_owned())
        .collect())
}

pub async fn a_narrowed_grant_stops_its_object_and_everything_can_go(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("narrowed").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let mut account = stage.source_account();
    account["spec"]["grants"][0]["sources"][0]["prefixes"] = json!(["Legal"]);
    stage.environment.apply(&account.to_string()).await?;
    let message = stage
        .wait_for("tax", "Ready", "False", "NotGranted")
        .await?;
    ensure!(
        message.contains("prefix \"Tax\"") && message.contains("#platform-storage"),
        "{message}"
    );
    let stopped = until(std::time::Duration::from_secs(20), async || {
        Ok(Some(rule_statuses(&stage).await?).filter(|statuses| statuses == &["Disabled"]))
    });
    stopped.await?.context("the rule still acts, or is gone")?;
    // What forbids the object does not keep it from going, nor its namespace.
    stage.delete("tax").await?;
    ground
        .environment
        .kubectl(&["delete", "namespace", &stage.name, "--timeout=60s"])
        .await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn a_relabelled_namespace_loses_what_its_labels_gave(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("relabelled").await?;
    ground
        .environment
        .kubectl(&["label", "namespace", &stage.name, "team=relabelled"])
        .await?;
    for mut account in [stage.source_account(), stage.destination_account()] {
        account["spec"]["grants"][0]["namespaces"] = json!({"matchLabels": {"team": "relabelled"}});
        stage.environment.apply(&account.to_string()).await?;
    }
    stage.start().await?;
    let taken = until(std::time::Duration::from_secs(20), async || {
        Ok(stage.apply(&stage.replication()).await.ok())
    })
    .await?;
    taken.context("the object is refused")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ground
        .environment
        .kubectl(&["label", "namespace", &stage.name, "team-"])
        .await?;
    stage
        .wait_for("tax", "Ready", "False", "NotGranted")
        .await?;
    until(std::time::Duration::from_secs(20), async || {
        Ok(Some(rule_statuses(&stage).await?).filter(|statuses| statuses == &["Disabled"]))
    })
    .await?
    .context("the rule still acts")?;
    // A change of its labels passes the door all the same, as does its deletion.
    ground
        .environment
        .kubectl(&[
            "label",
            "bucketreplication",
            "tax",
            "-n",
            &stage.name,
            "seen=yes",
        ])
        .await?;
    let mut wider = stage.replication();
    wider["spec"]["rules"][0]["prefix"] = json!("Legal");
    let refused = stage
        .apply(&wider)
        .await
        .err()
        .context("a change of the spec was taken")?
        .to_string();
    ensure!(refused.contains("no grant of AWSAccount"), "{refused}");
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn an_account_in_use_is_not_deleted(ground: &Ground) -> anyhow::Result<()> {
    let account = json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "in-use"}, "spec": {"accountID": "710000000000"},
    });
    ground.environment.apply(&account.to_string()).await?;
    let used =
        |replications: i64| json!({"status": {"replicationCount": replications}}).to_string();
    let patch = async |replications: i64| {
        let patch = used(replications);
        ground
            .environment
            .kubectl(&[
                "patch",
                "awsaccount",
                "in-use",
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ])
            .await
    };
    patch(2).await?;
    let refused = ground
        .environment
        .kubectl(&["delete", "awsaccount", "in-use"])
        .await
        .err()
        .context("it was deleted")?
        .to_string();
    ensure!(
        refused.contains("in use by 2 BucketReplications: delete those first"),
        "{refused}"
    );
    patch(0).await?;
    ground
        .environment
        .kubectl(&["delete", "awsaccount", "in-use"])
        .await
        .map(drop)
}

/// A user of a namespace, who may read no account: the API server says what is allowed.
pub async fn a_tenant_asks_the_api_server_by_a_dry_run(ground: &Ground) -> anyhow::Result<()> {
    let stage = ground.stage("tenant").await?;
    let admin = &stage.environment;
    let namespace = ["--namespace", stage.name.as_str()];
    let kubectl = async |words: &[&str]| admin.kubectl(&[words, &namespace].concat()).await;
    kubectl(&["create", "serviceaccount", "user"]).await?;
    let subject = format!("--serviceaccount={}:user", stage.name);
    kubectl(&[
        "create",
        "rolebinding",
        "user",
        "--clusterrole=edit",
        &subject,
    ])
    .await?;
    let kubeconfig = admin.service_account(&stage.name, "user").await?;
    let file = admin.directory.join("tenant.yaml");
    let planned = async |object: &Value| -> anyhow::Result<(Option<i32>, String, String)> {
        std::fs::write(&file, object.to_string())?;
        let mut command = tokio::process::Command::new(stage.binary());
        command.args(["plan", "-f"]).arg(&file).env_clear();
        let output = command.env("KUBECONFIG", &kubeconfig).output().await?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code();
        Ok((code, text(&output.stdout), text(&output.stderr)))
    };
    // The aggregation of ClusterRoles takes a moment.
    let taken = until(std::time::Duration::from_secs(20), async || {
        Ok(Some(planned(&stage.replication()).await?).filter(|(code, ..)| *code == Some(0)))
    })
    .await?;
    let (_, printed, said) = taken.context("the granted object is refused")?;
    ensure!(
        printed == "tenant/tax: the API server takes it (dry run).\n",
        "{printed}"
    );
    ensure!(
        said.contains("cannot list resource \"awsaccounts\"")
            && said.contains("spec.mode: Observe"),
        "{said}"
    );
    let mut stranger = stage.replication();
    stranger["spec"]["source"]["bucket"] = json!("payroll");
    let (code, printed, said) = planned(&stranger).await?;
    ensure!(code == Some(2) && printed.is_empty(), "{code:?} {printed}");
    ensure!(
        said.contains("tenant.yaml: BucketReplication tax: ")
            && said.contains("replicate from bucket payroll"),
        "{said}"
    );
    ensure!(
        kubectl(&["get", "bucketreplications", "-o", "name"])
            .await?
            .is_empty(),
        "a dry run left an object"
    );
    Ok(())
}
