//! Where the operator is measured: a real API server with the chart, the strict AWS in this process, and accounts that allow everything asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use strict_aws::{Aws, server, state::Bucket, weather::Weather};
use testbed::{
    cloud::{Account, EXTERNAL_ID, OPERATOR_ACCOUNT, Operator},
    environment::{Environment, IMAGE, Shape},
    process::{Process, free_port, output},
    stage::{DESTINATION_REGION, SOURCE_REGION},
};

use crate::Arguments;

/// The namespace of all objects.
pub const NAMESPACE: &str = "bench";
/// The accounts: of all source buckets, of a source bucket besides, and of the destination.
pub const ACCOUNTS: [(&str, &str); 3] = [
    ("prod", "111111111111"),
    ("other", "333333333333"),
    ("dr", "222222222222"),
];
/// The namespace of the release.
const RELEASE: &str = "bucket-replication";

/// All of it.
pub struct Ground {
    /// The API server and etcd.
    pub environment: Environment,
    /// AWS.
    pub aws: Arc<Aws>,
    /// The admin of the cluster.
    pub client: Client,
    /// The key of the objects of each account of source buckets.
    pub source_keys: Vec<String>,
    /// The key of the replicas.
    pub replica_key: String,
    operator: PathBuf,
    kubeconfig: PathBuf,
    variables: Vec<(String, String)>,
    identity: Operator,
    endpoint: String,
    latency: u64,
}

/// A replica of the operator.
pub struct Replica {
    /// Its process; it ends when this is dropped.
    pub process: Process,
    /// Where it serves its metrics.
    pub address: String,
}

impl Ground {
    /// Starts everything but the operator.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let aws = Arc::new(Aws::default());
        let address = format!("127.0.0.1:{}", free_port()?).parse()?;
        tokio::spawn(server::serve(Arc::clone(&aws), address));
        let shape = Shape {
            enforce: true,
            node: false,
            aws: Some(address),
        };
        let environment =
            Environment::start(&arguments.directory, shape, &|line| crate::say(line)).await?;
        environment.apply_crds().await?;
        environment
            .install_chart(RELEASE, false, &[IMAGE, "crds.install=false"])
            .await?;
        let endpoint = format!("http://{address}");
        let operator = &arguments.operator;
        let operator = operator
            .canonicalize()
            .with_context(|| format!("{} is not built: run make bench", operator.display()))?;
        let mut ground = Self {
            client: client(&environment.kubeconfig()).await?,
            kubeconfig: environment
                .service_account(RELEASE, "bucket-replication-operator")
                .await?,
            variables: environment.chart_environment(RELEASE).await?,
            identity: Account::new(OPERATOR_ACCOUNT, &endpoint)
                .make_operator()
                .await?,
            source_keys: vec![],
            replica_key: String::new(),
            latency: arguments.latency,
            environment,
            aws,
            operator,
            endpoint,
        };
        ground.list_accounts().await?;
        ground.good_weather();
        Ok(ground)
    }

    /// Every call takes its time, and nothing goes wrong.
    pub fn good_weather(&self) {
        self.aws.set_weather(self.weather());
    }

    /// The weather in which every call takes its time.
    pub fn weather(&self) -> Weather {
        Weather {
            latency: self.latency,
            ..Weather::default()
        }
    }

    async fn list_accounts(&mut self) -> anyhow::Result<()> {
        let kubectl = ["create", "namespace", NAMESPACE];
        self.environment.kubectl(&kubectl).await?;
        for (name, id) in ACCOUNTS {
            let account = Account::new(id, &self.endpoint);
            let document = account_of(name, id);
            let file = self.environment.directory.join(format!("{name}.yaml"));
            std::fs::write(&file, document.to_string())?;
            let mut print = Command::new(&self.operator);
            print.arg("iam-policy").arg("--filename").arg(&file);
            let policy = output(print.args(["--account", name])).await?;
            account.make_operator_role(&policy).await?;
            self.environment.apply(&document.to_string()).await?;
            if name == "dr" {
                self.replica_key = account.make_key(DESTINATION_REGION).await?;
                account.make_bucket(DESTINATION_REGION, "dest").await?;
            } else {
                self.source_keys
                    .push(account.make_key(SOURCE_REGION).await?);
            }
        }
        Ok(())
    }

    /// Makes the source buckets of an account with these names.
    pub fn make_buckets(&self, account: usize, names: impl Iterator<Item = String>) {
        self.aws.with(|state| {
            let bucket = Bucket {
                owner: match ACCOUNTS[account].1.parse() {
                    Ok(id) => id,
                    Err(_) => unreachable!("these are 12 digits"),
                },
                region: SOURCE_REGION.to_owned(),
                objects: BTreeMap::default(),
                replication: None,
                policy: None,
                ..state.buckets["dest"].clone()
            };
            state
                .buckets
                .extend(names.map(|name| (name, bucket.clone())));
        });
    }

    /// Starts a replica with these variables besides those of the chart, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn replica(&self, variables: &[(&str, String)]) -> anyhow::Result<Replica> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(&self.operator);
        command
            .arg("run")
            .env_clear()
            .envs(self.variables.iter().cloned())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("LISTEN_ADDRESS", &address)
            .env("INSTALLATION_ID", "bench")
            .env("SETTLE_DELAY", "0s")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", SOURCE_REGION)
            .env("AWS_ACCESS_KEY_ID", &self.identity.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.identity.secret_access_key)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let log = self.environment.directory.join("logs/operator.log");
        let mut process = Process::start("bucket-replication-operator", &log, &mut command)?;
        let ready = async || http(&address, "/readyz").await.is_ok();
        process.wait_until(Duration::from_mins(1), ready).await?;
        Ok(Replica { process, address })
    }

    /// Where AWS is served.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// The admin's client.
async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn account_of(name: &str, id: &str) -> Value {
    json!({
        "apiVersion": "bucketops.dev/v1alpha1",
        "kind": "AWSAccount",
        "metadata": {"name": name},
        "spec": {
            "accountID": id,
            "assumeRole": {"roleARN": format!("arn:aws:iam::{id}:role/bucket-replication-operator"), "externalID": EXTERNAL_ID},
            "grants": [{
                "namespaces": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "sources": [{"bucket": "source-*", "destinationAccountNames": ["dr"]}],
                "destinations": [{"bucket": "dest"}],
                "kmsKeys": [format!("arn:aws:kms:*:{id}:key/*")],
            }],
        },
    })
}

/// What a replica answers to a GET.
///
/// # Errors
/// When it does not answer with 200.
pub async fn http(address: &str, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.to_owned())
}
