//! The chart on the real API server: in a namespace that enforces the restricted Pod Security Standard, and for some namespaces only.

use crate::Ground;
use std::time::Duration;

use anyhow::{Context, ensure};
use testbed::stage::until;

pub async fn the_rendered_chart_is_taken_where_restricted_is_enforced(
    ground: &Ground,
) -> anyhow::Result<()> {
    let levels = ["enforce", "warn", "audit"]
        .map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
    ground
        .environment
        .kubectl(&["create", "namespace", "strict"])
        .await?;
    ground
        .environment
        .kubectl(
            &[
                &["label", "namespace", "strict"],
                levels.each_ref().map(String::as_str).as_slice(),
            ]
            .concat(),
        )
        .await?;
    let everything = [
        "--set",
        "image.repository=r/x,networkPolicy.enabled=true,watchNamespaces={strict},installationID=strict,serviceAccount.annotations.a=b,crds.install=false,fullnameOverride=strict",
        "--namespace",
        "strict",
        "--no-hooks",
    ];
    let rendered = ground
        .environment
        .helm(&[&["template", "strict", "CHART"], everything.as_slice()].concat())
        .await?;
    ensure!(
        rendered.contains("kind: NetworkPolicy")
            && rendered.contains("kind: Deployment")
            && rendered.contains("kind: RoleBinding")
    );
    let file = ground.environment.directory.join("strict.yaml");
    std::fs::write(&file, rendered)?;
    let mut kubectl = ground.environment.as_admin("kubectl")?;
    kubectl
        .args(["apply", "--dry-run=server", "--namespace", "strict", "-f"])
        .arg(&file);
    let answer = tokio::process::Command::from(kubectl).output().await?;
    let (out, said) = (
        String::from_utf8_lossy(&answer.stdout),
        String::from_utf8_lossy(&answer.stderr),
    );
    ensure!(
        answer.status.success() && out.contains("deployment.apps/strict created"),
        "{out}{said}"
    );
    ensure!(said.trim().is_empty(), "{said}");

    // The pod of `helm test` can't be tried without its ServiceAccount.
    let own = [
        "--show-only",
        "templates/test.yaml",
        "--set",
        "image.repository=r/x,serviceAccount.create=false,serviceAccount.name=default",
    ];
    let pod = ground
        .environment
        .helm(
            &[
                ["template", "strict", "CHART"].as_slice(),
                &own,
                &["--namespace", "strict"],
            ]
            .concat(),
        )
        .await?;
    std::fs::write(&file, [std::fs::read_to_string(&file)?, pod].concat())?;
    let taken = until(Duration::from_secs(10), async || {
        Ok(Some(rejected(ground, "", "", &file).await?).filter(String::is_empty))
    })
    .await?;
    taken.context("the pod of the test is warned of")?;

    // A pod that is not restricted is warned of there, so that silence says something.
    let loose = rejected(ground, "runAsNonRoot: true", "runAsNonRoot: false", &file).await?;
    ensure!(loose.contains("would violate PodSecurity"), "{loose}");
    Ok(())
}

/// The values for each place where the operator runs, rendered and taken by the API server as they would be installed.
pub async fn the_values_of_each_platform_are_taken(ground: &Ground) -> anyhow::Result<()> {
    let common = "image.repository=registry.example.com/operator,crds.install=false,fullnameOverride=platform,installationID=prod";
    let role = "serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::999999999999:role/operator";
    let platforms = [
        ("OpenShift", "commonLabels.team=storage".to_owned()),
        (
            "a proxy",
            "aws.httpsProxy=http://proxy.example.com:3128,aws.noProxy={.internal},networkPolicy.enabled=true".to_owned(),
        ),
        ("IRSA", format!("{role},aws.region=eu-central-1")),
        ("Pod Identity", "networkPolicy.enabled=true,aws.region=eu-central-1".to_owned()),
        (
            "a private CA",
            "extraVolumes[0].name=ca,extraVolumes[0].configMap.name=ca,extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca,extraEnv[0].name=SSL_CERT_FILE,extraEnv[0].value=/ca/ca.crt".to_owned(),
        ),
    ];
    let environment = &ground.environment;
    environment
        .kubectl(&["create", "namespace", "platform"])
        .await?;
    let level = "pod-security.kubernetes.io/enforce=restricted";
    environment
        .kubectl(&["label", "namespace", "platform", level])
        .await?;
    for (platform, values) in platforms {
        let words = ["template", "platform", "CHART", "--namespace", "platform"];
        let set = ["--no-hooks", "--set", common, "--set", &values];
        let rendered = environment
            .helm(&[words.as_slice(), &set].concat())
            .await
            .with_context(|| platform.to_owned())?;
        let file = environment.directory.join("platform.yaml");
        std::fs::write(&file, rendered)?;
        let file = file.to_string_lossy();
        let taken = environment
            .kubectl(&["apply", "--dry-run=server", "--filename", &file])
            .await
            .with_context(|| platform.to_owned())?;
        ensure!(
            taken.contains("deployment.apps/platform created"),
            "{platform}: {taken}"
        );
    }
    Ok(())
}

/// What the API server says of the rendered chart with `from` replaced.
async fn rejected(
    ground: &Ground,
    from: &str,
    to: &str,
    file: &std::path::Path,
) -> anyhow::Result<String> {
    let changed = std::fs::read_to_string(file)?.replace(from, to);
    let other = ground.environment.directory.join("loose.yaml");
    std::fs::write(&other, changed)?;
    let mut kubectl = ground.environment.as_admin("kubectl")?;
    kubectl
        .args(["apply", "--dry-run=server", "--namespace", "strict", "-f"])
        .arg(other);
    let answer = tokio::process::Command::from(kubectl).output().await?;
    Ok(String::from_utf8_lossy(&answer.stderr).into_owned())
}

pub async fn an_install_for_some_namespaces_reads_nothing_of_the_others(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("narrow").await?;
    let narrow = [
        "--set",
        "image.repository=r/x,watchNamespaces={narrow},crds.install=false,admission.enabled=false,rbac.aggregate=false,fullnameOverride=narrow",
        "--namespace",
        "narrow-system",
        "--create-namespace",
    ];
    ground
        .environment
        .helm(&[&["install", "narrow", "CHART"], narrow.as_slice()].concat())
        .await?;
    stage.use_kubeconfig(
        ground
            .environment
            .service_account("narrow-system", "narrow")
            .await?,
    );
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    let identity = "--as=system:serviceaccount:narrow-system:narrow";
    let may = async |words: &[&str]| {
        // kubectl ends with a failure where the answer is no.
        ground
            .environment
            .kubectl(&[&["auth", "can-i"], words, &[identity]].concat())
            .await
            .is_ok()
    };
    ensure!(
        may(&["list", "bucketreplications", "-n", "narrow"]).await,
        "its own namespace"
    );
    ensure!(
        may(&["list", "namespaces"]).await && may(&["list", "awsaccounts"]).await,
        "our CRDs and namespaces"
    );
    for words in [
        ["list", "bucketreplications", "-A"],
        ["list", "bucketreplications", "-nfinance"],
        ["list", "secrets", "-nnarrow"],
        ["list", "configmaps", "-A"],
        ["get", "secrets", "-nnarrow-system"],
        ["patch", "awsaccounts", "--subresource=status"],
        ["create", "pods", "-nnarrow"],
    ] {
        ensure!(!may(&words).await, "{words:?}");
    }
    let left = stage.is_tidy().await?;
    left.map_err(anyhow::Error::msg)
        .context("something is left")
}
