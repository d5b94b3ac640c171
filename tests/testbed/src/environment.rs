//! One environment: its processes, its kubeconfig, and how it is started and ended. Ports are free ones, so that environments don't collide.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde::{Deserialize, Serialize};

use crate::{
    cloud::{Account, OPERATOR_ACCOUNT, Operator},
    given_cluster, node,
    process::{Process, free_port, output, program, repository},
    stage::SOURCE_REGION,
};

const CHART: &str = "charts/bucket-replication-operator";
/// The value of the chart that names the image that `make image` builds.
pub const IMAGE: &str = "image.repository=localhost/bucket-replication-operator";

/// What an environment is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Whether the emulator enforces IAM policies.
    pub enforce: bool,
    /// Whether there is a node on which pods run; then the process is in namespaces of its own (see [`node::enter`]).
    pub node: bool,
    /// Where the caller serves AWS; `None`: an emulator is started.
    pub aws: Option<SocketAddr>,
}

impl Shape {
    /// Where everything listens: pods don't reach the loopback of their node.
    fn address(self) -> IpAddr {
        if self.node {
            node::ADDRESS
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
    }
}

/// etcd, API server, controller manager and emulator, and with a node what that is made of; they end when this is dropped.
#[derive(Debug)]
pub struct Environment {
    /// Where everything of it lies.
    pub directory: PathBuf,
    /// The emulator.
    pub emulator: SocketAddr,
    processes: Mutex<Vec<Process>>,
}

#[derive(Serialize, Deserialize)]
struct Running {
    emulator: SocketAddr,
    processes: Vec<(String, u32)>,
}

impl Environment {
    /// Starts all of it in `directory`. `tell` gets a line for each part, with the time it took.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn start(
        directory: &Path,
        shape: Shape,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory.join("pki"))?;
        let directory = directory.canonicalize()?;
        let start = Instant::now();
        let emulator = match shape.aws {
            Some(served) => served,
            None => SocketAddr::new(shape.address(), free_port()?),
        };
        let cloud = async {
            if shape.aws.is_some() {
                return Ok(None);
            }
            start_emulator(&directory, emulator, shape.enforce)
                .await
                .map(Some)
        };
        let (cloud, cluster) = tokio::try_join!(cloud, start_control_plane(&directory, shape))?;
        let mut processes = cluster;
        processes.extend(cloud);
        let names: Vec<_> = processes.iter().map(Process::name).collect();
        tell(&format!(
            "{} run ({:.1} s)",
            names.join(", "),
            start.elapsed().as_secs_f64()
        ));
        if shape.node {
            processes.extend(node::start(&directory).await?);
            tell(&format!(
                "kube-scheduler, kube-proxy, containerd and kubelet run, the node is ready ({:.1} s)",
                start.elapsed().as_secs_f64()
            ));
        }
        Ok(Self {
            directory,
            emulator,
            processes: Mutex::new(processes),
        })
    }

    /// Starts the emulator alone, beside a cluster that exists already.
    ///
    /// # Errors
    /// When the emulator does not come up, or the cluster is not free for the demo.
    pub async fn on_given_cluster(
        directory: &Path,
        kubeconfig: &OsStr,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let which = given_cluster::extract(kubeconfig, &directory.join("kubeconfig")).await?;
        tell(&format!("The cluster is that of KUBECONFIG: {which}"));
        let environment = Self {
            emulator: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?),
            directory,
            processes: Mutex::default(),
        };
        given_cluster::is_free(&environment).await?;
        let emulator = start_emulator(&environment.directory, environment.emulator, true).await?;
        tell(&format!("{} runs", emulator.name()));
        Ok(Self {
            processes: Mutex::new(vec![emulator]),
            ..environment
        })
    }

    /// The process ID of a program of it.
    #[must_use]
    pub fn process_id(&self, name: &str) -> Option<u32> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = processes.iter().find(|process| process.name() == name);
        found.map(Process::id)
    }

    /// The admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// What the operator's `ServiceAccount` asked of the API server.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    /// A program with the admin's kubeconfig.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn as_admin(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(program(name)?);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .current_dir(repository());
        Ok(command)
    }

    /// Runs kubectl as admin.
    ///
    /// # Errors
    /// When it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(self.as_admin("kubectl")?.args(arguments)).await
    }

    /// Applies YAML as admin.
    ///
    /// # Errors
    /// When the API server refuses it; with its words.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        let file = self.written(yaml)?;
        let applied = self
            .kubectl(&[
                "apply",
                "--server-side",
                "--force-conflicts",
                "-f",
                &file.to_string_lossy(),
            ])
            .await;
        fs::remove_file(file)?;
        applied
    }

    fn written(&self, text: &str) -> anyhow::Result<PathBuf> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let file = self.directory.join(format!(
            "apply-{}.yaml",
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Applies `crds/` and waits until the API server serves them.
    ///
    /// # Errors
    /// When it does not.
    pub async fn apply_crds(&self) -> anyhow::Result<()> {
        self.kubectl(&[
            "apply",
            "--server-side",
            "-f",
            &repository().join("crds").to_string_lossy(),
        ])
        .await?;
        self.wait_for_crds().await
    }

    /// Waits until the API server serves the CRDs.
    ///
    /// # Errors
    /// When it does not.
    pub async fn wait_for_crds(&self) -> anyhow::Result<()> {
        let crds = [
            "crd/awsaccounts.bucketops.dev",
            "crd/bucketreplications.bucketops.dev",
        ];
        self.kubectl(&[
            "wait",
            "--for=condition=Established",
            crds[0],
            crds[1],
            "--timeout=30s",
        ])
        .await
        .map(drop)
    }

    /// Helm as admin, with files of its own; `CHART` among the words stands for our chart.
    ///
    /// # Errors
    /// When Helm is not there.
    pub fn as_helm(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut helm = self.as_admin("helm")?;
        for word in words {
            if *word == "CHART" {
                helm.arg(repository().join(CHART))
            } else {
                helm.arg(word)
            };
        }
        for (variable, part) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            helm.env(variable, self.directory.join("helm").join(part));
        }
        Ok(helm)
    }

    /// Runs Helm as admin; `CHART` among the words stands for our chart.
    ///
    /// # Errors
    /// When it fails.
    pub async fn helm(&self, words: &[&str]) -> anyhow::Result<String> {
        output(&mut self.as_helm(words)?).await
    }

    /// Installs the chart with Helm, and waits for its pods where they can run.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn install_chart(
        &self,
        namespace: &str,
        pods: bool,
        set: &[&str],
    ) -> anyhow::Result<String> {
        let install = [
            "install",
            "bucket-replication-operator",
            "CHART",
            "--namespace",
            namespace,
            "--create-namespace",
        ];
        let wait = if pods {
            ["--wait", "--timeout", "90s"].as_slice()
        } else {
            &[]
        };
        let set = set.iter().flat_map(|value| ["--set", value]);
        self.helm(
            &install
                .into_iter()
                .chain(wait.iter().copied())
                .chain(set)
                .collect::<Vec<_>>(),
        )
        .await
    }

    /// The environment that the chart's Deployment gives its pods.
    ///
    /// # Errors
    /// When the chart is not installed.
    pub async fn chart_environment(
        &self,
        namespace: &str,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let text = self
            .kubectl(&[
                "get",
                "deployment",
                "bucket-replication-operator",
                "-n",
                namespace,
                "-o",
                "json",
            ])
            .await?;
        let deployment: serde_json::Value = serde_json::from_str(&text)?;
        let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            .as_array()
            .context("the container has no env")?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(variables
            .iter()
            .map(|variable| (text(&variable["name"]), text(&variable["value"])))
            .collect())
    }

    /// A kubeconfig of a `ServiceAccount`, with a token as a pod would have it.
    ///
    /// # Errors
    /// When the API server gives no token.
    pub async fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        let token = self
            .kubectl(&[
                "create",
                "token",
                name,
                "--namespace",
                namespace,
                "--duration",
                "4h",
            ])
            .await?;
        let admin = fs::read_to_string(self.kubeconfig())?;
        let mut config: serde_json::Value = serde_json::from_str(&admin)?;
        // A client certificate would win over the token.
        config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
        let file = self
            .directory
            .join(format!("kubeconfig-{namespace}-{name}"));
        fs::write(&file, format!("{config:#}"))?;
        Ok(file)
    }

    fn take_processes(&self) -> Vec<Process> {
        std::mem::take(
            &mut *self
                .processes
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Ends all processes, for those who can't drop it.
    pub fn end(&self) {
        drop(self.take_processes());
    }

    /// Leaves everything running, and notes what to end later.
    ///
    /// # Errors
    /// When the note can't be written.
    pub fn detach(self) -> anyhow::Result<()> {
        let processes = self
            .take_processes()
            .into_iter()
            .map(|process| (process.name().to_owned(), process.detach()))
            .collect();
        let note = Running {
            emulator: self.emulator,
            processes,
        };
        fs::write(
            self.directory.join("running.json"),
            serde_json::to_string_pretty(&note)?,
        )?;
        Ok(())
    }

    /// Whether what was detached in `directory` still runs.
    #[must_use]
    pub fn is_running(directory: &Path) -> bool {
        running(directory).is_some_and(|note| {
            note.processes
                .iter()
                .all(|(name, id)| is_process(name, *id))
        })
    }

    /// Ends what was detached in `directory`: only processes that still are what was started. Gives the names of those that it ended.
    ///
    /// # Errors
    /// When a process can't be ended.
    pub async fn stop(directory: &Path) -> anyhow::Result<Vec<String>> {
        let Some(note) = running(directory) else {
            return Ok(vec![]);
        };
        let alive: Vec<_> = note
            .processes
            .into_iter()
            .filter(|(name, id)| is_process(name, *id))
            .collect();
        for (_, id) in alive.iter().rev() {
            // Nothing of it is kept, and the API server would take up to a minute to end by itself.
            output(Command::new("kill").args(["-KILL", &id.to_string()])).await?;
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        while let Some((name, id)) = alive.iter().find(|(name, id)| is_process(name, *id)) {
            if Instant::now() > deadline {
                bail!("{name} (process {id}) does not end");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fs::remove_file(directory.join("running.json"))?;
        Ok(alive.into_iter().map(|(name, _)| name).collect())
    }
}

fn running(directory: &Path) -> Option<Running> {
    serde_json::from_str(&fs::read_to_string(directory.join("running.json")).ok()?).ok()
}

/// Process ids are used again, so that the command line has to name the program, too.
fn is_process(name: &str, id: u32) -> bool {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(name)
}

/// What takes the place of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// ministack, which nobody here wrote. It evaluates neither replication roles nor key policies.
    Ministack,
    /// The strict AWS of `tests/aws`, which evaluates every policy.
    Strict,
}

impl Emulator {
    /// The strict one if `AWS=strict` is in the environment.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var("AWS").as_deref() {
            Ok("strict") => Self::Strict,
            _ => Self::Ministack,
        }
    }

    /// The program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ministack => "ministack",
            Self::Strict => "strict-aws",
        }
    }
}

async fn start_emulator(
    directory: &Path,
    address: SocketAddr,
    enforce: bool,
) -> anyhow::Result<Process> {
    let which = Emulator::chosen();
    let mut command = Command::new(match which {
        Emulator::Ministack => program("ministack")?,
        Emulator::Strict => repository().join("target/debug/strict-aws"),
    });
    command
        .env("BIND_HOST", address.ip().to_string())
        .env("GATEWAY_PORT", address.port().to_string())
        .env("AUTH", enforce.to_string())
        .env("RECORD_DECISIONS", enforce.to_string());
    command.env("TMPDIR", directory).current_dir(directory);
    let mut process = Process::start(
        which.name(),
        &directory.join(format!("logs/{}.log", which.name())),
        &mut command,
    )?;
    process
        .wait_until(Duration::from_secs(30), async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await?;
    Ok(process)
}

async fn start_control_plane(directory: &Path, shape: Shape) -> anyhow::Result<Vec<Process>> {
    let log = |name: &str| directory.join("logs").join(format!("{name}.log"));
    let address = shape.address().to_string();
    let pki = directory.join("pki");
    let (client_port, peer_port, secure_port, manager_port) =
        (free_port()?, free_port()?, free_port()?, free_port()?);
    let etcd_url = format!("http://127.0.0.1:{client_port}");
    let peer_url = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(program("etcd")?);
    command.arg("--data-dir").arg(directory.join("etcd")).args([
        "--unsafe-no-fsync",
        "--log-level",
        "warn",
    ]);
    command.args([
        "--listen-client-urls",
        &etcd_url,
        "--advertise-client-urls",
        &etcd_url,
        "--listen-peer-urls",
        &peer_url,
    ]);
    command.args([
        "--initial-advertise-peer-urls",
        &peer_url,
        "--initial-cluster",
        &format!("default={peer_url}"),
    ]);
    let etcd = Process::start("etcd", &log("etcd"), &mut command)?;
    let key = pki.join("service-account.key");
    let public_key = pki.join("service-account.pub");
    let (private, public) = signing_key()?;
    fs::write(&key, private)?;
    fs::write(&public_key, public)?;
    let token = random_token()?;
    let tokens = pki.join("tokens.csv");
    fs::write(&tokens, format!("{token},admin,admin,system:masters\n"))?;
    let server = format!("https://{address}:{secure_port}");
    let mut command = Command::new(program("kube-apiserver")?);
    command.args([
        "--etcd-servers",
        &etcd_url,
        "--bind-address",
        &address,
        "--secure-port",
        &secure_port.to_string(),
    ]);
    command
        .arg("--cert-dir")
        .arg(&pki)
        .arg("--token-auth-file")
        .arg(&tokens);
    command.args([
        "--service-account-issuer",
        "https://kubernetes.default.svc",
        "--authorization-mode",
        "Node,RBAC",
    ]);
    command
        .arg("--service-account-key-file")
        .arg(&public_key)
        .arg("--service-account-signing-key-file")
        .arg(&key);
    command.args([
        "--service-cluster-ip-range",
        "10.0.0.0/24",
        "--advertise-address",
        &address,
    ]);
    // An endpoint of the Service kubernetes can't be on loopback.
    command.args(if shape.node {
        ["--kubelet-preferred-address-types", "InternalIP"]
    } else {
        ["--endpoint-reconciler-type", "none"]
    });
    let audit_policy = directory.join("audit-policy.yaml");
    fs::write(&audit_policy, AUDIT_POLICY)?;
    command
        .arg("--audit-policy-file")
        .arg(&audit_policy)
        .arg("--audit-log-path")
        .arg(directory.join("audit.log"));
    let mut apiserver = Process::start("kube-apiserver", &log("kube-apiserver"), &mut command)?;
    let kubeconfig = directory.join("kubeconfig");
    let certificate = pki.join("apiserver.crt");
    apiserver
        .wait_until(Duration::from_mins(1), async || certificate.is_file())
        .await?;
    fs::write(
        &kubeconfig,
        kubeconfig_text(&server, &fs::read(&certificate)?, &token),
    )?;
    let kubectl = program("kubectl")?;
    let ready = async || {
        output(
            Command::new(&kubectl)
                .env("KUBECONFIG", &kubeconfig)
                .args(["get", "--raw", "/readyz"]),
        )
        .await
        .is_ok()
    };
    apiserver.wait_until(Duration::from_secs(90), ready).await?;
    let mut command = Command::new(program("kube-controller-manager")?);
    command
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .arg("--service-account-private-key-file")
        .arg(&key)
        .arg("--root-ca-file")
        .arg(&certificate);
    command.args([
        "--leader-elect=false",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &manager_port.to_string(),
    ]);
    command
        .arg("--cert-dir")
        .arg(directory.join("manager"))
        .args(["--concurrent-namespace-syncs", "10"]);
    let manager = Process::start(
        "kube-controller-manager",
        &log("kube-controller-manager"),
        &mut command,
    )?;
    Ok(vec![etcd, apiserver, manager])
}

/// Only the operator's own requests are of interest.
const AUDIT_POLICY: &str = r#"{
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "users": ["system:serviceaccount:bucket-replication:bucket-replication-operator"]},
        {"level": "None"}
    ]
}"#;

/// JSON is YAML, too, and needs no quoting rules of our own.
fn kubeconfig_text(server: &str, certificate: &[u8], token: &str) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{"name": "testbed", "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(certificate)}}],
        "users": [{"name": "testbed", "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
    });
    format!("{config:#}")
}

/// What comes before the point of a P-256 key in a `SubjectPublicKeyInfo` (RFC 5480).
const P256_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that signs the tokens of `ServiceAccount`s: the private and the public part as PEM.
fn signing_key() -> anyhow::Result<(String, String)> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .ok()
        .context("no key can be made")?;
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .ok()
            .context("no key can be read")?;
    let public = [P256_HEADER.as_slice(), pair.public_key().as_ref()].concat();
    let pem = |kind: &str, bytes: &[u8]| {
        format!(
            "-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----\n",
            STANDARD.encode(bytes)
        )
    };
    Ok((pem("PRIVATE", document.as_ref()), pem("PUBLIC", &public)))
}

fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .ok()
        .context("no random numbers")?;
    Ok(STANDARD.encode(bytes))
}

/// `env-up`: an environment that stays, with an identity for the operator, and in AWS what `deploy/samples/same-account.yaml` names. The chart is for the
/// user to install.
///
/// # Errors
/// When a part does not come up.
pub async fn up(
    directory: &Path,
    enforce: bool,
    operator: &Path,
    tell: &dyn Fn(&str),
) -> anyhow::Result<()> {
    if Environment::is_running(directory) {
        tell(&format!(
            "it runs already; kubeconfig and aws.env are in {}",
            directory.display()
        ));
        return Ok(());
    }
    Environment::stop(directory).await?;
    let environment = Environment::start(
        directory,
        Shape {
            enforce,
            node: false,
            aws: None,
        },
        tell,
    )
    .await?;
    let endpoint = format!("http://{}", environment.emulator);
    let identity: Operator = Account::new(OPERATOR_ACCOUNT, &endpoint)
        .make_operator()
        .await?;
    let lines = [
        "# The operator's own identity in the emulator: it may assume any role, and nothing else."
            .to_owned(),
        format!("export AWS_ENDPOINT_URL={endpoint}"),
        "export AWS_REGION=us-east-1".into(),
        format!("export AWS_ACCESS_KEY_ID={}", identity.access_key_id),
        format!(
            "export AWS_SECRET_ACCESS_KEY={}",
            identity.secret_access_key
        ),
    ];
    fs::write(
        environment.directory.join("aws.env"),
        lines.join("\n") + "\n",
    )?;
    make_accounts(&endpoint, operator).await?;
    tell(&format!(
        "kubeconfig: {}",
        environment.kubeconfig().display()
    ));
    tell(&format!(
        "aws.env:    {}",
        environment.directory.join("aws.env").display()
    ));
    tell(
        "AWS has the accounts of deploy/samples/platform.yaml, and the buckets and the key of deploy/samples/same-account.yaml.",
    );
    environment.detach()
}

/// The accounts of `deploy/samples/platform.yaml` with the operator's roles, and what the sample for one account names.
async fn make_accounts(endpoint: &str, operator: &Path) -> anyhow::Result<()> {
    for (name, id) in [
        ("finance-prod", "111111111111"),
        ("finance-dr", "222222222222"),
    ] {
        let account = Account::new(id, endpoint);
        let mut print = Command::new(
            operator
                .canonicalize()
                .with_context(|| format!("{} is not built: run make build", operator.display()))?,
        );
        print
            .args([
                "iam-policy",
                "-f",
                "deploy/samples/platform.yaml",
                "--account",
                name,
            ])
            .current_dir(repository());
        account
            .make_operator_role(&output(&mut print).await?)
            .await?;
        // The emulator authorizes DescribeKey on the alias.
        account
            .allow_for_emulator(&["kms:DescribeKey"], "*")
            .await?;
    }
    let prod = Account::new("111111111111", endpoint);
    for bucket in ["finance-logs", "finance-logs-archive"] {
        prod.make_bucket(SOURCE_REGION, bucket).await?;
    }
    let key = prod.make_key(SOURCE_REGION).await?;
    prod.set_default_key(SOURCE_REGION, "finance-logs", &key)
        .await?;
    prod.kms(SOURCE_REGION)
        .create_alias()
        .alias_name("alias/archive")
        .target_key_id(key)
        .send()
        .await?;
    Ok(())
}
