//! `make demo`: the walkthrough, from two empty accounts to replicated objects and back, with what AWS says at each step.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{
    cloud::{Account, OPERATOR_ACCOUNT},
    environment::{Emulator, Environment, IMAGE, Shape},
    given_cluster, node,
    process::{output, program, repository},
    proxy::Call,
    stage::{DESTINATION_REGION, Place, SOURCE_REGION, Setting, Stage, until},
};

const SOURCE_ACCOUNT: &str = "111111111111";
const DESTINATION_ACCOUNT: &str = "222222222222";
const OPERATOR_NAMESPACE: &str = "bucket-replication";
/// Between two drift checks, so that one takes place during the demo.
const DRIFT_PERIOD: Duration = Duration::from_secs(10);

/// What the demo runs on, and where it prints.
struct Demo<'a> {
    stage: Stage<'a>,
    files: PathBuf,
    /// Whether the operator runs as pods.
    pods: bool,
    tell: &'a dyn Fn(&str),
}

/// Plays the walkthrough in `directory`, with pods on a node where this process is in its namespaces, else with the operator's binary.
///
/// # Errors
/// When a step does not come out as the walkthrough has it.
pub async fn run(directory: &Path, operator: &Path, tell: &dyn Fn(&str)) -> anyhow::Result<()> {
    let start = Instant::now();
    let heading = |number: u32, text: &str| {
        tell(&format!(
            "\n== {number}. {text}  [{:.1} s]",
            start.elapsed().as_secs_f64()
        ));
    };
    let pods = node::is_inside();
    let given = std::env::var_os("KUBECONFIG").filter(|given| !pods && !given.is_empty());

    let aws = match Emulator::chosen() {
        Emulator::Ministack => "AWS (the emulator ministack, which enforces IAM policies)",
        Emulator::Strict => "AWS (the strict AWS of tests/aws, which evaluates every policy)",
    };
    heading(
        1,
        &match given {
            Some(_) => format!("{aws}, on this machine alone, and a cluster that exists"),
            None => format!("A Kubernetes cluster and {aws}, on this machine alone"),
        },
    );
    if pods {
        node::prepare().await?;
    }
    let environment = if let Some(kubeconfig) = &given {
        Environment::on_given_cluster(directory, kubeconfig, tell).await?
    } else {
        let shape = Shape {
            enforce: true,
            node: pods,
            aws: None,
        };
        Environment::start(directory, shape, tell).await?
    };
    let endpoint = format!("http://{}", environment.emulator);

    heading(2, "Two AWS accounts, as the walkthrough has them");
    let place = Place {
        source_account: SOURCE_ACCOUNT.into(),
        destination_account: DESTINATION_ACCOUNT.into(),
        source_bucket: "source-bucket".into(),
        destination_bucket: "dest-bucket".into(),
    };
    let operator_account = Account::new(OPERATOR_ACCOUNT, &endpoint);
    let setting = Setting {
        binary: operator
            .canonicalize()
            .with_context(|| format!("{} is not built: run make build", operator.display()))?,
        kubeconfig: environment.kubeconfig(),
        identity: operator_account.make_operator().await?,
        namespaced: false,
        environment: vec![],
    };
    let stage = Stage::make(&environment, "finance", place, setting).await?;
    let files = environment.directory.join("files");
    fs::create_dir_all(&files)?;
    let mut demo = Demo {
        stage,
        files,
        pods,
        tell,
    };
    demo.profiles(&endpoint)?;
    demo.accounts().await?;

    heading(3, "helm install");
    demo.install().await?;

    heading(
        4,
        "The platform team lists both accounts, and what namespace finance may do in them",
    );
    demo.list_accounts().await?;

    heading(5, "The app team applies one BucketReplication");
    demo.apply().await?;
    let created = demo.stage.proxy.take();

    heading(6, "What exists in AWS now");
    let before = demo.show_documents().await?;

    heading(
        7,
        "Test the setup: one SSE-KMS object under Tax/, and one outside it",
    );
    demo.upload().await?;
    if Emulator::chosen() == Emulator::Strict {
        demo.show_failure().await?;
    }

    heading(
        8,
        "The operator repeats that test: a canary every hour, or at once if asked for",
    );
    demo.verify().await?;

    heading(9, "A drift check: reads only");
    let checked = demo.drift_check().await?;

    heading(
        10,
        "The object is deleted: nothing of the operator's is left, and everything unmanaged is",
    );
    let deleted = demo.delete(&before).await?;

    heading(
        11,
        "AWS calls, as the proxy between operator and AWS counted them",
    );
    demo.count("create     ", 12, &created);
    demo.count("drift check", 8, &checked);
    demo.count("delete     ", 8, &deleted);
    if given.is_some() {
        heading(12, "The cluster is left as it was");
        demo.stage.crash();
        given_cluster::clean(&environment).await?;
        tell("the chart, its CRDs, and the namespaces finance and bucket-replication are removed");
    }
    Ok(())
}

impl Demo<'_> {
    fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// Profiles accountA and accountB for the AWS CLI, as the walkthrough has them.
    fn profiles(&self, endpoint: &str) -> anyhow::Result<()> {
        let profile = |name: &str, account: &str, region: &str| {
            format!(
                "[profile {name}]\nregion = {region}\nendpoint_url = {endpoint}\naws_access_key_id = {account}\naws_secret_access_key = test\n"
            )
        };
        let text = profile("accountA", SOURCE_ACCOUNT, SOURCE_REGION)
            + &profile("accountB", DESTINATION_ACCOUNT, DESTINATION_REGION);
        Ok(fs::write(self.files.join("aws-config"), text)?)
    }

    /// Runs a command of the AWS CLI as an account's owner, and shows it. The words are separated by spaces.
    async fn aws(&self, words: &str) -> anyhow::Result<String> {
        self.tell(&format!("$ aws {words}"));
        let text = self.aws_silently(words).await?;
        if !text.trim().is_empty() {
            self.tell(text.trim_end());
        }
        Ok(text)
    }

    async fn aws_silently(&self, words: &str) -> anyhow::Result<String> {
        let mut command = Command::new(program("aws")?);
        command
            .args(words.split(' '))
            .current_dir(&self.files)
            .env_clear()
            .env("HOME", &self.files)
            .env("AWS_PAGER", "");
        command.env("AWS_CONFIG_FILE", self.files.join("aws-config"));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        output(&mut command).await
    }

    async fn kubectl(&self, words: &str) -> anyhow::Result<()> {
        self.tell(&format!("$ kubectl {words}"));
        let text = self
            .stage
            .environment
            .kubectl(&words.split(' ').collect::<Vec<_>>())
            .await?;
        self.tell(text.trim_end());
        Ok(())
    }

    /// What is there before us: buckets with versioning, keys, and statements of the accounts' owners.
    async fn accounts(&self) -> anyhow::Result<()> {
        let stage = &self.stage;
        self.tell(&format!("account A: {SOURCE_ACCOUNT}, source-bucket in {SOURCE_REGION} with versioning, KMS key {}", stage.source_key));
        self.tell(&format!(
            "account B: {DESTINATION_ACCOUNT}, dest-bucket in {DESTINATION_REGION} with versioning, KMS key {}",
            stage.replica_key
        ));
        let foreign = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "OnlyByTLS", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                "Resource": ["arn:aws:s3:::dest-bucket", "arn:aws:s3:::dest-bucket/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}, "StringEquals": {"aws:UserAgent": "a statement of account B's own"}},
            }],
        });
        fs::write(self.files.join("own-policy.json"), format!("{foreign:#}"))?;
        self.aws("s3api put-bucket-policy --bucket dest-bucket --policy file://own-policy.json --profile accountB").await?;
        self.tell("dest-bucket has a policy of account B's own now, and the key of account B has one, too: both have to survive.");
        Ok(())
    }

    /// Installs the chart, whose pods begin to work where there is a node.
    async fn install(&mut self) -> anyhow::Result<()> {
        let environment = self.stage.environment;
        let period = format!("controller.driftPeriod={}s", DRIFT_PERIOD.as_secs());
        let mut set = vec![
            period,
            "controller.settleDelay=2s".into(),
            "controller.logFormat=text".into(),
        ];
        if self.pods {
            node::import(&node::operator_image()).await?;
            set.extend(self.stage.values_of_pods());
        } else {
            // No pod is to start: the image is not in any registry.
            set.extend([IMAGE, "replicaCount=0", "crds.keep=false"].map(ToOwned::to_owned));
        }
        let set: Vec<_> = set.iter().map(String::as_str).collect();
        let chart = "charts/bucket-replication-operator";
        self.tell(&format!(
            "$ helm install bucket-replication-operator {chart} -n {OPERATOR_NAMESPACE} --create-namespace{} --set {}",
            if self.pods { " --wait" } else { "" },
            set.join(" --set ")
        ));
        environment
            .install_chart(OPERATOR_NAMESPACE, self.pods, &set)
            .await?;
        environment.wait_for_crds().await?;
        if self.pods {
            self.tell("The operator runs as two pods of the chart, from the image that make image built, on this cluster's node.");
            return self
                .kubectl(&format!("get pods -n {OPERATOR_NAMESPACE} -o wide"))
                .await;
        }
        self.stage.use_chart(OPERATOR_NAMESPACE).await?;
        self.tell(
            "No image is published yet, so the operator runs as a process: with the environment of the chart's Deployment, as the chart's",
        );
        self.tell("ServiceAccount under the chart's RBAC, and in AWS as an IAM user that may assume roles and nothing else.");
        Ok(())
    }

    async fn list_accounts(&mut self) -> anyhow::Result<()> {
        let accounts = "deploy/samples/accounts.yaml";
        for (name, account) in [
            ("finance-prod", &self.stage.source),
            ("finance-dr", &self.stage.destination),
        ] {
            self.tell(&format!(
                "$ bucket-replication-operator iam-policy -f deploy/samples/accounts.yaml --account {name} > operator-policy.json"
            ));
            let mut print = Command::new(self.stage.binary());
            let policy = output(
                print
                    .arg("iam-policy")
                    .current_dir(repository())
                    .arg("-f")
                    .arg(accounts)
                    .args(["--account", name]),
            )
            .await?;
            account.make_operator_role(&policy).await?;
            self.tell(&format!(
                "role bucket-replication-operator of account {} has exactly that policy ({} actions), and trusts the operator with the ExternalId",
                account.id,
                actions(&policy)?
            ));
        }
        self.stage
            .environment
            .kubectl(&["create", "namespace", "finance"])
            .await?;
        self.kubectl(&format!("apply -f {accounts}")).await?;
        if !self.pods {
            self.stage.start().await?;
            self.tell("$ bucket-replication-operator run");
        }
        self.kubectl("wait --for=condition=Ready --timeout=60s awsaccount/finance-prod awsaccount/finance-dr").await?;
        let identified = self.stage.proxy.take();
        // The operator's identity there, and whether orphaned roles are left.
        ensure!(
            identified
                .iter()
                .all(|call| call.service == "sts" || call.action == "iam:ListRoles"),
            "{identified:?}"
        );
        Ok(())
    }

    async fn apply(&self) -> anyhow::Result<()> {
        let sample = fs::read_to_string(repository().join("deploy/samples/walkthrough.yaml"))?;
        let source = "arn:aws:kms:us-east-1:111111111111:key/11111111-1111-1111-1111-111111111111";
        let replica = "arn:aws:kms:us-west-2:222222222222:key/22222222-2222-2222-2222-222222222222";
        ensure!(
            sample.contains(source) && sample.contains(replica),
            "the sample names other keys"
        );
        let text = sample
            .replace(source, &self.stage.source_key)
            .replace(replica, &self.stage.replica_key);
        let file = self.files.join("walkthrough.yaml");
        fs::write(&file, &text)?;
        let shown: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        self.tell(&shown.join("\n"));
        let start = Instant::now();
        let shown = file.strip_prefix(repository()).unwrap_or(&file);
        self.kubectl(&format!("apply -f {}", shown.display()))
            .await?;
        self.kubectl("wait --for=condition=Ready --timeout=60s bucketreplication/tax -n finance")
            .await?;
        self.tell(&format!(
            "ready after {:.1} s, 2 s of them to let the new permissions become known",
            start.elapsed().as_secs_f64()
        ));
        self.kubectl("get bucketreplication -n finance").await
    }

    /// Shows every document that the object made or changed; gives the policy of the destination's key.
    async fn show_documents(&self) -> anyhow::Result<serde_json::Value> {
        self.aws("s3api get-bucket-replication --bucket source-bucket --profile accountA")
            .await?;
        let role = self
            .stage
            .source
            .replication_roles()
            .await?
            .pop()
            .context("no replication role")?;
        self.aws(&format!("iam get-role --role-name {role} --query Role.AssumeRolePolicyDocument --profile accountA")).await?;
        self.aws(&format!("iam get-role-policy --role-name {role} --policy-name {role} --query PolicyDocument --profile accountA")).await?;
        self.policy("s3api get-bucket-policy --bucket dest-bucket")
            .await?;
        self.policy(&format!(
            "kms get-key-policy --key-id {} --policy-name default",
            self.stage.replica_key
        ))
        .await
    }

    /// Shows a policy of account B, which the AWS CLI prints as a string, as JSON of several lines.
    async fn policy(&self, words: &str) -> anyhow::Result<serde_json::Value> {
        let words = format!("{words} --query Policy --output text --profile accountB");
        self.tell(&format!("$ aws {words}"));
        let policy = serde_json::from_str(&self.aws_silently(&words).await?)?;
        self.tell(&format!("{policy:#}"));
        Ok(policy)
    }

    async fn upload(&self) -> anyhow::Result<()> {
        fs::write(self.files.join("1040.txt"), "income\n")?;
        for object in ["Tax/1040.txt", "Other/1040.txt"] {
            let words = format!(
                "s3api put-object --bucket source-bucket --key {object} --body 1040.txt --server-side-encryption aws:kms --ssekms-key-id {} --profile accountA",
                self.stage.source_key
            );
            self.tell(&format!("$ aws {words}"));
            self.aws_silently(&words).await?;
        }
        for object in ["Tax/1040.txt", "Other/1040.txt"] {
            let query = format!(
                "s3api head-object --bucket source-bucket --key {object} --query ReplicationStatus --output text --profile accountA"
            );
            let status = self.aws_silently(&query).await?.trim().to_owned();
            let there = self
                .stage
                .destination
                .has(DESTINATION_REGION, "dest-bucket", object)
                .await?;
            ensure!(
                there == object.starts_with("Tax/"),
                "{object} is replicated: {there}, with status {status}"
            );
            let status = if status == "None" {
                "no ReplicationStatus".to_owned()
            } else {
                format!("ReplicationStatus {status}")
            };
            self.tell(&format!(
                "{object}: {status}; it is {}in dest-bucket",
                if there { "" } else { "not " }
            ));
        }
        Ok(())
    }

    /// What a missing permission does, and that the operator corrects it: the owner of the replica key removes the operator's statement.
    async fn show_failure(&self) -> anyhow::Result<()> {
        let key = &self.stage.replica_key;
        let words = format!(
            "kms get-key-policy --key-id {key} --policy-name default --query Policy --output text --profile accountB"
        );
        let mut policy: serde_json::Value =
            serde_json::from_str(&self.aws_silently(&words).await?)?;
        let is_ours = |statement: &serde_json::Value| {
            let sid = statement["Sid"].as_str();
            sid.is_some_and(|sid| sid.starts_with("Brepl"))
        };
        let statements = policy["Statement"]
            .as_array_mut()
            .context("no statements")?;
        statements.retain(|statement| !is_ours(statement));
        fs::write(self.files.join("key-policy.json"), policy.to_string())?;
        self.tell("\nAccount B removes the operator's statement from the policy of its key:");
        self.aws(&format!("kms put-key-policy --key-id {key} --policy-name default --policy file://key-policy.json --profile accountB")).await?;
        let failed = self.put_and_head("Tax/late.txt").await?;
        ensure!(failed == "FAILED", "Tax/late.txt is {failed}");
        let endpoint = format!("http://{}", self.stage.environment.emulator);
        let reasons = get(&format!("{endpoint}/_failures")).await?;
        self.tell(&format!(
            "Tax/late.txt: ReplicationStatus FAILED, because of {reasons}"
        ));
        let corrected = async || {
            let policy: serde_json::Value =
                serde_json::from_str(&self.aws_silently(&words).await?)?;
            let statements = policy["Statement"].as_array().context("no statements")?;
            Ok(statements.iter().any(is_ours).then_some(()))
        };
        until(DRIFT_PERIOD * 2, corrected)
            .await?
            .context("the key policy was not corrected")?;
        let status = self.put_and_head("Tax/later.txt").await?;
        ensure!(status == "COMPLETED", "Tax/later.txt is {status}");
        self.tell("The next drift check corrects it. Tax/later.txt: ReplicationStatus COMPLETED");
        Ok(())
    }

    /// A canary is replicated; one that is not names what is missing.
    async fn verify(&self) -> anyhow::Result<()> {
        if Emulator::chosen() != Emulator::Strict {
            self.tell("ministack gives replicas other version IDs than their objects, and S3 the same, by which canaries are found: see make demo AWS=strict");
            return Ok(());
        }
        let patch = r#"{"spec": {"verification": {"canary": {"interval": "1h"}}}}"#;
        self.tell(&format!(
            "$ kubectl patch bucketreplication tax -n finance --type merge --patch '{patch}'"
        ));
        let words = ["patch", "bucketreplication", "tax", "-n", "finance"];
        let words = [words.as_slice(), &["--type", "merge", "--patch", patch]].concat();
        self.stage.environment.kubectl(&words).await?;
        self.kubectl(
            "wait --for=condition=Verified --timeout=60s bucketreplication/tax -n finance",
        )
        .await?;
        self.show_verified().await?;
        let key = &self.stage.replica_key;
        let policy = self
            .stage
            .destination
            .key_policy(DESTINATION_REGION, key)
            .await?;
        let mut denying = policy.clone();
        let stop = serde_json::json!({"Sid": "Stop", "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"});
        denying["Statement"]
            .as_array_mut()
            .context("no statements")?
            .push(stop);
        self.tell("\nAccount B denies kms:Encrypt in the policy of its key, which the operator does not change:");
        for (policy, state) in [(denying, "False"), (policy, "True")] {
            fs::write(self.files.join("key-policy.json"), policy.to_string())?;
            self.aws(&format!("kms put-key-policy --key-id {key} --policy-name default --policy file://key-policy.json --profile accountB")).await?;
            self.kubectl(&format!(
                "annotate --overwrite bucketreplication tax -n finance bucketops.dev/verify={state}"
            ))
            .await?;
            self.kubectl(&format!("wait --for=condition=Verified={state} --timeout=60s bucketreplication/tax -n finance")).await?;
            self.show_verified().await?;
        }
        self.kubectl("wait --for=condition=Ready --timeout=60s bucketreplication/tax -n finance")
            .await
    }

    async fn show_verified(&self) -> anyhow::Result<()> {
        let status = self.stage.get("tax").await?["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let verified = conditions
            .iter()
            .find(|condition| condition["type"] == "Verified")
            .context("no condition Verified")?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        self.tell(&format!(
            "Verified {}, {}: {}",
            text(&verified["status"]),
            text(&verified["reason"]),
            text(&verified["message"])
        ));
        Ok(())
    }

    /// Uploads an SSE-KMS object, and gives its replication status.
    async fn put_and_head(&self, object: &str) -> anyhow::Result<String> {
        let put = format!(
            "s3api put-object --bucket source-bucket --key {object} --body 1040.txt --server-side-encryption aws:kms --ssekms-key-id {} --profile accountA",
            self.stage.source_key
        );
        self.aws_silently(&put).await?;
        let head = format!(
            "s3api head-object --bucket source-bucket --key {object} --query ReplicationStatus --output text --profile accountA"
        );
        Ok(self.aws_silently(&head).await?.trim().to_owned())
    }

    /// Waits for the next look for drift, and gives its calls.
    async fn drift_check(&self) -> anyhow::Result<Vec<Call>> {
        let _ = self.stage.proxy.take();
        let looked = async || {
            Ok(self
                .stage
                .proxy
                .calls()
                .iter()
                .any(|call| call.action == "s3:GetReplicationConfiguration")
                .then_some(()))
        };
        until(DRIFT_PERIOD * 2, looked)
            .await?
            .context("no drift check took place")?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let calls = self.stage.proxy.take();
        ensure!(
            calls.iter().all(|call| !call.writes()),
            "a look for drift wrote: {calls:?}"
        );
        for call in &calls {
            self.tell(&format!("{} {}", call.action, call.resource));
        }
        Ok(calls)
    }

    async fn delete(&self, before: &serde_json::Value) -> anyhow::Result<Vec<Call>> {
        let _ = self.stage.proxy.take();
        self.kubectl("delete bucketreplication tax -n finance")
            .await?;
        let calls = self.stage.proxy.take();
        self.stage.is_tidy().await?.map_err(anyhow::Error::msg)?;
        self.tell("source-bucket has no replication configuration, account A no role brepl-*, and no policy a statement of the operator.");
        let bucket = self
            .policy("s3api get-bucket-policy --bucket dest-bucket")
            .await?;
        let own: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(self.files.join("own-policy.json"))?)?;
        ensure!(
            bucket == own,
            "the policy of dest-bucket is not what it was: {bucket:#}"
        );
        let key = self
            .stage
            .destination
            .key_policy(DESTINATION_REGION, &self.stage.replica_key)
            .await?;
        let foreign = |policy: &serde_json::Value| {
            policy["Statement"]
                .as_array()
                .map(|all| all.iter().take(2).cloned().collect::<Vec<_>>())
        };
        ensure!(
            foreign(&key) == foreign(before)
                && key["Statement"].as_array().map(Vec::len) == Some(2),
            "{key:#}"
        );
        ensure!(
            self.stage
                .destination
                .has(DESTINATION_REGION, "dest-bucket", "Tax/1040.txt")
                .await?,
            "the replica is gone"
        );
        self.tell(
            "Account B's own statements are unchanged in the policies of dest-bucket and of its key, and the replica exists.",
        );
        Ok(calls)
    }

    fn count(&self, what: &str, aim: usize, calls: &[Call]) {
        let (sessions, calls): (Vec<_>, Vec<_>) =
            calls.iter().partition(|call| call.service == "sts");
        let writes = calls.iter().filter(|call| call.writes()).count();
        let refused = calls.iter().filter(|call| call.status == 403).count();
        let sessions = if sessions.is_empty() {
            String::new()
        } else {
            format!(", and {} to sts", sessions.len())
        };
        self.tell(&format!(
            "{what}: {:2} calls (aim {aim}): {:2} reads, {writes} writes{sessions}; {refused} refused",
            calls.len(),
            calls.len() - writes
        ));
    }
}

fn actions(policy: &str) -> anyhow::Result<usize> {
    let policy: serde_json::Value = serde_json::from_str(policy)?;
    let statements = policy["Statement"].as_array().context("no statements")?;
    Ok(statements
        .iter()
        .map(|statement| statement["Action"].as_array().map_or(1, Vec::len))
        .sum())
}

/// The body of a page.
///
/// # Errors
/// When nothing answers at `url`.
pub async fn get(url: &str) -> anyhow::Result<String> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = client
        .get(url.parse()?)
        .await?
        .into_body()
        .collect()
        .await?;
    Ok(String::from_utf8(body.to_bytes().to_vec())?)
}

/// Posts JSON.
///
/// # Errors
/// When nothing answers at `url`, or it is refused.
pub async fn post(url: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = hyper::Request::post(url).body(Full::from(body.to_string()))?;
    let response = client.request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{}", String::from_utf8_lossy(&body));
    Ok(())
}
