//! What one test (or the demo) plays on: AWS accounts, buckets, keys and a namespace of its own, and an operator behind a proxy of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{
    cloud::{Account, EXTERNAL_ID, Operator},
    environment::{Environment, IMAGE},
    process::{Process, free_port, output, program},
    proxy::Proxy,
};

/// Where source buckets are.
pub const SOURCE_REGION: &str = "us-east-1";
/// Where destination buckets are.
pub const DESTINATION_REGION: &str = "us-west-2";

/// The operator and all that it needs.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Where it runs.
    pub environment: &'a Environment,
    /// The account of the source bucket.
    pub source: Account,
    /// The account of the destination bucket.
    pub destination: Account,
    /// The namespace; the other names begin with it.
    pub name: String,
    /// The source bucket.
    pub source_bucket: String,
    /// The destination bucket.
    pub destination_bucket: String,
    /// ARN of the key of the source objects.
    pub source_key: String,
    /// ARN of the key of the replicas.
    pub replica_key: String,
    /// What stands between operator and emulator.
    pub proxy: Proxy,
    /// The namespaces that the operator watches, where it does not watch all.
    pub namespaces: Vec<String>,
    /// Where the operator calls AWS.
    endpoint: String,
    operators: Vec<Process>,
    setting: Setting,
}

/// Accounts and buckets by name.
#[derive(Clone, Debug)]
pub struct Place {
    /// The account of the source bucket, 12 digits.
    pub source_account: String,
    /// The account of the destination bucket, 12 digits.
    pub destination_account: String,
    /// The source bucket.
    pub source_bucket: String,
    /// The destination bucket.
    pub destination_bucket: String,
}

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The operator's binary.
    pub binary: PathBuf,
    /// The kubeconfig that it gets.
    pub kubeconfig: PathBuf,
    /// Its identity in AWS.
    pub identity: Operator,
    /// Whether it sees its own namespace only.
    pub namespaced: bool,
    /// Flags, as the environment has them.
    pub environment: Vec<(String, String)>,
}

static ACCOUNTS: AtomicU64 = AtomicU64::new(0);

fn next_account() -> String {
    format!(
        "1{:011}",
        ACCOUNTS.fetch_add(1, Ordering::Relaxed) * 7_919 + 10_000
    )
}

impl<'a> Stage<'a> {
    /// A place of its own: everything in AWS, a namespace, and `AWSAccount`s with the operator's roles. The operator does not run yet.
    ///
    /// # Errors
    /// When a part can't be made.
    pub async fn set(
        environment: &'a Environment,
        name: &str,
        setting: Setting,
    ) -> anyhow::Result<Self> {
        let place = Place {
            source_account: next_account(),
            destination_account: next_account(),
            source_bucket: format!("{name}-source-bucket"),
            destination_bucket: format!("{name}-dest-bucket"),
        };
        let stage = Self::make(environment, name, place, setting).await?;
        stage.list_accounts().await?;
        Ok(stage)
    }

    /// Makes the namespace, and the `AWSAccount`s with the operator's roles.
    ///
    /// # Errors
    /// When a part can't be made.
    pub async fn list_accounts(&self) -> anyhow::Result<()> {
        self.environment
            .kubectl(&["create", "namespace", &self.name])
            .await?;
        for (account, document) in [
            (&self.source, self.source_account()),
            (&self.destination, self.destination_account()),
        ] {
            account
                .make_operator_role(&self.printed_policy(&document).await?)
                .await?;
            self.environment.apply(&document.to_string()).await?;
        }
        Ok(())
    }

    /// Makes accounts, buckets and keys, and nothing in Kubernetes.
    ///
    /// # Errors
    /// When a part can't be made.
    pub async fn make(
        environment: &'a Environment,
        name: &str,
        place: Place,
        setting: Setting,
    ) -> anyhow::Result<Self> {
        let endpoint = format!("http://{}", environment.emulator);
        let (source, destination) = (
            Account::new(&place.source_account, &endpoint),
            Account::new(&place.destination_account, &endpoint),
        );
        let Place {
            source_bucket,
            destination_bucket,
            ..
        } = place;
        source.make_bucket(SOURCE_REGION, &source_bucket).await?;
        destination
            .make_bucket(DESTINATION_REGION, &destination_bucket)
            .await?;
        let (source_key, replica_key) = (
            source.make_key(SOURCE_REGION).await?,
            destination.make_key(DESTINATION_REGION).await?,
        );
        let proxy = Proxy::start(environment.emulator).await?;
        Ok(Self {
            environment,
            source,
            destination,
            name: name.to_owned(),
            source_bucket,
            destination_bucket,
            source_key,
            replica_key,
            endpoint: proxy.url.clone(),
            proxy,
            namespaces: vec![name.to_owned()],
            operators: vec![],
            setting,
        })
    }

    /// The name of the source's `AWSAccount`.
    #[must_use]
    pub fn source_account_name(&self) -> String {
        format!("{}-prod", self.name)
    }

    /// The name of the destination's `AWSAccount`.
    #[must_use]
    pub fn destination_account_name(&self) -> String {
        format!("{}-dr", self.name)
    }

    /// The source's `AWSAccount`.
    #[must_use]
    pub fn source_account(&self) -> Value {
        let grant = json!({
            "namespaces": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
            "sources": [{"bucket": format!("{}-*", self.name), "prefixes": ["Tax", "Legal"], "destinationAccountNames": [self.destination_account_name(), self.source_account_name()]}],
            "destinations": [{"bucket": format!("{}-*", self.name)}],
            "kmsKeys": [format!("arn:aws:kms:*:{}:key/*", self.source.id)],
            "allow": ["Canary"],
        });
        account(&self.source_account_name(), &self.source.id, &grant)
    }

    /// The destination's `AWSAccount`.
    #[must_use]
    pub fn destination_account(&self) -> Value {
        let grant = json!({
            "namespaces": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
            "destinations": [{"bucket": format!("{}-*", self.name)}],
            "kmsKeys": [format!("arn:aws:kms:*:{}:key/*", self.destination.id)],
            "allow": ["Canary"],
        });
        account(
            &self.destination_account_name(),
            &self.destination.id,
            &grant,
        )
    }

    /// One more account, whose keys the namespace may use, with its `AWSAccount` and the operator's role.
    ///
    /// # Errors
    /// When a part can't be made.
    pub async fn key_account(&self) -> anyhow::Result<Account> {
        let made = Account::new(
            &next_account(),
            &format!("http://{}", self.environment.emulator),
        );
        let grant = json!({
            "namespaces": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
            "kmsKeys": [format!("arn:aws:kms:*:{}:key/*", made.id)],
        });
        let document = account(&format!("{}-keys", self.name), &made.id, &grant);
        made.make_operator_role(&self.printed_policy(&document).await?)
            .await?;
        self.environment.apply(&document.to_string()).await?;
        Ok(made)
    }

    /// The object of the walkthrough.
    #[must_use]
    pub fn replication(&self) -> Value {
        json!({
            "apiVersion": "bucketops.dev/v1alpha1",
            "kind": "BucketReplication",
            "metadata": {"name": "tax", "namespace": self.name},
            "spec": {
                "source": {"accountName": self.source_account_name(), "bucket": self.source_bucket, "kmsKeys": [self.source_key]},
                "destination": {"accountName": self.destination_account_name(), "bucket": self.destination_bucket, "kmsKey": self.replica_key},
                "rules": [{"name": "tax", "prefix": "Tax", "deleteMarkers": "Replicate"}],
            },
        })
    }

    /// What `iam-policy` prints for an `AWSAccount`.
    ///
    /// # Errors
    /// When it does not.
    pub async fn printed_policy(&self, account: &Value) -> anyhow::Result<String> {
        let name = account["metadata"]["name"].as_str().context("no name")?;
        let file = self.environment.directory.join(format!("{name}.yaml"));
        fs::write(&file, account.to_string())?;
        output(
            Command::new(&self.setting.binary)
                .arg("iam-policy")
                .arg("--filename")
                .arg(&file)
                .args(["--account", name]),
        )
        .await
    }

    /// The operator's identity in AWS.
    #[must_use]
    pub fn identity(&self) -> &Operator {
        &self.setting.identity
    }

    /// From its next start on, the operator calls AWS there, and has this variable of its environment beside.
    pub fn use_endpoint(&mut self, url: &str, variable: Option<(&str, String)>) {
        url.clone_into(&mut self.endpoint);
        self.setting
            .environment
            .extend(variable.map(|(name, value)| (name.to_owned(), value)));
    }

    /// The operator's binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.setting.binary
    }

    /// The operator uses this kubeconfig from its next start on.
    pub fn use_kubeconfig(&mut self, kubeconfig: PathBuf) {
        self.setting.kubeconfig = kubeconfig;
    }

    /// The operator gets the `ServiceAccount` and the environment of the chart that is installed in `namespace`.
    ///
    /// # Errors
    /// When the chart is not installed there.
    pub async fn use_chart(&mut self, namespace: &str) -> anyhow::Result<()> {
        self.setting.kubeconfig = self
            .environment
            .service_account(namespace, "bucket-replication-operator")
            .await?;
        self.setting.environment = self.environment.chart_environment(namespace).await?;
        Ok(())
    }

    /// What the chart has to be given so that its pods work on this stage.
    #[must_use]
    pub fn values_of_pods(&self) -> Vec<String> {
        let Operator {
            access_key_id,
            secret_access_key,
        } = &self.setting.identity;
        let variables = [
            ("AWS_ACCESS_KEY_ID", access_key_id.as_str()),
            ("AWS_SECRET_ACCESS_KEY", secret_access_key),
        ];
        let variables = variables
            .iter()
            .enumerate()
            .flat_map(|(index, (name, value))| {
                [
                    format!("extraEnv[{index}].name={name}"),
                    format!("extraEnv[{index}].value={value}"),
                ]
            });
        let image = [IMAGE.into(), "image.pullPolicy=Never".into()];
        let aws = [
            format!("aws.endpointURL={}", self.proxy.url),
            format!("aws.region={SOURCE_REGION}"),
        ];
        image.into_iter().chain(aws).chain(variables).collect()
    }

    /// Starts the operator.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.operators.clear();
        self.start_another().await
    }

    /// Starts one more replica of the operator.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_another(&mut self) -> anyhow::Result<()> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(&self.setting.binary);
        command
            .arg("run")
            .env_clear()
            .envs(self.setting.environment.iter().cloned())
            .env("KUBECONFIG", &self.setting.kubeconfig)
            .env("LISTEN_ADDRESS", &address);
        command
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", SOURCE_REGION);
        command
            .env("AWS_ACCESS_KEY_ID", &self.setting.identity.access_key_id)
            .env(
                "AWS_SECRET_ACCESS_KEY",
                &self.setting.identity.secret_access_key,
            );
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        if self.setting.namespaced {
            command
                .env("WATCH_NAMESPACES", self.namespaces.join(","))
                .env("INSTALLATION_ID", &self.name);
        }
        let log = self.log();
        let mut process = Process::start("bucket-replication-operator", &log, &mut command)?;
        let ready = async || http_ok(&address, "/readyz").await;
        process.wait_until(Duration::from_secs(30), ready).await?;
        self.operators.push(process);
        Ok(())
    }

    /// The operator's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.environment
            .directory
            .join("logs")
            .join(format!("operator-{}.log", self.name))
    }

    /// Kills the operator, as a crash would.
    pub fn crash(&mut self) {
        self.operators.clear();
    }

    /// Sends a signal to the replica that was started as the `number`th, from zero.
    ///
    /// # Errors
    /// When there is none.
    pub async fn signal(&self, number: usize, signal: &str) -> anyhow::Result<()> {
        let process = self.operators.get(number).context("no such replica")?;
        output(Command::new("kill").args(["-s", signal, &process.id().to_string()]))
            .await
            .map(drop)
    }

    /// The process ids of the replicas, in the order in which they were started.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        self.operators.iter().map(Process::id).collect()
    }

    /// Whether that replica ended by itself.
    ///
    /// # Errors
    /// When there is none.
    pub fn has_ended(&mut self, number: usize) -> anyhow::Result<Option<()>> {
        Ok(self
            .operators
            .get_mut(number)
            .context("no such replica")?
            .has_ended()?
            .then_some(()))
    }

    /// Applies an object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, object: &Value) -> anyhow::Result<String> {
        self.environment.apply(&object.to_string()).await
    }

    /// The object `name` as it stands; null where it is gone.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn get(&self, name: &str) -> anyhow::Result<Value> {
        let text = self
            .environment
            .kubectl(&[
                "get",
                "bucketreplication",
                name,
                "-n",
                &self.name,
                "-o",
                "json",
                "--ignore-not-found",
            ])
            .await?;
        Ok(if text.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text)?
        })
    }

    /// Waits until a condition of the object, seen for its present generation, has this status and reason; gives its message.
    ///
    /// # Errors
    /// When it takes too long; with the whole status.
    pub async fn wait_for(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> anyhow::Result<String> {
        let mut last = Value::Null;
        let found = until(Duration::from_mins(1), async || {
            last = self.get(name).await?;
            let fresh = last["status"]["observedGeneration"] == last["metadata"]["generation"];
            let conditions = last["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let condition = conditions
                .into_iter()
                .find(|c| c["type"] == kind && c["status"] == status && c["reason"] == reason);
            Ok(condition.filter(|_| fresh))
        })
        .await?;
        match found {
            Some(condition) => Ok(condition["message"].as_str().unwrap_or_default().to_owned()),
            None => bail!(
                "{name} did not come to {kind}={status}/{reason}: {:#}",
                last["status"]
            ),
        }
    }

    /// What kstatus makes of the object.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn kstatus(&self, name: &str) -> anyhow::Result<String> {
        let file = self
            .environment
            .directory
            .join(format!("{}-{name}.json", self.name));
        std::fs::write(&file, self.get(name).await?.to_string())?;
        let mut command = Command::new("sh");
        command
            .args(["-euc", "\"$0\" < \"$1\""])
            .arg(program("kstatus")?)
            .arg(file);
        Ok(output(&mut command).await?.trim().to_owned())
    }

    /// Waits until the object is gone.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn wait_gone(&self, name: &str) -> anyhow::Result<()> {
        let gone = until(Duration::from_mins(1), async || {
            Ok(self.get(name).await?.is_null().then_some(()))
        })
        .await?;
        gone.with_context(|| format!("{name} does not go"))
    }

    /// Deletes the object, and waits for nothing.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn begin_deletion(&self, name: &str) -> anyhow::Result<()> {
        let words = [
            "delete",
            "bucketreplication",
            name,
            "-n",
            &self.name,
            "--wait=false",
        ];
        self.environment.kubectl(&words).await.map(drop)
    }

    /// Deletes the object and waits until it is gone.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.begin_deletion(name).await?;
        self.wait_gone(name).await
    }

    /// The reasons of all Events on the object, with their notes.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn events(&self) -> anyhow::Result<Vec<(String, String)>> {
        let text = self
            .environment
            .kubectl(&[
                "get",
                "events.events.k8s.io",
                "-n",
                &self.name,
                "-o",
                "json",
            ])
            .await?;
        let list: Value = serde_json::from_str(&text)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| (text(&event["reason"]), text(&event["note"])))
            .collect())
    }

    /// Whether nothing of ours is left in either account.
    ///
    /// # Errors
    /// When AWS can't be read.
    pub async fn is_tidy(&self) -> anyhow::Result<Result<(), String>> {
        if let Some(configuration) = self
            .source
            .replication(SOURCE_REGION, &self.source_bucket)
            .await?
        {
            return Ok(Err(format!(
                "a replication configuration is left: {configuration:?}"
            )));
        }
        let roles = self.source.replication_roles().await?;
        if !roles.is_empty() {
            return Ok(Err(format!("roles are left: {roles:?}")));
        }
        let policies = [
            self.destination
                .bucket_policy(DESTINATION_REGION, &self.destination_bucket)
                .await?
                .unwrap_or_default(),
            self.destination
                .key_policy(DESTINATION_REGION, &self.replica_key)
                .await?,
            self.source
                .key_policy(SOURCE_REGION, &self.source_key)
                .await?,
        ];
        let left = policies
            .iter()
            .find(|policy| policy.to_string().contains("\"Brepl"));
        Ok(left.map_or(Ok(()), |policy| {
            Err(format!("a statement is left: {policy:#}"))
        }))
    }
}

fn account(name: &str, id: &str, grant: &Value) -> Value {
    json!({
        "apiVersion": "bucketops.dev/v1alpha1",
        "kind": "AWSAccount",
        "metadata": {"name": name},
        "spec": {
            "accountID": id,
            "assumeRole": {"roleARN": format!("arn:aws:iam::{id}:role/bucket-replication-operator"), "externalID": EXTERNAL_ID},
            "contact": "#platform-storage",
            "grants": [grant],
        },
    })
}

/// Tries until there is an answer, or the time is over.
///
/// # Errors
/// When a try fails for good.
pub async fn until<T>(
    most: Duration,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt().await? {
            return Ok(Some(found));
        }
        if start.elapsed() > most {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn http_ok(address: &str, path: &str) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}
