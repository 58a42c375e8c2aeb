//! Random data sets against pycocotools, from the fixture of tools/golden/make_coco_eval.py.

use std::io::Read;
use std::path::Path;

use effdet_metrics::{
    AreaRange, Category, CocoEvaluator, CocoParams, CocoReport, DetectionRecord, Detections, GroundTruth,
};
use flate2::read::GzDecoder;
use serde_json::Value;

fn fixture() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/coco.json.gz");
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array().map(|list| list.iter().map(|v| v.as_f64().unwrap()).collect())
}

fn params(set: &Value) -> CocoParams {
    let given = &set["params"];
    let mut params = CocoParams { pycocotools_quirks: true, ..CocoParams::default() };
    if let Some(thresholds) = numbers(&given["iou_thresholds"]) {
        params.iou_thresholds = thresholds;
    }
    if let Some(limits) = numbers(&given["max_detections"]) {
        params.max_detections = limits.into_iter().map(|n| n as usize).collect();
    }
    if let Some(ranges) = given["area_ranges"].as_array() {
        let range = |r: &Value| {
            AreaRange::new(r[0].as_str().unwrap(), r[1].as_f64().unwrap(), r[2].as_f64().unwrap())
        };
        params.area_ranges = ranges.iter().map(range).collect();
    }
    params.use_categories = given["use_categories"].as_bool().unwrap_or(true);
    params
}

fn load(set: &Value) -> (GroundTruth, Detections) {
    let read = |key: &str| set[key].to_string();
    let truth = GroundTruth::from_coco_reader(read("truth").as_bytes(), "truth").unwrap();
    let detections = Detections::from_coco_reader(read("detections").as_bytes(), "detections").unwrap();
    (truth, detections)
}

/// The entries of pycocotools' arrays in its order of axes.
fn arrays(report: &CocoReport) -> (Vec<f64>, Vec<f64>) {
    let params = report.params();
    let (thresholds, recalls) = (params.iou_thresholds.len(), params.recall_thresholds.len());
    let cells: Vec<_> = (0..report.categories())
        .flat_map(|k| (0..params.area_ranges.len()).map(move |a| (k, a)))
        .flat_map(|(k, a)| (0..params.max_detections.len()).map(move |m| (k, a, m)))
        .collect();
    let precision = (0..thresholds)
        .flat_map(|t| (0..recalls).map(move |r| (t, r)))
        .flat_map(|(t, r)| cells.iter().map(move |&(k, a, m)| report.precision(t, r, k, a, m)))
        .collect();
    let recall =
        (0..thresholds).flat_map(|t| cells.iter().map(move |&(k, a, m)| report.recall(t, k, a, m))).collect();
    (precision, recall)
}

fn assert_digest(values: &[f64], expected: &Value, what: &str) {
    let sizes = numbers(&expected["shape"]).unwrap();
    assert_eq!(values.len(), sizes.iter().product::<f64>() as usize, "{what}");
    let weighted: f64 = values.iter().zip(0u64..).map(|(v, i)| v * ((i * 37 % 1009) as f64 / 1009.0)).sum();
    for (value, key) in [(values.iter().sum::<f64>(), "sum"), (weighted, "weighted")] {
        let expected = expected[key].as_f64().unwrap();
        assert!((value - expected).abs() < 1e-8, "{what}, {key}: {value} instead of {expected}");
    }
}

#[test]
fn random_sets_give_the_numbers_of_pycocotools() {
    let sets = fixture();
    assert!(sets.len() >= 30);
    for set in &sets {
        let (truth, detections) = load(set);
        let report = CocoEvaluator::new(&truth, params(set)).unwrap().evaluate(&detections).unwrap();
        let name = format!("seed {}", set["seed"]);
        if let Some(stats) = numbers(&set["stats"]) {
            for (ours, theirs) in report.stats.iter().zip(&stats) {
                assert!((ours - theirs).abs() < 1e-9, "{name}: {:?} instead of {stats:?}", report.stats);
            }
        }
        let (precision, recall) = arrays(&report);
        assert_digest(&precision, &set["precision"], &format!("{name}, precision"));
        assert_digest(&recall, &set["recall"], &format!("{name}, recall"));
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_numbers() {
    let set = &fixture()[0];
    let (truth, detections) = load(set);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let evaluator = CocoEvaluator::new(&truth, CocoParams::default()).unwrap();
            serde_json::to_string(&evaluator.evaluate(&detections).unwrap()).unwrap()
        })
    };
    assert_eq!(run(1), run(5));
}

#[test]
fn images_and_categories_can_be_chosen() {
    let sets = fixture();
    let set = sets.iter().find(|set| set["detections"].as_array().unwrap().len() > 200).unwrap();
    let (truth, detections) = load(set);
    let images = truth.images()[..truth.images().len() / 2].to_vec();
    let category = truth.categories()[0].clone();
    let chosen = CocoParams {
        image_ids: Some(images.clone()),
        category_ids: Some(vec![category.id.clone()]),
        ..CocoParams::default()
    };
    let chosen = CocoEvaluator::new(&truth, chosen).unwrap().evaluate(&detections).unwrap();

    // The same by leaving the rest out of the files.
    let mut cut = set.clone();
    let image_kept = |record: &Value| images.iter().any(|id| id.as_int() == record["image_id"].as_i64());
    for list in ["annotations", "detections"] {
        let list =
            if list == "detections" { &mut cut["detections"] } else { &mut cut["truth"]["annotations"] };
        list.as_array_mut().unwrap().retain(|record| image_kept(record));
    }
    let kept = |c: &Value| category.id.as_int() == c["id"].as_i64();
    cut["truth"]["categories"].as_array_mut().unwrap().retain(kept);
    let (truth, detections) = load(&cut);
    let rest = CocoEvaluator::new(&truth, CocoParams::default()).unwrap().evaluate(&detections).unwrap();
    assert_eq!(chosen.stats, rest.stats);
    assert_eq!(chosen.per_class, rest.per_class);
}

#[test]
fn a_ground_truth_without_objects_has_undefined_numbers_and_no_panic() {
    let truth = GroundTruth::new([1.into()], [Category::new(1, "a")], []).unwrap();
    let evaluator = CocoEvaluator::new(&truth, CocoParams::default()).unwrap();
    let report = evaluator.evaluate(&Detections::new()).unwrap();
    assert_eq!(report.stats, [-1.0; 12]);

    let nothing = GroundTruth::new([], [], []).unwrap();
    let mut detections = Detections::new();
    detections.push(DetectionRecord {
        image_id: 1.into(),
        category_id: 1.into(),
        bbox: effdet_metrics::BoxEdges::from_xywh([0.0, 0.0, 1.0, 1.0]),
        score: 1.0,
    });
    let report = CocoEvaluator::new(&nothing, CocoParams::default()).unwrap().evaluate(&detections).unwrap();
    assert_eq!(report.stats, [-1.0; 12]);
    assert_eq!(report.findings.iter().count(), 1);
}

#[test]
fn the_json_has_the_keys_of_the_command_line() {
    let set = &fixture()[0];
    let (truth, detections) = load(set);
    let report = CocoEvaluator::new(&truth, CocoParams::default()).unwrap().evaluate(&detections).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let keys = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
    for (key, stat) in keys.iter().zip(report.stats) {
        assert_eq!(json[key], stat, "{key}");
        let class = json["per_class"].as_object().unwrap().values().next().unwrap();
        assert!(class[key].is_number(), "{key}");
    }
    assert_eq!(json["per_class"].as_object().unwrap().len(), truth.categories().len());
    assert!(
        report
            .table()
            .starts_with(" Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = ")
    );
}
