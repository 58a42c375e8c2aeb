//! What the fuzz target `evaluation_json` found worth keeping is evaluated without a panic. `fuzz/Cargo.toml` says how to look
//! for more.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use effdet_metrics::{CocoEvaluator, CocoParams, Detections, GroundTruth};

#[test]
fn evaluations_are_made_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/evaluation_json");
    let (mut inputs, mut accepted) = (0, 0);
    for entry in folder.read_dir().unwrap() {
        inputs += 1;
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        // Both files, with a zero byte between them.
        let mut files = bytes.splitn(2, |byte| *byte == 0);
        let (truth, found) = (files.next().unwrap_or_default(), files.next().unwrap_or_default());
        let truth = GroundTruth::from_coco_reader(truth, "truth.json");
        let found = Detections::from_coco_reader(found, "found.json");
        if let (Ok(truth), Ok(found)) = (truth, found)
            && let Ok(evaluator) = CocoEvaluator::new(&truth, CocoParams::default())
        {
            accepted += usize::from(evaluator.evaluate(&found).is_ok());
        }
    }
    assert!(inputs >= 20 && accepted > 0, "{inputs} inputs, {accepted} of them evaluations");
}
