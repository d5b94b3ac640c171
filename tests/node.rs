//! What only pods can show: the chart and the image as they are released, on a whole node that runs in namespaces of its own. The tests are one
//! story and run in its order. It needs root on Linux, and what `make node-tools image` gets; elsewhere it says so and is left out, but by
//! `make test-node` in CI.
#![allow(missing_docs, reason = "the names of the tests are sentences")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use testbed::{
    cloud::{Account, OPERATOR_ACCOUNT},
    environment::{Environment, Shape},
    node,
    process::{Process, free_port, output, program, repository},
    proxy::{Call, Fault},
    stage::{DESTINATION_REGION, Place, SOURCE_REGION, Setting, Stage, until},
    tls::Front,
};

const NAMESPACE: &str = "bucket-replication";
const RELEASE: &str = "bucket-replication-operator";
const IMAGE: &str = "localhost/bucket-replication-operator";

/// What the story plays on.
struct Story {
    stage: Stage<'static>,
    prometheus: String,
    _running: Process,
    _front: Front,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list || node::is_inside() {
        return story(&arguments);
    }
    match node::can_run() {
        Ok(()) => match node::enter() {
            Ok(status) => ExitCode::from(node::exit_code(status)),
            Err(error) => fails(&arguments, &format!("{error:#}")),
        },
        Err(reason) if std::env::var_os("CI").is_some() && !node::is_left_out() => {
            fails(&arguments, &reason)
        }
        Err(reason) => {
            let left_out =
                Trial::test(format!("left out, since {reason}"), || Ok(())).with_ignored_flag(true);
            libtest_mimic::run(&arguments, vec![left_out]).exit_code()
        }
    }
}

fn fails(arguments: &Arguments, reason: &str) -> ExitCode {
    let reason = reason.to_owned();
    libtest_mimic::run(
        arguments,
        vec![Trial::test("a node runs", move || Err(reason.into()))],
    )
    .exit_code()
}

type Test = fn(&'static tokio::runtime::Runtime, &'static Story) -> anyhow::Result<()>;

/// Makes a test of an async function that gets the story.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), (|tokio, story| tokio.block_on($name(story))) as Test)),*]
    };
}

const TESTS: &[(&str, Test)] = tests![
    pods_alone_make_the_first_object_ready,
    helm_test_finds_the_installation_well,
    lines_of_the_log_name_bucket_object_and_request,
    a_killed_leader_is_followed_by_the_other_replica,
    an_upgrade_with_live_objects_writes_nothing_to_aws,
    a_rollback_with_live_objects_writes_nothing_to_aws,
    every_expression_of_dashboard_and_alerts_has_data,
    an_uninstall_leaves_crds_objects_and_aws_and_an_install_takes_them_up,
];

/// Set once a part of the story failed: what comes after it would say nothing.
static BROKEN: AtomicBool = AtomicBool::new(false);

fn story(arguments: &Arguments) -> ExitCode {
    let made = if arguments.list {
        Err("only listed".to_owned())
    } else {
        start().map_err(|error| format!("{error:#}"))
    };
    let trials = TESTS.iter().map(|(name, test)| {
        let (test, made) = (*test, made.clone());
        Trial::test(*name, move || {
            let (tokio, story) = made?;
            if BROKEN.load(Ordering::Relaxed) {
                return Err("something before it failed".into());
            }
            test(tokio, story).map_err(|error| {
                BROKEN.store(true, Ordering::Relaxed);
                format!("{error:#}").into()
            })
        })
    });
    let in_order = Arguments {
        test_threads: Some(1),
        ..arguments.clone()
    };
    libtest_mimic::run(&in_order, trials.collect()).exit_code()
}

fn start() -> anyhow::Result<(&'static tokio::runtime::Runtime, &'static Story)> {
    let tokio = Box::leak(Box::new(
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?,
    ));
    let story = tokio.block_on(Story::begin())?;
    Ok((tokio, Box::leak(Box::new(story))))
}

impl Story {
    /// Two empty accounts, a cluster with a node, and the images on it; nothing is installed.
    async fn begin() -> anyhow::Result<Self> {
        node::prepare().await?;
        let shape = Shape {
            enforce: true,
            node: true,
            aws: None,
        };
        let environment =
            Environment::start(&repository().join("target/node"), shape, &|_| {}).await?;
        let environment: &'static Environment = Box::leak(Box::new(environment));
        node::import(&node::operator_image()).await?;
        node::tag(
            &format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION")),
            &format!("{IMAGE}:next"),
        )
        .await?;
        let place = Place {
            source_account: "111111111111".into(),
            destination_account: "222222222222".into(),
            source_bucket: "walk-source-bucket".into(),
            destination_bucket: "walk-dest-bucket".into(),
        };
        let setting = Setting {
            binary: Path::new(env!("CARGO_BIN_EXE_bucket-replication-operator")).to_owned(),
            kubeconfig: environment.kubeconfig(),
            identity: Account::new(
                OPERATOR_ACCOUNT,
                &format!("http://{}", environment.emulator),
            )
            .make_operator()
            .await?,
            namespaced: false,
            environment: vec![],
        };
        let stage = Stage::make(environment, "walk", place, setting).await?;
        let front = Front::start(&stage.proxy.url, &[]).await?;
        environment
            .kubectl(&["create", "namespace", NAMESPACE])
            .await?;
        environment
            .kubectl(&[
                "label",
                "namespace",
                NAMESPACE,
                "pod-security.kubernetes.io/enforce=restricted",
            ])
            .await?;
        let authority = format!("--from-literal=ca.crt={}", front.authority);
        environment
            .kubectl(&[
                "create",
                "configmap",
                "private-ca",
                "-n",
                NAMESPACE,
                &authority,
            ])
            .await?;
        let values = values(&stage, &front);
        fs::write(
            environment.directory.join("values.json"),
            values.to_string(),
        )?;
        let (running, prometheus) = start_prometheus(environment).await?;
        Ok(Self {
            stage,
            prometheus,
            _running: running,
            _front: front,
        })
    }

    fn values_file(&self) -> String {
        self.stage
            .environment
            .directory
            .join("values.json")
            .to_string_lossy()
            .into_owned()
    }

    async fn helm(&self, words: &[&str]) -> anyhow::Result<String> {
        self.stage
            .environment
            .helm(&[words, &["--namespace", NAMESPACE, "--timeout", "90s"]].concat())
            .await
    }

    async fn install(&self) -> anyhow::Result<()> {
        self.helm(&[
            "install",
            RELEASE,
            "CHART",
            "--wait",
            "-f",
            &self.values_file(),
        ])
        .await
        .map(drop)
    }

    async fn get(&self, words: &[&str]) -> anyhow::Result<Value> {
        let words = [&["get"], words, &["-n", NAMESPACE, "-o", "json"]].concat();
        Ok(serde_json::from_str(
            &self.stage.environment.kubectl(&words).await?,
        )?)
    }

    /// The operator's pods: name, image, and how often the container was started again.
    async fn pods(&self) -> anyhow::Result<Vec<(String, String, u64)>> {
        let pods = self
            .get(&[
                "pods",
                "-l",
                "app.kubernetes.io/name=bucket-replication-operator",
            ])
            .await?;
        let living = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = living.map(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            (
                text(&pod["metadata"]["name"]),
                text(&pod["spec"]["containers"][0]["image"]),
                container["restartCount"].as_u64().unwrap_or(99),
            )
        });
        Ok(all.collect())
    }

    /// The pod that holds the lease.
    async fn leader(&self) -> anyhow::Result<String> {
        let lease = self.get(&["lease", RELEASE]).await?;
        Ok(lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .split('_')
            .next()
            .unwrap_or_default()
            .to_owned())
    }

    /// After a change of the pods: two run with this tag, none was started again, one of them leads and has looked, and nobody wrote to AWS.
    async fn goes_on_with(&self, tag: &str) -> anyhow::Result<()> {
        let stage = &self.stage;
        let image = format!("{IMAGE}:{tag}");
        let leads = until(Duration::from_mins(1), async || {
            let (pods, leader) = (self.pods().await?, self.leader().await?);
            let all = pods.len() == 2 && pods.iter().all(|(_, of, _)| *of == image);
            Ok((all && pods.iter().any(|(name, ..)| *name == leader)).then_some(()))
        });
        leads
            .await?
            .with_context(|| format!("no pod of {image} leads"))?;
        let (mut all, mut since) = (stage.proxy.take(), vec![]);
        // Twice, since the first look may have been another one's.
        let looked = until(Duration::from_mins(1), async || {
            since.extend(stage.proxy.take());
            Ok((since
                .iter()
                .filter(|call: &&Call| call.action == "s3:GetReplicationConfiguration")
                .count()
                > 1)
            .then_some(()))
        });
        looked
            .await?
            .with_context(|| format!("the new leader does not look: {since:?}"))?;
        all.append(&mut since);
        let writes: Vec<_> = all.into_iter().filter(Call::writes).collect();
        ensure!(writes.is_empty(), "{writes:?}");
        let pods = self.pods().await?;
        ensure!(pods.iter().all(|(.., restarts)| *restarts == 0), "{pods:?}");
        stage
            .wait_for("tax", "Ready", "True", "Ready")
            .await
            .map(drop)
    }

    /// Changes the object, and waits until S3 has the change.
    async fn change(&self, prefix: &str) -> anyhow::Result<()> {
        let mut object = self.stage.replication();
        object["spec"]["rules"] = json!([{"name": "tax", "prefix": prefix}]);
        self.stage.apply(&object).await?;
        self.stage.wait_for("tax", "Ready", "True", "Ready").await?;
        let existing = self
            .stage
            .source
            .replication(SOURCE_REGION, &self.stage.source_bucket)
            .await?
            .context("no configuration")?;
        let prefixes: Vec<_> = existing
            .rules()
            .iter()
            .filter_map(|rule| rule.filter()?.prefix())
            .collect();
        ensure!(prefixes == [prefix], "{prefixes:?}");
        Ok(())
    }

    /// Lets Prometheus ask what a `ServiceMonitor` of the chart would: the ready addresses of the Service's port.
    async fn scrape(&self) -> anyhow::Result<()> {
        let slices = self
            .get(&[
                "endpointslices",
                "-l",
                &format!("kubernetes.io/service-name={RELEASE}-metrics"),
            ])
            .await?;
        let slice = &slices["items"][0];
        let port = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|port| port["name"] == "http")
            .context("no port http")?;
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let targets: Vec<_> = ready
            .filter_map(|endpoint| {
                Some(format!(
                    "{}:{}",
                    endpoint["addresses"][0].as_str()?,
                    port["port"]
                ))
            })
            .collect();
        ensure!(targets.len() == 2, "{slices:#}");
        let file = self
            .stage
            .environment
            .directory
            .join("prometheus/targets.json");
        Ok(fs::write(file, json!([{"targets": targets}]).to_string())?)
    }

    /// Whether an expression gives Prometheus something to show.
    async fn has_data(&self, expression: &str) -> anyhow::Result<bool> {
        let answer = output(Command::new(program("promtool")?).args([
            "query",
            "instant",
            &self.prometheus,
            expression,
        ]))
        .await?;
        Ok(!answer.trim().is_empty())
    }
}

/// What a user would set, for a private endpoint of AWS under a CA of its own.
fn values(stage: &Stage<'_>, front: &Front) -> Value {
    let environment: Vec<_> = [
        ("AWS_ACCESS_KEY_ID", stage.identity().access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &stage.identity().secret_access_key),
        ("SSL_CERT_FILE", "/etc/private-ca/ca.crt"),
    ]
    .into_iter()
    .map(|(name, value)| json!({"name": name, "value": value}))
    .collect();
    json!({
        "installationID": "walk",
        "image": {"repository": IMAGE, "pullPolicy": "Never"},
        "aws": {"endpointURL": front.url, "region": SOURCE_REGION},
        "controller": {"driftPeriod": "5s", "settleDelay": "1s", "driftGrace": "500ms", "sweepPeriod": "2s", "leaseDuration": "15s", "longestRetry": "3s", "drainPeriod": "0s",
            "logFilter": "info,bucket_replication_operator=debug"},
        "extraEnv": environment,
        "extraVolumes": [{"name": "private-ca", "configMap": {"name": "private-ca"}}],
        "extraVolumeMounts": [{"name": "private-ca", "mountPath": "/etc/private-ca", "readOnly": true}],
        "networkPolicy": {"enabled": true, "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.244.0.1/32"}}]}]},
        "metrics": {"dashboard": {"enabled": true}},
    })
}

/// A Prometheus that asks the addresses in `targets.json`: Debian's finds none in a cluster by itself.
async fn start_prometheus(environment: &Environment) -> anyhow::Result<(Process, String)> {
    let directory = environment.directory.join("prometheus");
    fs::create_dir_all(&directory)?;
    let configuration = json!({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "operator", "file_sd_configs": [{"files": [directory.join("targets.json")], "refresh_interval": "1s"}]}],
    });
    let file = directory.join("prometheus.yml");
    fs::write(&file, configuration.to_string())?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(program("prometheus")?);
    command
        .arg("--config.file")
        .arg(&file)
        .arg("--storage.tsdb.path")
        .arg(directory.join("data"))
        .args(["--web.listen-address", &address]);
    let mut process = Process::start(
        "prometheus",
        &environment.directory.join("logs/prometheus.log"),
        &mut command,
    )?;
    process
        .wait_until(Duration::from_secs(30), async || {
            tokio::net::TcpStream::connect(&address).await.is_ok()
        })
        .await?;
    Ok((process, format!("http://{address}")))
}

async fn pods_alone_make_the_first_object_ready(story: &Story) -> anyhow::Result<()> {
    let stage = &story.stage;
    // The namespace enforces the restricted standard: pods that did not keep it would not come up.
    story.install().await?;
    let pods = story.pods().await?;
    ensure!(
        pods.len() == 2
            && pods
                .iter()
                .all(|(_, image, restarts)| image.starts_with(IMAGE) && *restarts == 0),
        "{pods:?}"
    );
    ensure!(
        story.get(&["networkpolicy", RELEASE]).await?["spec"]["policyTypes"]
            == json!(["Ingress", "Egress"])
    );
    stage.list_accounts().await?;
    let taken = until(Duration::from_secs(20), async || {
        Ok(stage.apply(&stage.replication()).await.ok())
    })
    .await?;
    taken.context("the object is refused")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage
        .source
        .upload(
            SOURCE_REGION,
            &stage.source_bucket,
            "Tax/1040.txt",
            &stage.source_key,
        )
        .await?;
    stage
        .source
        .upload(
            SOURCE_REGION,
            &stage.source_bucket,
            "Other/1040.txt",
            &stage.source_key,
        )
        .await?;
    ensure!(
        stage
            .destination
            .has(
                DESTINATION_REGION,
                &stage.destination_bucket,
                "Tax/1040.txt"
            )
            .await?,
        "it is not replicated"
    );
    ensure!(
        !stage
            .destination
            .has(
                DESTINATION_REGION,
                &stage.destination_bucket,
                "Other/1040.txt"
            )
            .await?,
        "it is replicated, too"
    );
    Ok(())
}

async fn helm_test_finds_the_installation_well(story: &Story) -> anyhow::Result<()> {
    let said = story.helm(&["test", RELEASE]).await?;
    ensure!(said.contains("Succeeded"), "{said}");
    // With an account that can't be used, it says so.
    let account = json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "unreachable"},
        "spec": {"accountID": "333333333333", "assumeRole": {"roleARN": "arn:aws:iam::333333333333:role/none", "externalID": "xx"}},
    });
    story.stage.environment.apply(&account.to_string()).await?;
    story
        .stage
        .environment
        .kubectl(&[
            "wait",
            "--for=condition=Ready=False",
            "awsaccount/unreachable",
            "--timeout=30s",
        ])
        .await?;
    ensure!(
        story.helm(&["test", RELEASE]).await.is_err(),
        "an account that can't be used is well"
    );
    let pod = story
        .stage
        .environment
        .kubectl(&["logs", "-n", NAMESPACE, &format!("{RELEASE}-test")])
        .await?;
    ensure!(
        pod.contains("FAIL AWSAccount unreachable:")
            && pod.contains("ok   leader: bucket-replication-operator-"),
        "{pod}"
    );
    story
        .stage
        .environment
        .kubectl(&["delete", "awsaccount", "unreachable"])
        .await?;
    story
        .stage
        .environment
        .kubectl(&["delete", "pod", "-n", NAMESPACE, &format!("{RELEASE}-test")])
        .await
        .map(drop)
}

async fn lines_of_the_log_name_bucket_object_and_request(story: &Story) -> anyhow::Result<()> {
    let leader = story.leader().await?;
    let log = story
        .stage
        .environment
        .kubectl(&["logs", "-n", NAMESPACE, &leader])
        .await?;
    let lines: Vec<Value> = log
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| log.clone())?;
    let bucket = |line: &&Value| line["span"]["bucket"] == story.stage.source_bucket.as_str();
    ensure!(
        lines
            .iter()
            .any(|line| line["message"] == "this replica leads"),
        "{log}"
    );
    let status = lines
        .iter()
        .filter(bucket)
        .find(|line| line["message"] == "status changed" && line["ready"] == "True")
        .context("no status")?;
    ensure!(status["object"] == "walk/tax", "{status}");
    let call = lines
        .iter()
        .filter(bucket)
        .find(|line| line["operation"] == "PutBucketReplication")
        .context("no call")?;
    ensure!(
        call["service"] == "S3" && call["request_id"].as_str().is_some_and(|id| !id.is_empty()),
        "{call}"
    );
    let secret = &story.stage.identity().secret_access_key;
    ensure!(
        !log.contains(secret.as_str()) && !log.contains(testbed::cloud::EXTERNAL_ID),
        "a secret is in the log"
    );
    Ok(())
}

async fn a_killed_leader_is_followed_by_the_other_replica(story: &Story) -> anyhow::Result<()> {
    let first = story.leader().await?;
    story
        .stage
        .environment
        .kubectl(&[
            "delete",
            "pod",
            "-n",
            NAMESPACE,
            &first,
            "--grace-period=0",
            "--force",
        ])
        .await?;
    let followed = until(Duration::from_mins(1), async || {
        Ok(Some(story.leader().await?).filter(|now| !now.is_empty() && *now != first))
    });
    followed.await?.context("nobody follows")?;
    story.change("Tax/after").await?;
    let two = until(Duration::from_secs(30), async || {
        Ok((story.pods().await?.len() == 2).then_some(()))
    });
    two.await?.context("the killed pod has no successor")
}

async fn an_upgrade_with_live_objects_writes_nothing_to_aws(story: &Story) -> anyhow::Result<()> {
    // The next release: another version of the chart, and another image.
    let folder = story.stage.environment.directory.join("packages");
    fs::create_dir_all(&folder)?;
    story
        .stage
        .environment
        .helm(&[
            "package",
            "CHART",
            "--version",
            "99.0.0",
            "--app-version",
            "next",
            "--destination",
            &folder.to_string_lossy(),
        ])
        .await?;
    let chart: PathBuf = folder.join(format!("{RELEASE}-99.0.0.tgz"));
    let _ = story.stage.proxy.take();
    story
        .helm(&[
            "upgrade",
            RELEASE,
            &chart.to_string_lossy(),
            "--wait",
            "-f",
            &story.values_file(),
        ])
        .await?;
    story.goes_on_with("next").await?;
    let said = story.helm(&["test", RELEASE]).await?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

async fn a_rollback_with_live_objects_writes_nothing_to_aws(story: &Story) -> anyhow::Result<()> {
    let _ = story.stage.proxy.take();
    story.helm(&["rollback", RELEASE, "1", "--wait"]).await?;
    story.goes_on_with(env!("CARGO_PKG_VERSION")).await
}

/// The expressions of all panels, and those of all alerts without the limit at their end.
fn expressions() -> anyhow::Result<BTreeSet<String>> {
    let files = repository().join("charts/bucket-replication-operator/files/monitoring");
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(files.join("dashboard.json"))?)?;
    let alerts: Value = serde_saphyr::from_str(&fs::read_to_string(files.join("alerts.yaml"))?)?;
    let mut all = BTreeSet::new();
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    for target in panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten()) {
        let expression = target["expr"].as_str();
        let expression = expression.context("a panel without an expression")?;
        // What Grafana puts in the place of a variable that is not narrowed.
        let of_all = expression.replace("$cluster", ".*");
        all.insert(of_all.replace("$namespace", ".*"));
    }
    let panels = all.len();
    for rule in alerts["groups"][0]["rules"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let whole = rule["expr"]
            .as_str()
            .context("an alert without an expression")?;
        let (inner, _) = whole.split_once(" or absent(").unwrap_or((whole, ""));
        let limit = [" > ", " == "].iter().find_map(|sign| {
            inner
                .rsplit_once(sign)
                .filter(|(_, limit)| limit.parse::<f64>().is_ok())
        });
        all.insert(limit.map_or(inner, |(before, _)| before).to_owned());
    }
    ensure!(panels > 5 && all.len() > panels + 3, "{all:?}");
    Ok(all)
}

async fn every_expression_of_dashboard_and_alerts_has_data(story: &Story) -> anyhow::Result<()> {
    let stage = &story.stage;
    story.scrape().await?;
    // A canary has a lag once it was replicated.
    let mut verified = stage.replication();
    verified["spec"]["verification"] = json!({"canary": {}});
    verified["spec"]["metrics"] = json!("Enabled");
    stage.apply(&verified).await?;
    // And S3's metrics are of an account that asks for them.
    let mut account = stage.source_account();
    account["spec"]["replicationMetrics"] = json!({"period": "5m"});
    let policy = stage.printed_policy(&account).await?;
    stage.source.set_operator_policy(&policy).await?;
    stage
        .wait_for("tax", "Verified", "True", "Verified")
        .await?;
    stage.apply(&account).await?;
    stage.wait_for("tax", "Healthy", "True", "Healthy").await?;
    // Something has to go wrong for each of them: an object that can't be, a denied and a throttled call, and drift.
    let mut missing = stage.replication();
    missing["metadata"]["name"] = json!("missing");
    missing["spec"]["destination"]["bucket"] = json!("walk-missing");
    stage.apply(&missing).await?;
    let faults = [
        (
            "s3:GetBucketVersioning",
            Fault::Refuse,
            "rate(bucket_replication_aws_calls_total{outcome=\"denied\"}[5m]) > 0",
        ),
        (
            "iam:GetRole",
            Fault::Throttle,
            "rate(bucket_replication_aws_calls_total{outcome=\"throttled\"}[5m]) > 0 and on() bucket_replication_visits_total{ending=\"retry\"}",
        ),
    ];
    for (action, fault, counted) in faults {
        stage.proxy.set_fault(action, Some(fault));
        let seen = until(Duration::from_mins(1), async || {
            Ok(story.has_data(counted).await?.then_some(()))
        })
        .await?;
        seen.with_context(|| format!("no {counted}"))?;
        stage.proxy.set_fault(action, None);
    }
    stage
        .source
        .s3(SOURCE_REGION)
        .delete_bucket_replication()
        .bucket(&stage.source_bucket)
        .send()
        .await?;
    let mut left = expressions()?;
    let all = until(Duration::from_mins(1), async || {
        for expression in left.clone() {
            if story.has_data(&expression).await? {
                left.remove(&expression);
            }
        }
        Ok(left.is_empty().then_some(()))
    });
    all.await?
        .with_context(|| format!("no data for {left:#?}"))?;
    ensure!(
        !story.has_data("bucket_replication_no_such_metric").await?,
        "everything has data"
    );
    stage.delete("missing").await?;
    stage
        .wait_for("tax", "Ready", "True", "Ready")
        .await
        .map(drop)
}

async fn an_uninstall_leaves_crds_objects_and_aws_and_an_install_takes_them_up(
    story: &Story,
) -> anyhow::Result<()> {
    let stage = &story.stage;
    let before = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    story.helm(&["uninstall", RELEASE, "--wait"]).await?;
    let gone = until(Duration::from_mins(1), async || {
        Ok(story.pods().await?.is_empty().then_some(()))
    });
    gone.await?.context("pods are left")?;
    let crds = stage
        .environment
        .kubectl(&["get", "crds", "-o", "name"])
        .await?;
    ensure!(
        crds.contains("bucketreplications.bucketops.dev")
            && crds.contains("awsaccounts.bucketops.dev"),
        "{crds}"
    );
    ensure!(!stage.get("tax").await?.is_null(), "the object is gone");
    ensure!(
        stage
            .source
            .replication(SOURCE_REGION, &stage.source_bucket)
            .await?
            == Some(before),
        "AWS is not as it was"
    );
    let policies = stage
        .environment
        .kubectl(&[
            "get",
            "validatingadmissionpolicies,clusterroles",
            "-o",
            "name",
        ])
        .await?;
    ensure!(!policies.contains(RELEASE), "{policies}");

    let _ = stage.proxy.take();
    story.install().await?;
    story.goes_on_with(env!("CARGO_PKG_VERSION")).await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
