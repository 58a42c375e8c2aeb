//! The evaluator cases of the shared data: published or recomputed numbers, which lie beside each.
//!
//! They are found by EFFDET_SHARED, or beside the repository; without them these tests say so and pass.

use std::fs;
use std::path::{Path, PathBuf};

use effdet_metrics::{
    Annotation, BoxEdges, Category, CocoEvaluator, CocoParams, CocoReport, DetectionRecord, Detections,
    FindingKind, GroundTruth, Id, Interpolation, VocOptions, VocReport, coco_from_files, evaluate_voc,
};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

const STATS: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

fn shared(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("EFFDET_SHARED").map_or_else(beside, PathBuf::from).join("data").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn close(actual: f64, expected: f64, what: &str) {
    assert!((actual - expected).abs() <= TOLERANCE, "{what}: {actual} instead of {expected}");
}

fn assert_stats(report: &CocoReport, expected: &Value) {
    for (name, value) in STATS.iter().zip(report.stats) {
        if let Some(expected) = expected.get(name) {
            close(value, expected.as_f64().unwrap(), name);
        }
    }
    assert!(expected["AP"].is_number());
}

fn assert_per_class(report: &CocoReport, expected: &Value) {
    for (name, numbers) in expected.as_object().unwrap() {
        let class = report.per_class.iter().find(|class| class.name == *name).unwrap();
        let ours = [class.metrics.ap, class.metrics.ap50, class.metrics.ar[2].1];
        for (ours, expected) in ours.iter().zip(numbers.as_array().unwrap()) {
            close(*ours, expected.as_f64().unwrap(), name);
        }
    }
}

#[test]
fn the_fake_results_of_cocoapi_give_its_published_numbers() {
    let Some(case) = shared("eval_cases/cocoapi_fake100") else { return };
    let truth = case.join("instances_val2014_100.json");
    let detections = case.join("instances_val2014_fakebbox100_results.json");
    let report = coco_from_files(&truth, &detections, CocoParams::default()).unwrap();
    let expected = json(case.join("expected.json"));
    assert_stats(&report, &expected["bbox"]);
    assert_per_class(&report, &expected["bbox_per_class{name:[AP,AP50,AR100]}"]);
    let printed = fs::read_to_string(case.join("val2014_fake_eval_res.txt")).unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    let last = |line: &str| line.rsplit('=').next().map(squeeze);
    let ours: Vec<_> = report.table().lines().map(last).collect();
    assert_eq!(ours[0].as_deref(), Some("0.505"), "{printed}");
    assert!(report.findings.is_empty(), "{}", report.findings);
}

#[test]
fn annotation_id_0_is_an_ordinary_id_unless_the_defect_is_asked_for() {
    let Some(case) = shared("eval_cases/rodm_toyexample") else { return };
    let truth = GroundTruth::from_coco(case.join("gts_coco_format/toy_example_coco.JSON")).unwrap();
    let mut detections = Detections::new();
    let images = json(case.join("gts_coco_format/toy_example_coco.JSON"));
    for image in images["images"].as_array().unwrap() {
        let stem = image["file_name"].as_str().unwrap().trim_end_matches(".jpg");
        for (_, record) in text_detections(&case.join("dets_classname_abs_xyx2y2"), stem) {
            let category_id = truth.categories()[0].id.clone();
            let image_id = Id::Int(image["id"].as_i64().unwrap());
            detections.push(DetectionRecord { image_id, category_id, ..record });
        }
    }
    let expected = json(case.join("expected.json"));
    for (quirks, key) in [
        (false, "coco_ids_shifted_by_1 (correct)"),
        (true, "coco_pycocotools_as_shipped (annotation id 0 triggers the pycocotools id==0 defect)"),
    ] {
        let params = CocoParams { pycocotools_quirks: quirks, ..CocoParams::default() };
        let report = CocoEvaluator::new(&truth, params).unwrap().evaluate(&detections).unwrap();
        assert_stats(&report, &expected[key]);
    }
}

/// Lines `class score x1 y1 x2 y2` of one picture.
fn text_detections(folder: &Path, stem: &str) -> Vec<(String, DetectionRecord)> {
    let Ok(text) = fs::read_to_string(folder.join(format!("{stem}.txt"))) else { return Vec::new() };
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let n: Vec<f64> = fields[1..].iter().map(|f| f.parse().unwrap()).collect();
            let bbox = BoxEdges::from_xyxy([n[1], n[2], n[3], n[4]]);
            let record =
                DetectionRecord { image_id: stem.into(), category_id: 0i64.into(), bbox, score: n[0] };
            (fields[0].to_owned(), record)
        })
        .collect()
}

fn voc(truth: &GroundTruth, detections: &Detections, options: VocOptions) -> VocReport {
    evaluate_voc(truth, detections, options).unwrap()
}

#[test]
fn the_toy_example_gives_its_published_voc_numbers() {
    let Some(case) = shared("eval_cases/rodm_toyexample") else { return };
    let truth = GroundTruth::from_voc(case.join("gts_vocpascal_format"), None).unwrap();
    let mut detections = Detections::new();
    for id in truth.images() {
        for (class, record) in text_detections(&case.join("dets_classname_abs_xyx2y2"), &id.to_string()) {
            let category = truth.categories().iter().find(|c| c.name == class).unwrap();
            detections.push(DetectionRecord { category_id: category.id.clone(), ..record });
        }
    }
    let expected = json(case.join("expected.json"));
    for (iou, interpolation, key) in [
        (0.5, Interpolation::AllPoint, "VOC@0.5 all"),
        (0.5, Interpolation::ElevenPoint, "VOC@0.5 11pt"),
        (0.75, Interpolation::AllPoint, "VOC@0.75 all"),
        (0.75, Interpolation::ElevenPoint, "VOC@0.75 11pt"),
    ] {
        let report = voc(&truth, &detections, VocOptions { iou, interpolation, ..VocOptions::default() });
        close(report.mean_ap, expected["computed"][key].as_f64().unwrap(), key);
    }
}

#[test]
fn real_detections_on_voc_give_the_recomputed_numbers() {
    let Some(case) = shared("eval_cases/rodm_voc100") else { return };
    let Some(data) = shared("voc2012_subset") else { return };
    let names = fs::read_to_string(case.join("voc.names")).unwrap();
    let names: Vec<&str> = names.lines().map(str::trim).collect();
    let truth = GroundTruth::from_voc(&data, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut files: std::collections::BTreeMap<&str, String> = std::collections::BTreeMap::new();
    for id in truth.images() {
        for (class, record) in text_detections(&case.join("dets/abs_xyx2y2"), &id.to_string()) {
            let BoxEdges { x1, y1, x2, y2, .. } = record.bbox;
            let line = format!("{id} {} {x1} {y1} {x2} {y2}\n", record.score);
            files.entry(names[class.parse::<usize>().unwrap()]).or_default().push_str(&line);
        }
    }
    for (class, lines) in files {
        fs::write(folder.path().join(format!("comp4_det_test_{class}.txt")), lines).unwrap();
    }
    let detections = Detections::from_voc(folder.path(), &truth).unwrap();
    assert_eq!(detections.len(), 452);
    let expected = json(case.join("expected.json"));
    let mut checked = 0;
    for (key, expected) in expected.as_object().unwrap().iter().filter(|(key, _)| key.starts_with("voc@")) {
        let options = VocOptions {
            iou: if key.contains("@0.75") { 0.75 } else { 0.5 },
            interpolation: if key.contains("11") {
                Interpolation::ElevenPoint
            } else {
                Interpolation::AllPoint
            },
            use_difficult: key.contains("difficult_counted"),
            ..VocOptions::default()
        };
        let report = voc(&truth, &detections, options);
        close(report.mean_ap, expected["mAP"].as_f64().unwrap(), key);
        for (name, numbers) in expected["per_class[AP,npos,ndet,tp]"].as_object().into_iter().flatten() {
            let class = report.per_class.iter().find(|class| class.name == *name).unwrap();
            close(class.ap, numbers[0].as_f64().unwrap(), name);
            assert_eq!(class.ground_truth as u64, numbers[1].as_u64().unwrap(), "{name}");
            assert_eq!(class.true_positives as u64, numbers[3].as_u64().unwrap(), "{name}");
        }
        checked += 1;
    }
    assert!(checked >= 4, "{checked}");
}

#[test]
fn the_same_detections_give_the_recomputed_coco_numbers() {
    let Some(case) = shared("eval_cases/rodm_voc100") else { return };
    let Some(data) = shared("voc2012_subset/other_formats") else { return };
    let expected = json(case.join("expected.json"));
    let mut files: Vec<PathBuf> = walk(&data);
    files.retain(|file| {
        file.extension().is_some_and(|e| e == "json") && file.to_string_lossy().contains("v2")
    });
    let truth =
        files.iter().find(|file| fs::read_to_string(file).unwrap().contains("\"annotations\"")).unwrap();
    let detections = case.join("dets/coco_results_for_instances_v2.json");
    let report = coco_from_files(truth, &detections, CocoParams::default()).unwrap();
    assert_stats(&report, &expected["coco"]);
    assert_per_class(&report, &expected["coco_per_class{name:[AP,AP50,AR100]}"]);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn the_inclusive_pixel_convention_gives_the_published_number() {
    let Some(case) = shared("eval_cases/odm_sample2") else { return };
    let mut annotations = Vec::new();
    let mut detections = Detections::new();
    let mut images = Vec::new();
    for file in walk(&case.join("groundtruths")) {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        images.push(Id::from(stem));
        let numbers = |line: &str| -> Vec<f64> {
            line.split_whitespace().skip(1).map(|field| field.parse().unwrap()).collect()
        };
        for line in fs::read_to_string(&file).unwrap().lines() {
            let n = numbers(line);
            annotations.push(Annotation::new(stem, 1i64, BoxEdges::from_xywh([n[0], n[1], n[2], n[3]])));
        }
        let found = case.join("detections").join(file.file_name().unwrap());
        for line in fs::read_to_string(found).unwrap().lines() {
            let n = numbers(line);
            detections.push(DetectionRecord {
                image_id: stem.into(),
                category_id: 1i64.into(),
                bbox: BoxEdges::from_xywh([n[1], n[2], n[3], n[4]]),
                score: n[0],
            });
        }
    }
    let truth = GroundTruth::new(images, [Category::new(1i64, "person")], annotations).unwrap();
    assert_eq!((truth.len(), detections.len()), (15, 24));
    let expected = json(case.join("expected.json"));
    for (key, value) in expected["computed"].as_object().unwrap() {
        let options = VocOptions {
            iou: if key.starts_with("@0.3") { 0.3 } else { 0.5 },
            interpolation: if key.contains("11_point") {
                Interpolation::ElevenPoint
            } else {
                Interpolation::AllPoint
            },
            use_difficult: false,
            inclusive_pixels: key.ends_with("plus_one=1"),
        };
        close(voc(&truth, &detections, options).mean_ap, value.as_f64().unwrap(), key);
    }
}

#[test]
fn ids_that_are_texts_and_a_crowd_give_the_published_numbers() {
    let Some(case) = shared("eval_cases/crowd_image_2299") else { return };
    let expected = json(case.join("expected.json"));
    for (truth, detections) in
        [("gt_as_shipped.json", "dt_as_shipped.json"), ("gt_int_ids.json", "dt_as_shipped.json")]
    {
        let (truth, detections) = (case.join(truth), case.join(detections));
        let report = coco_from_files(&truth, &detections, CocoParams::default()).unwrap();
        assert_stats(&report, &expected["computed"]);
        assert_eq!(report.findings.get(FindingKind::AnnotationOfUnknownImage), None);
    }
}

#[test]
fn small_coco_cases_of_other_projects_give_their_numbers() {
    let Some(folder) = shared("eval_cases/small") else { return };
    for name in ["automl_coco_metric_test", "detectron2_mini"] {
        let case = json(folder.join(format!("{name}.json")));
        let truth = GroundTruth::from_coco_reader(case["gt"].to_string().as_bytes(), name).unwrap();
        let detections = Detections::from_coco_reader(case["dt"].to_string().as_bytes(), name).unwrap();
        let evaluator = CocoEvaluator::new(&truth, CocoParams::default()).unwrap();
        assert_stats(&evaluator.evaluate(&detections).unwrap(), &case["expected"]);
    }
}

#[test]
fn the_pascal_case_of_tensorflow_models_gives_its_numbers() {
    let Some(folder) = shared("eval_cases/small") else { return };
    let case = json(folder.join("tf_models_pascal.json"));
    let edges = |b: &Value| {
        let n: Vec<f64> = b.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        BoxEdges::from_xyxy([n[1], n[0], n[3], n[2]])
    };
    let categories = case["categories"].as_object().unwrap().iter();
    let categories: Vec<_> =
        categories.map(|(id, name)| Category::new(id.as_str(), name.as_str().unwrap())).collect();
    let mut annotations = Vec::new();
    for (image, objects) in case["groundtruth"].as_object().unwrap() {
        for (i, bbox) in objects["boxes"].as_array().unwrap().iter().enumerate() {
            let class = objects["classes"][i].as_i64().unwrap();
            let ignore = objects["difficult"][i].as_bool().unwrap_or(false);
            annotations.push(Annotation { ignore, ..Annotation::new(image.as_str(), class, edges(bbox)) });
        }
    }
    let mut detections = Detections::new();
    for (image, found) in case["detections"].as_object().unwrap() {
        for (i, bbox) in found["boxes"].as_array().unwrap().iter().enumerate() {
            detections.push(DetectionRecord {
                image_id: image.as_str().into(),
                category_id: found["classes"][i].as_i64().unwrap().into(),
                bbox: edges(bbox),
                score: found["scores"][i].as_f64().unwrap(),
            });
        }
    }
    let images: Vec<Id> = ["img1", "img2", "img3"].map(Id::from).into();
    let truth = GroundTruth::new(images, categories, annotations).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let pooled = &case["weighted_pascal (all classes pooled)"];
    for (use_difficult, key) in [(false, "with difficult"), (true, "without difficult flag")] {
        let options = VocOptions { use_difficult, inclusive_pixels: false, ..VocOptions::default() };
        let report = voc(&truth, &detections, options);
        close(report.pooled_ap, number(&pooled[key]["mAP"]), key);
        close(report.per_class[0].ap, number(&pooled[key]["cat"]), key);
        if !use_difficult {
            close(report.mean_ap, number(&case["expected"]["mAP@0.5"]), "mAP");
            assert_eq!(report.per_class[0].precision, [0.0, 0.5]);
        }
    }
}

#[test]
fn a_results_file_may_name_voc_pictures_and_classes_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let object = "<object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>";
    fs::create_dir(folder.path().join("Annotations")).unwrap();
    for stem in ["2007_1", "000005"] {
        let text = format!("<annotation>{object}</annotation>");
        fs::write(folder.path().join("Annotations").join(format!("{stem}.xml")), text).unwrap();
    }
    let split = folder.path().join("split.txt");
    fs::write(&split, "2007_1\n000005\nabsent\n").unwrap();
    let results = folder.path().join("results.json");
    let text = r#"[{"image_id": "2007_1.jpg", "category_id": "dog", "bbox": [0, 0, 8, 8], "score": 0.9},
                   {"image_id": 5, "category_id": 12, "bbox": [0, 0, 8, 8], "score": 0.8},
                   {"image_id": "absent", "category_id": "dog", "bbox": [0, 0, 8, 8], "score": 0.7}]"#;
    fs::write(&results, text).unwrap();
    // COCO's boxes begin at 0, VOC's at 1: at this IoU a pixel off would be a miss.
    let options = VocOptions { iou: 0.99, ..VocOptions::default() };
    let report = effdet_metrics::voc_from_files(&split, &results, None, options).unwrap();
    let dog = report.per_class.iter().find(|class| class.name == "dog").unwrap();
    assert_eq!((dog.ap, dog.ground_truth, dog.detections, dog.true_positives), (1.0, 2, 3, 2));
    assert_eq!(report.findings.get(FindingKind::MissingAnnotationFile).unwrap().examples, ["absent"]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((json["mAP"].as_f64(), json["per_class"]["dog"]["AP"].as_f64()), (Some(1.0), Some(1.0)));
}

#[test]
fn decimal_commas_of_an_openimages_file_are_read() {
    let Some(folder) = shared("voc2012_subset/other_formats/openimages") else { return };
    let files: Vec<PathBuf> =
        walk(&folder).into_iter().filter(|file| file.extension().is_some_and(|e| e == "csv")).collect();
    let boxes = files
        .iter()
        .filter_map(|file| GroundTruth::from_openimages(file, None, None, None).ok())
        .map(|truth| truth.len())
        .max();
    assert_eq!(boxes, Some(273), "{files:?}");
}
