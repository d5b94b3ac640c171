//! What lies in `deploy` and `.github`: the chart without Helm, what Argo CD and Flux are told of us, and workflows that can be run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use bucket_replication_operator::{
    api::{
        bucket_replication::BucketReplicationStatus,
        condition::{ConditionType, Reason},
        finding::Finding,
    },
    commands::crd::definitions,
    replication::{Problem, policy::Document, status::refused},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strum::IntoEnumIterator;
use support::{
    cluster::{Cluster, DR, PROD, account, ground, key, object_key, spec},
    golden::compare,
};
use testbed::process::program;

const NAME: &str = "bucket-replication-operator";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const HEAD: &str = "# Made from the chart by `make update`: don't edit.\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a command writes, given `input`.
fn output(command: &mut Command, input: &str) -> String {
    let mut child = command
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_owned());
    let writer = thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The chart with these values, without its hooks, which are for Helm alone.
fn render(values: &Value) -> String {
    let mut values = values.clone();
    let repository = &mut values["image"]["repository"];
    if repository.is_null() {
        *repository = json!("registry.example.com/bucket-replication-operator");
    }
    let mut helm = Command::new(program("helm").unwrap());
    helm.args([
        "template",
        NAME,
        "charts/bucket-replication-operator",
        "--namespace",
        "bucket-replication",
        "--no-hooks",
        "--values",
        "-",
    ]);
    output(&mut helm, &values.to_string())
}

/// What `kubectl apply -k` would apply.
fn build(folder: &str) -> String {
    output(
        Command::new(program("kubectl").unwrap())
            .arg("kustomize")
            .arg(format!("deploy/kustomize/{folder}")),
        "",
    )
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple::<Value>(text)
        .unwrap()
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

fn the_one(documents: &[Value], kind: &str, name: &str) -> Value {
    let mut found = documents
        .iter()
        .filter(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two {kind} {name}");
    one.clone()
}

/// Without the marks of Helm and of the version, and with environment variables in order: in what the chart and an overlay may differ.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for marks in ["labels", "annotations"] {
                if let Some(Value::Object(marked)) = fields.get_mut(marks) {
                    marked.retain(|key, _| {
                        !key.starts_with("helm.sh/")
                            && !key.ends_with("/managed-by")
                            && !key.ends_with("/version")
                    });
                    if marked.is_empty() {
                        fields.remove(marks);
                    }
                }
            }
            if let Some(Value::Array(variables)) = fields.get_mut("env") {
                variables.sort_by_key(|variable| variable["name"].to_string());
            }
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

/// The objects by kind, namespace and name.
fn objects(text: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for mut document in documents(text) {
        plain(&mut document);
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (word(&document["kind"]), &document["metadata"]);
        let (namespace, name) = (word(&metadata["namespace"]), word(&metadata["name"]));
        assert!(
            !kind.is_empty() && !name.is_empty() && document["apiVersion"].is_string(),
            "not complete: {document}"
        );
        assert!(
            all.insert(format!("{kind} {namespace}/{name}"), document)
                .is_none(),
            "twice: {kind} {namespace}/{name}"
        );
    }
    all
}

/// The rendered documents as they stand, without what only makes sense for Helm.
fn texts(rendered: &str) -> Vec<String> {
    let kept = rendered.replace("  annotations:\n    helm.sh/resource-policy: keep\n", "");
    let for_helm = |line: &str| {
        ["# Source: ", "helm.sh/", "app.kubernetes.io/managed-by: "]
            .iter()
            .any(|mark| line.starts_with(mark))
    };
    let lines = kept.lines().filter(|line| !for_helm(line.trim_start()));
    let text: String = lines.flat_map(|line| [line.trim_end(), "\n"]).collect();
    text.split("---\n")
        .filter(|document| !document.trim().is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

fn of_kinds(texts: &[String], kinds: &[&str]) -> Vec<String> {
    let is_one = |text: &&String| {
        text.lines().any(|line| {
            line.strip_prefix("kind: ")
                .is_some_and(|kind| kinds.contains(&kind))
        })
    };
    texts.iter().filter(is_one).cloned().collect()
}

#[test]
fn the_base_is_the_rendered_chart() {
    let all = texts(&render(&json!({})));
    let files: [(&str, &[&str]); 4] = [
        ("crds", &["CustomResourceDefinition"]),
        (
            "rbac",
            &[
                "ServiceAccount",
                "ClusterRole",
                "ClusterRoleBinding",
                "Role",
                "RoleBinding",
            ],
        ),
        (
            "admission",
            &[
                "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding",
            ],
        ),
        (
            "deployment",
            &["Deployment", "Service", "PodDisruptionBudget"],
        ),
    ];
    let mut placed = 0;
    for (file, kinds) in files {
        let mine = of_kinds(&all, kinds);
        placed += mine.len();
        compare(
            &format!("deploy/kustomize/base/{file}.yaml"),
            &format!("{HEAD}{}", mine.join("---\n")),
        );
    }
    assert_eq!(placed, all.len(), "a kind has no file");
    let policies = of_kinds(
        &texts(&render(&json!({"networkPolicy": {"enabled": true}}))),
        &["NetworkPolicy"],
    );
    assert_eq!(policies.len(), 1);
    compare(
        "deploy/kustomize/components/network-policy/networkpolicy.yaml",
        &format!("{HEAD}{}", policies[0]),
    );
}

#[test]
fn base_and_overlays_are_what_the_chart_makes_of_their_values() {
    let production = json!({
        "installationID": "prod",
        "replicaCount": 3,
        "aws": {"region": "eu-central-1"},
        "image": {"repository": "999999999999.dkr.ecr.eu-central-1.amazonaws.com/bucket-replication-operator", "digest": format!("sha256:{:064}", 0)},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::999999999999:role/bucket-replication-operator"}},
        "networkPolicy": {"enabled": true},
    });
    for (folder, values) in [
        ("base", json!({})),
        ("overlays/production", production),
        ("overlays/one-team", json!({"watchNamespaces": ["finance"]})),
    ] {
        let text = build(folder);
        assert!(
            !text.contains("helm.sh/") && !text.contains("managed-by"),
            "{folder} speaks of Helm"
        );
        let mut built = objects(&text);
        let namespace = built.remove("Namespace /bucket-replication").unwrap();
        assert_eq!(
            namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
        let rendered = objects(&render(&values));
        assert!(
            built.keys().eq(rendered.keys()),
            "{folder}: {:?}, and the chart {:?}",
            built.keys(),
            rendered.keys()
        );
        for (name, object) in &built {
            assert_eq!(
                object, &rendered[name],
                "{name} of {folder}, and of the chart"
            );
        }
    }
}

#[test]
fn one_team_gives_rights_on_replications_in_its_namespace_only() {
    let all = documents(&build("overlays/one-team"));
    let is_ours = |binding: &&Value| binding["subjects"][0]["name"] == NAME;
    let mut rights = BTreeSet::new();
    for binding in all
        .iter()
        .filter(|document| {
            document["kind"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("Binding"))
        })
        .filter(is_ours)
    {
        let namespace = binding["metadata"]["namespace"]
            .as_str()
            .unwrap_or("everywhere");
        let role = the_one(
            &all.iter()
                .filter(|role| role["metadata"]["namespace"] == binding["metadata"]["namespace"])
                .cloned()
                .collect::<Vec<_>>(),
            binding["roleRef"]["kind"].as_str().unwrap(),
            binding["roleRef"]["name"].as_str().unwrap(),
        );
        for rule in role["rules"].as_array().unwrap() {
            rights.extend(
                rule["resources"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|resource| (namespace.to_owned(), resource.as_str().unwrap().to_owned())),
            );
        }
    }
    let expected = [
        ("bucket-replication", "leases"),
        ("everywhere", "awsaccounts"),
        ("everywhere", "namespaces"),
        ("finance", "bucketreplications"),
        ("finance", "bucketreplications/status"),
        ("finance", "events"),
    ];
    assert!(
        rights
            .iter()
            .map(|(namespace, resource)| (namespace.as_str(), resource.as_str()))
            .eq(expected),
        "{rights:?}"
    );
}

/// What Argo CD makes of the objects by our check of their kind: health and message.
fn health(kind: &str, objects: &[Value]) -> Vec<(String, String)> {
    let entries: Value = serde_saphyr::from_str(&read("deploy/argocd/health.yaml")).unwrap();
    let check = entries["data"][format!("resource.customizations.health.bucketops.dev_{kind}")]
        .as_str()
        .unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{kind}.lua"));
    fs::write(&file, check).unwrap();
    let said = output(
        Command::new(program("lua").unwrap()).arg(file),
        &objects.iter().map(Value::to_string).collect::<String>(),
    );
    let answers: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), objects.len(), "{said}");
    answers
        .iter()
        .map(|answer| {
            (
                answer["status"].as_str().unwrap().into(),
                answer["message"].as_str().unwrap().into(),
            )
        })
        .collect()
}

/// What kstatus, by which Flux waits, makes of the objects.
fn kstatus(objects: &[Value]) -> Vec<String> {
    let said = output(
        &mut Command::new(program("kstatus").unwrap()),
        &objects.iter().map(Value::to_string).collect::<String>(),
    );
    said.lines().map(ToOwned::to_owned).collect()
}

fn object(kind: &str, generation: i64, deleting: bool, status: &Value) -> Value {
    let mut metadata = json!({"name": "tax", "generation": generation});
    if deleting {
        metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": kind, "metadata": metadata, "status": status})
}

/// The object tax as it stands in the cluster of the test.
fn tax(cluster: &Cluster) -> Value {
    let (tax, generation, status) = &cluster.objects[&object_key("tax")];
    object(
        "BucketReplication",
        *generation,
        tax.is_deleting(),
        &json!(status),
    )
}

/// Statuses that the operator itself writes, from its first visit to the last, with what Argo CD and Flux see.
#[tokio::test]
async fn argo_cd_and_flux_see_how_replications_stand() {
    let mut seen = vec![];
    let mut see = |object: Value, argo: &'static str, flux: &'static str, why: &'static str| {
        seen.push((object, argo, flux, why));
    };
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = |extra: &Value| spec(("dr", "dest"), Some(&key(DR, "us-west-2", "dst")), extra);

    let default =
        json!(definitions()[1].1)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
            ["status"]["default"]
            .clone();
    assert_eq!(default["conditions"][0]["reason"], "Pending");
    see(
        object("BucketReplication", 1, false, &default),
        "Progressing",
        "InProgress",
        "not read",
    );
    cluster.apply("tax", &wish(&json!({"mode": "Observe"})));
    cluster.settle(&world).await;
    see(
        tax(&cluster),
        "Suspended",
        "InProgress",
        "set spec.mode to Enforce to apply them",
    );
    cluster.apply("tax", &wish(&json!({})));
    see(
        tax(&cluster),
        "Progressing",
        "InProgress",
        "has not read this generation",
    );
    cluster.settle(&world).await;
    see(
        tax(&cluster),
        "Healthy",
        "Current",
        "buckets, keys, role and replication configuration are set up",
    );
    cluster.apply("tax", &wish(&json!({"mode": "Observe"})));
    cluster.settle(&world).await;
    see(
        tax(&cluster),
        "Healthy",
        "Current",
        "buckets, keys, role and replication configuration are set up",
    );
    cluster.apply("tax", &wish(&json!({"mode": "Paused"})));
    cluster.settle(&world).await;
    see(
        tax(&cluster),
        "Suspended",
        "InProgress",
        "spec.mode is Paused",
    );
    cluster.apply("tax", &wish(&json!({})));
    cluster.accounts[0] = account("prod", PROD, &json!({"grants": []}));
    cluster.settle(&world).await;
    see(tax(&cluster), "Degraded", "Failed", "ask #storage");
    cluster.delete("tax");
    see(tax(&cluster), "Progressing", "Terminating", "ask #storage");

    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.accounts[1] = account("dr", DR, &json!({"access": "External"}));

    cluster.apply("tax", &wish(&json!({})));
    cluster.settle(&world).await;
    see(tax(&cluster), "Degraded", "Failed", "then attest that");
    // Its owner applies more than that.
    let all = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["s3:ReplicateObject","kms:Encrypt","kms:GenerateDataKey","kms:Decrypt"],"Resource":"*"}}"#;
    world.edit(|state| {
        state.buckets.get_mut("dest").unwrap().policy = Document::parse(all).ok();
        state
            .keys
            .get_mut(&key(DR, "us-west-2", "dst").to_string())
            .unwrap()
            .policy = Document::parse(all).unwrap();
    });
    let attested = cluster
        .message("tax", "Ready")
        .rsplit('=')
        .next()
        .map(ToOwned::to_owned);
    cluster
        .objects
        .get_mut(&object_key("tax"))
        .unwrap()
        .0
        .applied = attested;
    cluster.settle(&world).await;
    assert_eq!(cluster.condition("tax", "Ready").1, "Attested");
    see(tax(&cluster), "Healthy", "Current", "is attested");

    // Whatever stands in the way: somebody has to act, but for what the operator tries again by itself.
    for reason in Reason::iter() {
        let problem = Problem::new(ConditionType::SourceReady, reason, "why");
        let status = refused(
            Some(1),
            &BucketReplicationStatus::default(),
            &[problem],
            Timestamp::UNIX_EPOCH,
        );
        let (argo, flux) = match reason {
            Reason::AwsUnavailable | Reason::InternalError => ("Progressing", "InProgress"),
            // Of modes, which nothing is in the way of.
            Reason::Paused | Reason::PlanPending => continue,
            _ => ("Degraded", "Failed"),
        };
        see(
            object("BucketReplication", 1, false, &json!(status)),
            argo,
            flux,
            "why",
        );
    }

    let all: Vec<_> = seen.iter().map(|(object, ..)| object.clone()).collect();
    for (((object, argo, flux, why), (health, message)), status) in seen
        .iter()
        .zip(health("BucketReplication", &all))
        .zip(kstatus(&all))
    {
        assert_eq!(
            (health.as_str(), status.as_str()),
            (*argo, *flux),
            "{object}"
        );
        assert!(message.contains(why), "{message:?} does not say {why:?}");
    }
}

#[test]
fn argo_cd_sees_how_accounts_stand() {
    let account = |generation: i64, deleting: bool, finding: &Finding| {
        let condition =
            finding.condition(ConditionType::Ready, Some(1), &[], Timestamp::UNIX_EPOCH);
        object(
            "AWSAccount",
            generation,
            deleting,
            &json!({"observedGeneration": 1, "conditions": [condition]}),
        )
    };
    let ready = Finding::yes(Reason::Ready, "account 111111111111 is reached");
    let cases = [
        (
            json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "prod", "generation": 1}}),
            "Progressing",
            "not read",
        ),
        (account(1, false, &ready), "Healthy", "is reached"),
        (account(2, false, &ready), "Progressing", "not read"),
        (account(1, true, &ready), "Progressing", "is reached"),
        (
            account(
                1,
                false,
                &Finding::unknown(Reason::NotObservable, "access is External"),
            ),
            "Healthy",
            "External",
        ),
        (
            account(
                1,
                false,
                &Finding::no(Reason::WrongAccount, "correct spec.accountID"),
            ),
            "Degraded",
            "correct",
        ),
        (
            account(
                1,
                false,
                &Finding::no(Reason::AccessDenied, "grant sts:AssumeRole"),
            ),
            "Degraded",
            "grant",
        ),
        (
            account(
                1,
                false,
                &Finding::unknown(Reason::AwsUnavailable, "slow down"),
            ),
            "Progressing",
            "slow down",
        ),
    ];
    let all: Vec<_> = cases.iter().map(|(object, ..)| object.clone()).collect();
    for ((object, expected, why), (health, message)) in cases.iter().zip(health("AWSAccount", &all))
    {
        assert_eq!(&health, expected, "{object}");
        assert!(message.contains(why), "{message:?} does not say {why:?}");
    }
}

/// The values that Flux and Argo CD hand to Helm are taken by the chart, whose schema refuses what it does not know.
#[test]
fn flux_and_argo_cd_install_the_chart() {
    let flux = documents(&read("deploy/flux/operator.yaml"));
    let release = the_one(&flux, "HelmRelease", NAME);
    let source = the_one(
        &flux,
        "OCIRepository",
        release["spec"]["chartRef"]["name"].as_str().unwrap(),
    );
    let argo = the_one(
        &documents(&read("deploy/argocd/application.yaml")),
        "Application",
        NAME,
    );
    let chart = &argo["spec"]["source"];
    for (values, name) in [
        (&release["spec"]["values"], &release["spec"]["releaseName"]),
        (
            &chart["helm"]["valuesObject"],
            &chart["helm"]["releaseName"],
        ),
    ] {
        assert_eq!(name, NAME);
        let rendered = documents(&render(values));
        let operator = the_one(&rendered, "Deployment", NAME);
        let variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
            .as_array()
            .unwrap();
        assert!(
            variables.contains(&json!({"name": "INSTALLATION_ID", "value": "prod"})),
            "{variables:?}"
        );
        the_one(&rendered, "NetworkPolicy", NAME);
        // CRDs are templates, which Helm upgrades, and are kept.
        let definition = the_one(
            &rendered,
            "CustomResourceDefinition",
            "bucketreplications.bucketops.dev",
        );
        assert_eq!(
            definition["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
    }
    assert!(
        !root()
            .join("charts/bucket-replication-operator/crds")
            .exists(),
        "crds: Skip would leave them out"
    );
    assert_eq!(source["spec"]["ref"]["tag"], VERSION);
    assert_eq!(chart["targetRevision"], VERSION);
    let pushed = "ghcr.io/bucketops/charts";
    assert_eq!(source["spec"]["url"], format!("oci://{pushed}/{NAME}"));
    assert_eq!(
        (&chart["repoURL"], &chart["chart"]),
        (&json!(pushed), &json!(NAME))
    );
    let signer = source["spec"]["verify"]["matchOIDCIdentity"][0]["subject"]
        .as_str()
        .unwrap()
        .replace('\\', "");
    let (_, workflow) = signer.split_once(&format!("/{NAME}/")).unwrap();
    assert!(
        root().join(workflow.split('@').next().unwrap()).is_file(),
        "{signer} is no workflow of ours"
    );
    let checks = &the_one(
        &documents(&read("deploy/flux/kustomizations.yaml")),
        "Kustomization",
        "bucket-replications",
    )["spec"]["healthChecks"];
    let kinds: BTreeSet<_> = documents(&read("deploy/samples/walkthrough.yaml"))
        .iter()
        .map(|sample| json!({"apiVersion": sample["apiVersion"], "kind": sample["kind"], "name": sample["metadata"]["name"], "namespace": sample["metadata"]["namespace"]}).to_string())
        .collect();
    assert!(
        checks
            .as_array()
            .unwrap()
            .iter()
            .all(|check| kinds.contains(&check.to_string())),
        "{checks} {kinds:?}"
    );
}

#[test]
fn there_is_one_version() {
    let chart: Value =
        serde_saphyr::from_str(&read("charts/bucket-replication-operator/Chart.yaml")).unwrap();
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(VERSION), &json!(VERSION))
    );
    assert_eq!(
        output(Command::new("deploy/release").arg("--version"), "").trim(),
        VERSION
    );
}

fn sha256(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A tree like the repository's, with images of one small layer each, for these architectures.
fn tree_with_images(name: &str, architectures: [&str; 2]) -> PathBuf {
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::remove_dir_all(&tree).unwrap_or_default();
    fs::create_dir_all(tree.join("target/image")).unwrap();
    for shared in [
        "Cargo.toml",
        "CHANGELOG.md",
        "LICENSE",
        "charts",
        "target/tools",
    ] {
        std::os::unix::fs::symlink(root().join(shared), tree.join(shared)).unwrap();
    }
    output(Command::new("cp").arg("-R").arg("deploy").arg(&tree), "");
    for (place, architecture) in ["amd64", "arm64"].into_iter().zip(architectures) {
        let layout = tree.join(place);
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |kind: &str, text: &str| {
            let digest = sha256(text);
            fs::write(blobs.join(&digest), text).unwrap();
            json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": text.len()})
        };
        let config = blob(
            "config.v1+json",
            &json!({"architecture": architecture, "os": "linux"}).to_string(),
        );
        let layers = [blob(
            "layer.v1.tar",
            &format!("the operator for {architecture}"),
        )];
        let manifest = blob(
            "manifest.v1+json",
            &json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string(),
        );
        fs::write(
            layout.join("index.json"),
            json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
        )
        .unwrap();
        let archive = tree.join(format!("target/image/{NAME}-{VERSION}-{place}.tar"));
        output(
            Command::new("tar")
                .arg("-cf")
                .arg(archive)
                .arg("-C")
                .arg(layout)
                .args(["blobs", "index.json"]),
            "",
        );
        fs::write(
            tree.join(format!("target/image/sbom-{place}.cdx.json")),
            "{}",
        )
        .unwrap();
        let binary = tree.join(format!("binary-{place}"));
        fs::write(&binary, format!("#!/bin/sh\necho {place}\n")).unwrap();
        let mut archive = Command::new(tree.join("deploy/archive"));
        output(archive.arg(binary).args(["linux", place]), "");
    }
    tree
}

/// What a release would push is settled before it is pushed: one index of both images, named by its digest.
#[test]
fn a_release_names_its_images_by_their_digest() {
    let tree = tree_with_images("release", ["amd64", "arm64"]);
    let said = output(&mut Command::new(tree.join("deploy/release")), "");
    let files = tree.join("target/release-artifacts");
    output(
        Command::new("sh")
            .args(["-euc", "cd \"$0\" && sha256sum --check --strict SHA256SUMS"])
            .arg(&files),
        "",
    );
    let mut names: Vec<_> = fs::read_dir(&files)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let ends = [
        "-amd64.cdx.json",
        "-arm64.cdx.json",
        "-image.tar",
        "-linux-amd64.tar.gz",
        "-linux-arm64.tar.gz",
        ".tgz",
        ".yaml",
    ]
    .map(|end| format!("{NAME}-{VERSION}{end}"));
    let mut expected = ends.to_vec();
    expected.extend(["SHA256SUMS", "bucketreplication.yaml", "images.txt"].map(ToOwned::to_owned));
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(
        fs::read_to_string(files.join("SHA256SUMS"))
            .unwrap()
            .lines()
            .count(),
        expected.len() - 1
    );
    let part = |name: &str| {
        output(
            Command::new("tar")
                .arg("-xOf")
                .arg(files.join(&ends[2]))
                .arg(name),
            "",
        )
    };
    let digest_in = |text: &str, at: usize| -> String {
        serde_json::from_str::<Value>(text).unwrap()["manifests"][at]["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let index = digest_in(&part("index.json"), 0);
    let both = part(&format!("blobs/{}", index.replace(':', "/")));
    assert_eq!(index, format!("sha256:{}", sha256(&both)));
    for (at, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        let image: Value = serde_json::from_str(&both).unwrap();
        assert_eq!(
            image["manifests"][at]["platform"],
            json!({"architecture": architecture, "os": "linux"})
        );
        let attested = format!(
            "{NAME}-{VERSION}-{architecture}.cdx.json ghcr.io/bucketops/{NAME}@{}",
            digest_in(&both, at)
        );
        assert!(said.contains(&attested), "{attested} is not in {said}");
    }
    let order = [
        format!("-image.tar docker://ghcr.io/bucketops/{NAME}@{index}"),
        format!("cosign sign --yes --recursive ghcr.io/bucketops/{NAME}@{index}"),
        format!("@{index} docker://ghcr.io/bucketops/{NAME}:{VERSION}"),
        format!("{NAME}-{VERSION}.tgz oci://ghcr.io/bucketops/charts"),
    ];
    let places: Vec<_> = order
        .iter()
        .map(|line| {
            said.find(line)
                .unwrap_or_else(|| panic!("{line} is not in {said}"))
        })
        .collect();
    assert!(places.is_sorted(), "{said}");
    // What is released needs no value to find its image, and the list of images has that one.
    let applied = fs::read_to_string(files.join(&ends[6])).unwrap();
    assert_eq!(objects(&applied).len(), objects(&build("base")).len());
    let mut helm = Command::new(program("helm").unwrap());
    let rendered = output(helm.args(["template", NAME]).arg(files.join(&ends[5])), "");
    let image = format!("ghcr.io/bucketops/{NAME}:{VERSION}");
    for text in [&applied, &rendered] {
        let images = documents(text)
            .iter()
            .flat_map(|object| all_under(object, "image"))
            .collect::<BTreeSet<_>>();
        assert_eq!(images, BTreeSet::from([image.clone()]));
    }
    let listed = fs::read_to_string(files.join("images.txt")).unwrap();
    assert_eq!(listed, format!("{image}@{index}\n"));
}

/// krew installs the archive for the machine, which has the binary in it; the same binary gives the same archive.
#[test]
fn krew_finds_an_archive_for_each_platform() {
    let tree = tree_with_images("krew", ["amd64", "arm64"]);
    let script = "deploy/archive binary-amd64 linux amd64 && mv target/archives/*linux-amd64.tar.gz first && touch binary-amd64 && deploy/archive binary-amd64 linux amd64 && cmp first target/archives/*linux-amd64.tar.gz";
    let mut twice = Command::new("sh");
    output(
        twice
            .args(["-euc", &format!("cd \"$0\" && {script}")])
            .arg(&tree),
        "",
    );
    let answer = Command::new(tree.join("deploy/release")).output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(said.contains("no archive for darwin-arm64"), "{said}");
    let files = tree.join("target/release-artifacts");
    let manifest = fs::read_to_string(files.join("bucketreplication.yaml")).unwrap();
    let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
    assert_eq!(manifest["kind"], "Plugin");
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}"));
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (platform, architecture) in platforms.iter().zip(["amd64", "arm64"]) {
        let selected = &platform["selector"]["matchLabels"];
        assert_eq!(*selected, json!({"os": "linux", "arch": architecture}));
        let file = platform["uri"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap();
        let bytes = fs::read(files.join(file)).unwrap();
        let hex = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(platform["sha256"], hex);
        let unpacked = tree.join(architecture);
        let mut tar = Command::new("tar");
        output(
            tar.arg("-xzf")
                .arg(files.join(file))
                .arg("-C")
                .arg(&unpacked),
            "",
        );
        let binary = unpacked.join(platform["bin"].as_str().unwrap());
        assert_eq!(output(&mut Command::new(binary), "").trim(), architecture);
        assert!(unpacked.join("LICENSE").is_file());
    }
}

#[test]
fn an_image_for_another_architecture_is_not_released() {
    let tree = tree_with_images("crossed", ["arm64", "amd64"]);
    let answer = Command::new(tree.join("deploy/release")).output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(
        !answer.status.success() && said.contains("the image for amd64 is for another one"),
        "{said}"
    );
}

/// The texts under a key, wherever it stands.
fn all_under(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == key => vec![text.clone()],
                _ => all_under(value, key),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| all_under(item, key)).collect(),
        _ => vec![],
    }
}

#[test]
fn workflows_pin_what_they_use_and_run_what_there_is() {
    let makefile = read("Makefile") + &read("tests/tools/tools.mk");
    let mut targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    // These come with the image.
    targets.extend(["image", "release"]);
    for name in ["advisories", "check", "release"] {
        let path = format!(".github/workflows/{name}.yaml");
        let text = read(&path);
        let workflow: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            workflow["permissions"],
            json!({}),
            "{path}: each job says what it may do"
        );
        for (job, does) in workflow["jobs"].as_object().unwrap() {
            assert!(
                does["permissions"].is_object(),
                "{path}: {job} says nothing of its permissions"
            );
        }
        for action in all_under(&workflow["jobs"], "uses") {
            if let Some(file) = action.strip_prefix("./") {
                assert!(root().join(file).is_file(), "{path} uses {action}");
                continue;
            }
            let digest = action.split_once('@').unwrap().1;
            assert!(
                digest.len() == 40 && digest.chars().all(|c| c.is_ascii_hexdigit()),
                "{path} uses {action}, which is no commit"
            );
            assert!(
                text.contains(&format!("{action} # v")),
                "{path} does not say the version of {action}"
            );
        }
        let commands = all_under(&workflow["jobs"], "run");
        assert!(!commands.is_empty());
        for command in commands {
            let words: Vec<_> = command.split_whitespace().collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "make") {
                assert!(
                    targets.contains(pair[1]),
                    "{path}: make {} is no target",
                    pair[1]
                );
            }
            for program in words
                .iter()
                .map(|word| word.trim_start_matches("\"v$(").trim_start_matches("\"$("))
            {
                if program.starts_with(".ci/") || program == "deploy/release" {
                    assert!(
                        root().join(program).is_file(),
                        "{path}: {program} is not there"
                    );
                }
            }
        }
    }
}
