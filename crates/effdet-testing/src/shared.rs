//! Reference data that is too large for the repository.

use std::path::PathBuf;

/// The folder of shared reference data: `EFFDET_SHARED`, else `shared` beside the repository. Says on standard error
/// that a test is skipped if there is none.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn shared_or_skip(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("EFFDET_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    if folder.join("golden").is_dir() {
        return Some(folder);
    }
    eprintln!("{test}: skipped, no reference data at {} (set EFFDET_SHARED)", folder.display());
    None
}
