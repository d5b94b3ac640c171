//! AWS behind a private endpoint, whose CA is trusted where `SSL_CERT_FILE` names it, and behind a proxy, which `HTTPS_PROXY` names.

use std::fs;

use anyhow::{Context, ensure};
use testbed::{forward_proxy::ForwardProxy, tls::Front};

use crate::{Ground, door::nothing_is_written};

pub async fn a_private_authority_is_trusted_where_it_is_named_and_not_otherwise(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("private").await?;
    let front = Front::start(&stage.proxy.url, &[]).await?;
    stage.use_endpoint(&front.url, None);
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    let message = stage
        .wait_for("tax", "Ready", "False", "AWSUnavailable")
        .await?;
    ensure!(message.contains("certificate"), "{message}");
    ensure!(
        stage.proxy.calls().is_empty(),
        "something was sent to a server that nobody knows"
    );
    nothing_is_written(&stage)?;

    let file = ground.environment.directory.join("private-ca.crt");
    fs::write(&file, &front.authority)?;
    stage.use_endpoint(
        &front.url,
        Some(("SSL_CERT_FILE", file.to_string_lossy().into_owned())),
    );
    stage.start().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn aws_is_called_by_the_proxy_and_the_api_server_is_not(
    ground: &Ground,
) -> anyhow::Result<()> {
    const NAME: &str = "aws.beyond.test";
    let mut stage = ground.stage("proxied").await?;
    let front = Front::start(&stage.proxy.url, &[NAME]).await?;
    let address = front.url.trim_start_matches("https://").parse()?;
    let proxy = ForwardProxy::start(NAME, address).await?;
    let file = ground.environment.directory.join("proxied-ca.crt");
    fs::write(&file, &front.authority)?;
    let url = format!("https://{NAME}:443");
    let ca = ("SSL_CERT_FILE", file.to_string_lossy().into_owned());
    let kubeconfig = stage.environment.kubeconfig();
    let server = fs::read_to_string(kubeconfig)?;
    let server: serde_json::Value = serde_json::from_str(&server)?;
    let server = server["clusters"][0]["cluster"]["server"]
        .as_str()
        .context("no server")?
        .trim_start_matches("https://")
        .split(':')
        .next()
        .context("no host")?
        .to_owned();
    stage.use_endpoint(&url, Some(ca));
    stage.use_endpoint(&url, Some(("HTTPS_PROXY", proxy.url.clone())));
    stage.use_endpoint(&url, Some(("NO_PROXY", format!("{server},{NAME}"))));
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage
        .wait_for("tax", "Ready", "False", "AWSUnavailable")
        .await?;
    ensure!(proxy.tunnels() == 0, "NO_PROXY names AWS, too");
    nothing_is_written(&stage)?;

    stage.use_endpoint(&url, Some(("NO_PROXY", server)));
    stage.start().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ensure!(proxy.tunnels() > 0, "AWS was called without the proxy");
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
