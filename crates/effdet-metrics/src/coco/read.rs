//! Instances and results files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::dataset::{Annotation, PendingBoxes};
use crate::findings::FindingKind;
use crate::json::{Collect, JsonReader};
use crate::{BoxEdges, Category, DetectionRecord, Detections, Error, GroundTruth, Id};

#[derive(Deserialize)]
struct ImageRecord {
    id: Id,
}

#[derive(Deserialize)]
struct CategoryRecord {
    id: Id,
    name: String,
}

#[derive(Deserialize)]
struct AnnotationRecord {
    #[serde(default)]
    id: Option<Id>,
    image_id: Id,
    category_id: Id,
    bbox: [Number; 4],
    #[serde(default)]
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Flag,
    #[serde(default)]
    ignore: Flag,
}

#[derive(Deserialize)]
struct ResultRecord {
    image_id: Id,
    category_id: Id,
    bbox: [Number; 4],
    score: Number,
}

/// A number, or NaN for the null that stands for one that is not finite.
#[derive(Clone, Copy)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Number, E> {
                Ok(Number(n as f64))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Number, E> {
                Ok(Number(n as f64))
            }

            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Number, E> {
                Ok(Number(n))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Number, E> {
                Ok(Number(f64::NAN))
            }
        }
        // Not as an option, which may be absent.
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// 0, 1, true, false or null.
#[derive(Default, Clone, Copy, Serialize)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("0, 1, true or false")
            }

            fn visit_bool<E: de::Error>(self, set: bool) -> Result<Flag, E> {
                Ok(Flag(set))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Flag, E> {
                Ok(Flag(n != 0))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Flag, E> {
                Ok(Flag(n != 0))
            }

            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Flag, E> {
                Ok(Flag(n != 0.0))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl Collect<AnnotationRecord> for PendingBoxes {
    fn push(&mut self, record: AnnotationRecord) -> Result<(), String> {
        let stated = record.bbox.map(|number| number.0);
        let bbox = BoxEdges::from_xywh(stated);
        if !bbox.is_finite() {
            let are_finite = stated.iter().all(|number| number.is_finite());
            let reason = if are_finite {
                "reaches beyond the largest number"
            } else {
                "has numbers that are not finite"
            };
            return Err(format!("the box {reason}"));
        }
        let id = record.id.as_ref().and_then(Id::as_int);
        let named = || id.map_or_else(|| format!("on image {}", record.image_id), |id| id.to_string());
        if record.area.is_none() {
            self.findings.add(FindingKind::MissingArea, 1, named());
        }
        if record.ignore.0 {
            self.findings.add(FindingKind::IgnoreFlag, 1, named());
        }
        self.push(Annotation {
            id,
            image_id: record.image_id,
            category_id: record.category_id,
            bbox,
            area: record.area,
            is_crowd: record.iscrowd.0,
            ignore: record.ignore.0,
            is_group_of: false,
        });
        Ok(())
    }

    fn append(&mut self, other: Self) {
        self.append(other);
    }
}

impl Collect<ResultRecord> for Detections {
    fn push(&mut self, record: ResultRecord) -> Result<(), String> {
        let ResultRecord { image_id, category_id, bbox, score } = record;
        let bbox = BoxEdges::from_xywh(bbox.map(|number| number.0));
        self.push(DetectionRecord { image_id, category_id, bbox, score: score.0 });
        Ok(())
    }

    fn append(&mut self, other: Self) {
        self.append_all(other);
    }
}

impl GroundTruth {
    /// Reads a COCO instances file. Segmentations are passed over without being stored, so memory follows the
    /// number of boxes, not the size of the file. `NaN` and `Infinity` are read as Python writes them; an area that
    /// is one counts as missing.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, lacks `images`, `annotations` or `categories`, or a record lacks
    /// an id, an image, a category or a box of four finite numbers; the error names the record.
    pub fn from_coco(path: impl AsRef<Path>) -> Result<Self, Error> {
        read_instances(JsonReader::<File>::open(path.as_ref())?)
    }

    /// As [`from_coco`](Self::from_coco), from a reader; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`from_coco`](Self::from_coco).
    pub fn from_coco_reader(reader: impl Read, name: &str) -> Result<Self, Error> {
        read_instances(JsonReader::new(reader, Path::new(name)))
    }
}

fn read_instances<R: Read>(mut reader: JsonReader<R>) -> Result<GroundTruth, Error> {
    reader.skip_mark()?;
    if reader.peek()? == Some(b'[') {
        return Err(reader.layout(
            "a list where an instances file has an object with images, annotations and categories (is this a results file?)",
        ));
    }
    let (mut images, mut categories, mut annotations) = (None, None, None);
    reader.object(|reader, key| {
        match key {
            "images" => images = Some(reader.array::<ImageRecord, Vec<_>>("image")?),
            "categories" => categories = Some(reader.array::<CategoryRecord, Vec<_>>("category")?),
            "annotations" => {
                annotations = Some(reader.array::<AnnotationRecord, PendingBoxes>("annotation")?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    reader.end()?;
    let missing = |key: &str| reader.layout(format!("no `{key}`; is this an instances file?"));
    let images = images.ok_or_else(|| missing("images"))?;
    let categories = categories.ok_or_else(|| missing("categories"))?;
    let annotations = annotations.ok_or_else(|| missing("annotations"))?;
    let categories = categories.into_iter().map(|c| Category { id: c.id, name: c.name });
    GroundTruth::assemble(
        images.into_iter().map(|image| image.id).collect(),
        categories.collect(),
        annotations,
    )
}

impl Detections {
    /// Reads a COCO results file: a list of `{image_id, category_id, bbox, score}`, or an object with such a list
    /// as its `annotations`. A detection with a `NaN` or `Infinity`, as Python writes them, or a null in their place
    /// is left out and counted in the report, as by [`push`](Self::push).
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON or a record lacks one of the four; the error names the record.
    pub fn from_coco(path: impl AsRef<Path>) -> Result<Self, Error> {
        read_results(JsonReader::<File>::open(path.as_ref())?)
    }

    /// As [`from_coco`](Self::from_coco), from a reader; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`from_coco`](Self::from_coco).
    pub fn from_coco_reader(reader: impl Read, name: &str) -> Result<Self, Error> {
        read_results(JsonReader::new(reader, Path::new(name)))
    }
}

fn read_results<R: Read>(mut reader: JsonReader<R>) -> Result<Detections, Error> {
    reader.skip_mark()?;
    let mut found = None;
    if reader.peek()? == Some(b'{') {
        reader.object(|reader, key| {
            let wanted = key == "annotations";
            if wanted {
                found = Some(reader.array::<ResultRecord, Detections>("detection")?);
            }
            Ok(wanted)
        })?;
    } else {
        found = Some(reader.array::<ResultRecord, Detections>("detection")?);
    }
    reader.end()?;
    found.ok_or_else(|| reader.layout("no `annotations`; is this a results file?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(text: &str) -> Result<GroundTruth, Error> {
        GroundTruth::from_coco_reader(text.as_bytes(), "gt.json")
    }

    const IMAGES: &str = r#""images": [{"id": "7"}, {"id": 3, "width": 5}]"#;
    const CATEGORIES: &str = r#""categories": [{"id": 90, "name": "b"}, {"id": 1, "name": "a"}]"#;

    fn instances(annotations: &str) -> String {
        format!(r#"{{{IMAGES}, {CATEGORIES}, "annotations": [{annotations}]}}"#)
    }

    #[test]
    fn instances_may_stand_in_any_order_with_ids_as_texts() {
        let text = format!(
            r#"{{"annotations": [
                {{"id": 0, "image_id": 7, "category_id": 1, "bbox": [0, 0, 2, 3], "area": 4.5,
                  "segmentation": {{"counts": "}},{{]", "size": [1, 2]}}, "iscrowd": 1}},
                {{"image_id": "3", "category_id": "90", "bbox": [0, 0, 2, 3], "ignore": true}}],
                "info": {{"x": [null]}}, {CATEGORIES}, {IMAGES}}}"#
        );
        let truth = truth(&text).unwrap();
        assert_eq!(truth.images(), [Id::Int(3), Id::Int(7)]);
        let [first, second] = truth.boxes[..] else { panic!("two boxes") };
        assert_eq!((first.area, first.id, first.image, first.is_crowd), (4.5, Some(0), 1, true));
        assert_eq!((second.area, second.id, second.category, second.ignore), (6.0, None, 1, true));
        assert_eq!(truth.findings().get(FindingKind::MissingArea).unwrap().examples, ["on image 3"]);
    }

    #[test]
    fn errors_name_the_file_and_the_record() {
        let good = r#"{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 2, 3]}"#;
        for (text, message) in [
            (
                instances(&format!(r#"{good}, {{"image_id": 7}}"#)),
                "gt.json: annotation 1: missing field `category_id`",
            ),
            (
                instances(r#"{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}"#),
                "gt.json: annotation 0: invalid length 3",
            ),
            (
                instances(r#"{"image_id": 7, "category_id": 1, "bbox": [1, 2, 1e400, 1]}"#),
                "gt.json: annotation 0: number out of range",
            ),
            (
                instances(&format!(r#"{good}, {{"image_id": 7, "category_id": 1, "bbox": [1, NaN, 3, 4]}}"#)),
                "gt.json: annotation 1: the box has numbers that are not finite",
            ),
            (
                instances(r#"{"image_id": 7, "category_id": 1, "bbox": [1e308, 2, 1e308, 4]}"#),
                "gt.json: annotation 0: the box reaches beyond the largest number",
            ),
            (
                instances(r#"{"image_id": 7, "bbox": [1, 2, 3, 4], "area": NaN}"#),
                "gt.json: annotation 0: missing field `category_id`",
            ),
            ("[]".into(), "gt.json: a list where an instances file has an object"),
            (format!("{{{IMAGES}, {CATEGORIES}}}"), "gt.json: no `annotations`"),
            (format!("{{{IMAGES}, {CATEGORIES}"), "gt.json: expected `,` or `}` after `categories`"),
            (String::new(), "gt.json: top level: the file ends too early"),
        ] {
            let error = truth(&text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn results_may_be_a_list_or_lie_in_an_object() {
        let list = r#"[{"image_id": 1, "category_id": 2, "bbox": [0, 1, 2, 3], "score": 0.5, "id": 9}]"#;
        let object = format!(r#"{{"images": [], "annotations": {list}}}"#);
        for text in [list, &object] {
            let detections = Detections::from_coco_reader(text.as_bytes(), "dt.json").unwrap();
            assert_eq!(detections.entries[0].edges, BoxEdges::from_xywh([0.0, 1.0, 2.0, 3.0]));
        }
        for (record, field) in [
            (r#"{"image_id": 1}"#, "category_id"),
            (r#"{"image_id": 1, "category_id": 2, "bbox": [0, NaN, 2, 3]}"#, "score"),
        ] {
            let error =
                Detections::from_coco_reader(format!("[{record}]").as_bytes(), "dt.json").unwrap_err();
            let message = format!("dt.json: detection 0: missing field `{field}`");
            assert!(error.to_string().starts_with(&message), "{error}");
        }
    }

    #[test]
    fn detections_with_the_numbers_that_python_writes_for_none_are_left_out() {
        let result = |image: u32, x: &str, score: &str| {
            format!(r#"{{"image_id": {image}, "category_id": 1, "bbox": [{x}, 1, 2, 3], "score": {score}}}"#)
        };
        let results = [
            result(1, "0", "0.5"),
            result(2, "0", "NaN"),
            result(3, "-Infinity", "0.5"),
            result(4, "0", "null"),
            result(5, "0", "0.25"),
        ];
        let text = format!(r#"{{"info": {{"loss": NaN}}, "annotations": [{}]}}"#, results.join(", "));
        let detections = Detections::from_coco_reader(text.as_bytes(), "dt.json").unwrap();
        let scores: Vec<f64> = detections.entries.iter().map(|entry| entry.score).collect();
        assert_eq!(scores, [0.5, 0.25]);
        let images = [1, 2, 3, 4, 5].map(Id::Int);
        let listed = GroundTruth::new(images, [Category::new(1i64, "a")], []).unwrap();
        let located = detections.against(&listed).unwrap();
        let left_out = located.findings.get(FindingKind::NonFiniteDetection).unwrap();
        assert_eq!((left_out.count, left_out.examples.join(" ")), (3, "2 3 4".to_owned()));

        let area = r#"{"id": 4, "image_id": 7, "category_id": 1, "bbox": [0, 0, 2, 3], "area": NaN}"#;
        let truth = truth(&instances(area)).unwrap();
        assert_eq!((truth.boxes[0].area, truth.findings().iter().count()), (6.0, 1));
    }
}
