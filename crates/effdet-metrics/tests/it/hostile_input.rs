//! Damaged files are errors, never panics.

use std::fs;

use effdet_metrics::{
    CocoEvaluator, CocoParams, Detections, Diagnosis, DiagnosisOptions, GroundTruth, Hierarchy, Loaded,
    OpenImagesOptions, VocOptions, diagnose, evaluate_openimages, evaluate_voc,
};
use proptest::prelude::*;

const TRUTH: &str = r#"{"images":[{"id":1},{"id":"2"}],"categories":[{"id":1,"name":"a"},{"id":3,"name":"b"}],
"annotations":[{"id":0,"image_id":1,"category_id":1,"bbox":[1,2,30,40],"area":900.5,"iscrowd":0},
{"id":1,"image_id":2,"category_id":3,"bbox":[1,2,3e1,40],"iscrowd":1,"segmentation":{"counts":[1,2]}}]}"#;
const RESULTS: &str = r#"[{"image_id":1,"category_id":1,"bbox":[1,2,30,40],"score":0.5},
{"image_id":"2","category_id":3,"bbox":[0,0,-5.5,4],"score":1e-3}]"#;
const XML: &str = "<annotation><object><name>a&amp;b</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3.5</xmax>\
<ymax>4</ymax></bndbox><part><bndbox></bndbox></part></object></annotation>";
const CSV: &str = "ImageID,LabelName,Score,XMin,XMax,YMin,YMax,IsGroupOf\na,/m/x,0.5,0.1,\"0,2\",0.1,0.9,1\n";

/// Replaces, drops or doubles a few bytes.
fn damaged(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..6).prop_map(move |edits| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match kind {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.insert(at, *b"[]{},:\"019-e.<>&/".get(usize::from(byte) % 17).unwrap()),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn evaluate_all(loaded: &Loaded) -> Diagnosis {
    let Loaded { truth, detections } = loaded;
    for quirks in [false, true] {
        let params = CocoParams { pycocotools_quirks: quirks, ..CocoParams::default() };
        let report = CocoEvaluator::new(truth, params).unwrap().evaluate(detections).unwrap();
        assert!(report.stats.iter().all(|v| (-1.0..=1.0).contains(v)), "{:?}", report.stats);
    }
    evaluate_voc(truth, detections, VocOptions::default()).unwrap();
    evaluate_openimages(truth, detections, OpenImagesOptions::default(), None).unwrap();
    diagnose(loaded, DiagnosisOptions::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_reads_as_coco_can_be_evaluated(truth in damaged(TRUTH), results in damaged(RESULTS)) {
        let truth = GroundTruth::from_coco_reader(&truth[..], "truth");
        let detections = Detections::from_coco_reader(&results[..], "results");
        if let (Ok(truth), Ok(detections)) = (truth, detections) {
            evaluate_all(&Loaded { truth, detections });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_reads_as_voc_or_openimages_can_be_evaluated(xml in damaged(XML), csv in damaged(CSV)) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.xml"), xml).unwrap();
        let file = folder.path().join("boxes.csv");
        fs::write(&file, csv).unwrap();
        let detections = Detections::from_openimages(&file).unwrap_or_default();
        let _ = Hierarchy::from_path(&file);
        let voc = GroundTruth::from_voc(folder.path(), None);
        let openimages = GroundTruth::from_openimages(&file, None, None, None);
        for truth in [voc, openimages].into_iter().flatten() {
            evaluate_all(&Loaded { truth, detections: detections.clone() });
        }
    }
}
