//! `strict-aws`: the judging AWS as a program, on `BIND_HOST` and `GATEWAY_PORT`. With `RECORD_DECISIONS=true`, `GET /_decisions` shows every decision.

use std::{net::SocketAddr, sync::Arc};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let given =
        |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let address = format!(
        "{}:{}",
        given("BIND_HOST", "127.0.0.1"),
        given("GATEWAY_PORT", "4566")
    );
    let address: SocketAddr = address
        .parse()
        .map_err(|error| std::io::Error::other(format!("BIND_HOST and GATEWAY_PORT: {error}")))?;
    let aws = Arc::<strict_aws::Aws>::default();
    if given("RECORD_DECISIONS", "false") == "true" {
        aws.with(|state| state.decisions.record());
    }
    strict_aws::server::serve(aws, address).await
}
