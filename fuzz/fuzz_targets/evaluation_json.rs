//! Both files of a COCO evaluation, an instances JSON and a results JSON, with a zero byte between them.
#![no_main]

use effdet_metrics::{CocoEvaluator, CocoParams, Detections, GroundTruth};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut files = bytes.splitn(2, |byte| *byte == 0);
    let (truth, found) = (files.next().unwrap_or_default(), files.next().unwrap_or_default());
    let truth = GroundTruth::from_coco_reader(truth, "truth.json");
    let found = Detections::from_coco_reader(found, "found.json");
    if let (Ok(truth), Ok(found)) = (truth, found)
        && let Ok(evaluator) = CocoEvaluator::new(&truth, CocoParams::default())
    {
        drop(evaluator.evaluate(&found));
    }
});
