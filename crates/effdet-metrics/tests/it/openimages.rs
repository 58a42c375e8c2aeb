//! OpenImages numbers against effdet's evaluators, from the fixture of tools/golden/make_openimages.py.

use std::fs;
use std::path::{Path, PathBuf};

use effdet_metrics::{
    Detections, Error, GroundTruth, Hierarchy, Id, OpenImagesFiles, OpenImagesOptions, VerifiedLabels,
    openimages_from_files,
};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openimages").join(name)
}

#[test]
fn seeded_boxes_give_the_numbers_of_effdet() {
    let expected: Vec<Value> = serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 16);
    for case in &expected {
        let flag = |key: &str| case[key].as_bool().unwrap();
        let files = OpenImagesFiles {
            classes: None,
            hierarchy: flag("expand").then(|| fixture("hierarchy.json")),
            image_labels: flag("verified").then(|| fixture("labels.csv")),
        };
        let options = OpenImagesOptions {
            iou: case["iou"].as_f64().unwrap(),
            group_of_weight: case["group_of_weight"].as_f64().unwrap(),
        };
        let (boxes, detections) = (fixture("boxes.csv"), fixture("detections.csv"));
        let report = openimages_from_files(&boxes, &detections, &files, options).unwrap();
        let close = |ours: f64, theirs: &Value, what: &str| {
            let theirs = theirs.as_f64().unwrap_or(-1.0);
            assert!((ours - theirs).abs() < 1e-9, "{what}: {ours} instead of {theirs} in {case}");
        };
        close(report.mean_ap, &case["mAP"], "mAP");
        let classes = case["per_class"].as_object().unwrap();
        assert_eq!(report.per_class.len(), classes.len());
        for class in &report.per_class {
            close(class.ap, &classes[&class.name], &class.name);
        }
        assert!(report.findings.is_empty(), "{}", report.findings);
    }
}

#[test]
fn a_label_with_two_parents_has_the_ancestors_of_both() {
    let hierarchy = Hierarchy::from_path(fixture("hierarchy.json")).unwrap();
    let list = |ids: Vec<&Id>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(list(hierarchy.ancestors(&"/m/meat".into()).collect()), "/m/animal /m/food");
    assert_eq!(list(hierarchy.ancestors(&"/m/duck".into()).collect()), "/m/animal /m/bird");
    assert_eq!(list(hierarchy.descendants(&"/m/animal".into()).collect()), "/m/bird /m/dog /m/duck /m/meat");
}

#[test]
fn the_submission_form_holds_the_same_detections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("submission.csv");
    let text = "ImageId,PredictionString\n00012,/m/a 0.5 0.1 0.2 0.3 0.4 /m/b 0.25 0 0 1 1\nab,\n";
    fs::write(&path, text).unwrap();
    assert_eq!(Detections::from_openimages(&path).unwrap().len(), 2);
    fs::write(&path, "ImageId,PredictionString\nab,/m/a 0.5 0.1 0.2\n").unwrap();
    let error = Detections::from_openimages(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("line 2: predictions are not groups of `label score xmin ymin xmax ymax`"),
        "{error}"
    );
}

#[test]
fn csv_errors_name_the_file_and_the_line_or_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boxes.csv");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        GroundTruth::from_openimages(&path, None, None, None)
    };
    let missing = read("ImageID,LabelName,XMin,XMax,YMin\na,b,0,1,0\n").unwrap_err();
    assert!(matches!(missing, Error::MissingColumn { column: "YMax", .. }), "{missing}");
    let header = "ImageID,LabelName,XMin,XMax,YMin,YMax\n";
    let wrong = read(&format!("{header}a,b,0,1,0,1\na,b,0,1,0,x\n")).unwrap_err().to_string();
    assert!(wrong.ends_with("line 3: `x` is not a number"), "{wrong}");
    let short = read(&format!("{header}a,b,0\n")).unwrap_err().to_string();
    assert!(short.ends_with("line 2: `YMin` is empty"), "{short}");
    let commas = read(&format!("{header}a.jpg,b,\"0,25\",\"1\",0,1\n")).unwrap();
    assert_eq!((commas.images(), commas.len()), (&[Id::Text("a".into())][..], 1));
}

#[test]
fn pictures_with_labels_but_without_boxes_are_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.csv");
    fs::write(&path, "ImageID,LabelName,Confidence\nzz,/m/car,0\n").unwrap();
    let verified = VerifiedLabels::from_path(&path, None).unwrap();
    let truth = GroundTruth::from_openimages(fixture("boxes.csv"), None, None, Some(&verified)).unwrap();
    assert!(truth.images().contains(&"zz".into()));
}
