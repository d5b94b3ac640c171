//! A whole node, on which the chart's own pods run: scheduler, kube-proxy, containerd with runc, and kubelet, in network, mount and process
//! namespaces of their own, so that nothing collides with the machine and nothing is left of it.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};

use crate::process::{Process, free_port, output, program, repository};

/// The node's address on the bridge of its pods, where they reach API server and emulator.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));
/// Tells a process that it is in the namespaces.
const INSIDE: &str = "TESTBED_INSIDE";
/// A tmpfs of the namespaces. Paths of sockets have to be short.
const RUN: &str = "/run/testbed";
const NAME: &str = "node";
/// Folders of the machine's that kubelet and containerd write to whatever they are told; the node has its own.
const OWN: &str = "/etc/cni /var/log /var/lib/cni /var/lib/kubelet";
/// The programs that only a node needs: those of `make node-tools`, and those of the system.
const TOOLS: [&str; 9] = [
    "bridge",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "host-local",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "loopback",
];
const PROGRAMS: [&str; 5] = ["conntrack", "ip", "nft", "runc", "unshare"];

/// Whether the caller wants no node.
#[must_use]
pub fn is_left_out() -> bool {
    env::var_os("PODS").is_some_and(|pods| pods.is_empty())
}

/// Why no node can run here.
///
/// # Errors
/// With what is missing.
pub fn can_run() -> Result<(), String> {
    if is_left_out() {
        return Err("PODS= leaves the node out".into());
    }
    if !cfg!(target_os = "linux") {
        return Err("a node runs on Linux only".into());
    }
    let id = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !id.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        return Err("a node needs root".into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing = PROGRAMS
        .iter()
        .filter(|name| !on_path(name))
        .chain(TOOLS.iter().filter(|name| program(name).is_err()));
    let missing: Vec<_> = missing.copied().collect();
    if !missing.is_empty() {
        return Err(format!(
            "a node needs {}: run make node-tools",
            missing.join(", ")
        ));
    }
    // The node has a /run of its own, which would hide it.
    if repository().starts_with("/run") {
        return Err("a node needs the checkout outside of /run".into());
    }
    let namespaces = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "true"])
        .output();
    if !namespaces.is_ok_and(|tried| tried.status.success()) {
        return Err("this machine lets nobody make namespaces".into());
    }
    let images = [operator_image(), image("pause.tar")];
    if let Some(missing) = images.iter().find(|archive| !archive.is_file()) {
        return Err(format!(
            "{} is not there: run make image node-tools",
            missing.display()
        ));
    }
    let made = fs::metadata(operator_image())
        .and_then(|archive| archive.modified())
        .map_err(|error| error.to_string())?;
    let root = repository();
    let changed = newest(&root.join("src"))
        .into_iter()
        .chain(newest(&root.join("Cargo.lock")))
        .max();
    if changed.is_some_and(|changed| changed > made) {
        Err("the image is older than src: run make image".into())
    } else {
        Ok(())
    }
}

/// When something at or below `path` was changed last.
fn newest(path: &Path) -> Option<SystemTime> {
    let own = fs::metadata(path).and_then(|found| found.modified()).ok();
    let below = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| newest(&entry.ok()?.path()));
    below.chain(own).max()
}

/// Whether this process is in the namespaces of a node.
#[must_use]
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs this program again, with the same arguments, as the first process of namespaces of its own. When it ends, so does all that it started.
///
/// # Errors
/// When it can't be started.
pub fn enter() -> anyhow::Result<ExitStatus> {
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "true");
    let status = command.status().context("unshare can't be started");
    // Control groups and folders that were made on the way; those of others are not empty, and stay.
    let groups = "find /sys/fs/cgroup -mindepth 2 -depth -type d -path '*/k8s.io*' -exec rmdir {} + 2>/dev/null";
    let folders = format!("rmdir {OWN} 2>/dev/null");
    for script in [groups, &folders] {
        let _ = Command::new("sh").args(["-c", script]).status();
    }
    status
}

/// The exit code of what ran inside: that of a signal as a shell tells it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Makes the network and the mounts of the namespaces.
///
/// # Errors
/// When they can't be made.
pub async fn prepare() -> anyhow::Result<()> {
    ensure!(
        is_inside(),
        "the network of the machine itself is not touched"
    );
    let script = format!(
        "mount --make-rshared /
        mount -t tmpfs tmpfs /run
        for folder in {OWN}; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
        mkdir -p {RUN}
        ip link set lo up
        ip link add cni0 type bridge
        ip address add {ADDRESS}/24 dev cni0
        ip link set cni0 up
        ip route add default via {ADDRESS} dev cni0
        echo 1 > /proc/sys/net/ipv4/ip_forward"
    );
    output(Command::new("sh").args(["-euc", &script]))
        .await
        .map(drop)
}

/// Starts what makes a node of this machine beside a control plane whose files are in `directory`, and waits until it is ready.
///
/// # Errors
/// When a part does not come up.
pub(crate) async fn start(directory: &Path) -> anyhow::Result<Vec<Process>> {
    let files = directory.join("node");
    fs::create_dir_all(files.join("cni"))?;
    let kubeconfig = directory.join("kubeconfig");
    let containerd = start_containerd(directory, &files).await?;
    import(&image("pause.tar")).await?;
    let start = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(program(name)?);
        command
            .args(arguments)
            .current_dir(&files)
            .arg("--kubeconfig")
            .arg(&kubeconfig);
        Process::start(
            name,
            &directory.join(format!("logs/{name}.log")),
            &mut command,
        )
    };
    let port = free_port()?.to_string();
    let scheduler = start(
        "kube-scheduler",
        &[
            "--leader-elect=false",
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &port,
        ],
    )?;
    let proxy = start(
        "kube-proxy",
        &[
            "--proxy-mode",
            "nftables",
            "--conntrack-max-per-core",
            "0",
            "--hostname-override",
            NAME,
        ],
    )?;
    let configuration = files.join("kubelet.json");
    fs::write(&configuration, kubelet_configuration().to_string())?;
    let address = ADDRESS.to_string();
    // Without its address, the kubelet looks up names, which takes half a minute where there are none.
    let identity = [
        "--config",
        &configuration.to_string_lossy(),
        "--hostname-override",
        NAME,
        "--node-ip",
        &address,
        "--root-dir",
        &run("kubelet"),
    ];
    let mut kubelet = start("kubelet", &identity)?;
    let kubectl = program("kubectl")?;
    let ready = async || {
        let words = [
            "wait",
            "--for=condition=Ready",
            "node",
            NAME,
            "--timeout=5s",
        ];
        output(
            Command::new(&kubectl)
                .env("KUBECONFIG", &kubeconfig)
                .args(words),
        )
        .await
        .is_ok()
    };
    kubelet.wait_until(Duration::from_secs(90), ready).await?;
    Ok(vec![containerd, scheduler, proxy, kubelet])
}

async fn start_containerd(directory: &Path, files: &Path) -> anyhow::Result<Process> {
    let network = serde_json::json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": run("addresses"),
                "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    fs::write(files.join("cni/10-pods.conflist"), network.to_string())?;
    let tools = program("containerd")?
        .parent()
        .context("no folder")?
        .to_owned();
    // Native snapshots are copies: images are small here, and an overlay can't stand on the overlay of a container.
    let text = format!(
        "version = 3
root = '{files}/containerd'
state = '{RUN}/containerd'
[grpc]
address = '{socket}'
[ttrpc]
address = '{socket}.ttrpc'
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'native'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'localhost/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{tools}']
conf_dir = '{files}/cni'
",
        files = files.display(),
        socket = socket(),
        tools = tools.display(),
    );
    let configuration = files.join("containerd.toml");
    fs::write(&configuration, text)?;
    let path = env::join_paths(
        [tools]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut command = Command::new(program("containerd")?);
    command
        .arg("--config")
        .arg(&configuration)
        .env("PATH", path);
    let mut process = Process::start(
        "containerd",
        &directory.join("logs/containerd.log"),
        &mut command,
    )?;
    process
        .wait_until(Duration::from_secs(30), async || {
            output(&mut ctr(&["version"])).await.is_ok()
        })
        .await?;
    Ok(process)
}

/// An image that `make image` or `make node-tools` leaves as an OCI archive.
fn image(file: &str) -> PathBuf {
    repository().join("target/image").join(file)
}

/// The operator's image for this machine.
#[must_use]
pub fn operator_image() -> PathBuf {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    image(&format!(
        "bucket-replication-operator-{}-{architecture}.tar",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Gives the node an image from an OCI archive.
///
/// # Errors
/// When it is not there.
pub async fn import(archive: &Path) -> anyhow::Result<()> {
    ensure!(
        archive.is_file(),
        "{} is not there: run make image",
        archive.display()
    );
    output(ctr(&["--namespace", "k8s.io", "images", "import"]).arg(archive))
        .await
        .map(drop)
}

/// Gives an image of the node a second name.
///
/// # Errors
/// When there is no such image.
pub async fn tag(from: &str, to: &str) -> anyhow::Result<()> {
    output(&mut ctr(&[
        "--namespace",
        "k8s.io",
        "images",
        "tag",
        from,
        to,
    ]))
    .await
    .map(drop)
}

fn ctr(words: &[&str]) -> Command {
    let mut command = Command::new(program("ctr").unwrap_or_else(|_| "ctr".into()));
    command.args(["--address", &socket()]).args(words);
    command
}

fn run(name: &str) -> String {
    format!("{RUN}/{name}")
}

fn socket() -> String {
    run("containerd.sock")
}

/// This machine may lack the right to raise limits, and its disk may be full: neither is what is tested.
fn kubelet_configuration() -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": ADDRESS, "healthzBindAddress": "127.0.0.1",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}}, "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": [], "failCgroupV1": false, "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", socket()),
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100, "localStorageCapacityIsolation": false, "maxOpenFiles": 20000, "oomScoreAdj": 0,
        "resolvConf": "", "syncFrequency": "5s",
    })
}
