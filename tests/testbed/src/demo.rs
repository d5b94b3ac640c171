//! The demo.
use std::path::Path;
/// x
/// # Errors
/// x
pub async fn run(_d: &Path, _o: &Path, _t: &dyn Fn(&str)) -> anyhow::Result<()> {
    Ok(())
}
