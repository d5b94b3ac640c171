//! AWS behind a private endpoint: its CA is trusted where `SSL_CERT_FILE` names it, and not otherwise.

use std::fs;

use anyhow::ensure;
use testbed::tls::Front;

use crate::{Ground, door::nothing_is_written};

pub async fn a_private_authority_is_trusted_where_it_is_named_and_not_otherwise(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("private").await?;
    let front = Front::start(&stage.proxy.url).await?;
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
