//! Tasks about published weights.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// Runs `effdet weights download`.
pub fn download(arguments: &[String]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "effdet-cli", "--", "weights", "download"])
        .args(arguments)
        .status()
        .context("cargo cannot be run")?;
    ensure!(status.success(), "not everything was fetched");
    Ok(())
}

/// Writes WEIGHTS.md.
pub fn write_page() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../WEIGHTS.md");
    std::fs::write(&path, effdet_weights::weights_page())
        .with_context(|| format!("writing {}", path.display()))
}
