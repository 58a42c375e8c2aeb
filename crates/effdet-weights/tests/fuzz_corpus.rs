//! What the fuzz target `checkpoint` found worth keeping is read without a panic. `fuzz/Cargo.toml` says how to look for more.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use effdet_weights::Checkpoint;

#[test]
fn checkpoints_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/checkpoint");
    let (mut inputs, mut accepted) = (0, 0);
    for entry in folder.read_dir().unwrap() {
        inputs += 1;
        if let Ok(checkpoint) = Checkpoint::open(entry.unwrap().path()) {
            accepted += 1;
            for name in checkpoint.names() {
                drop(checkpoint.read_f32(name));
            }
        }
    }
    assert!(inputs >= 20 && accepted > 0, "{inputs} inputs, {accepted} of them checkpoints");
}
