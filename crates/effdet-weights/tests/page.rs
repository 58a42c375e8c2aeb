//! The page of published weights.
#![allow(clippy::unwrap_used, reason = "a helper of tests, where this is allowed")]

use std::fs;
use std::path::Path;

#[test]
fn the_page_is_what_the_registry_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../WEIGHTS.md");
    let page = fs::read_to_string(path).unwrap();
    assert!(page == effdet_weights::weights_page(), "WEIGHTS.md is old: cargo xtask weights-page");
}
