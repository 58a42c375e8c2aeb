//! The CSV files of OpenImages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use csv::StringRecord;
use effdet_core::label_text::is_set;

use crate::dataset::{Annotation, PendingBoxes};
use crate::openimages::Hierarchy;
use crate::{BoxEdges, Category, DetectionRecord, Detections, Error, GroundTruth, Id};

/// A CSV file with the columns that are wanted of it.
struct Table {
    reader: csv::Reader<File>,
    header: Vec<String>,
    path: PathBuf,
}

impl Table {
    fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let header = reader.headers().map_err(|source| Error::Csv { path: path.into(), source })?;
        let name = |field: &str| field.trim_start_matches('\u{feff}').trim().to_owned();
        Ok(Self { header: header.iter().map(name).collect(), reader, path: path.into() })
    }

    fn optional(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|name| name.eq_ignore_ascii_case(column))
    }

    fn column(&self, column: &'static str) -> Result<usize, Error> {
        self.optional(column).ok_or_else(|| Error::MissingColumn { path: self.path.clone(), column })
    }

    fn rows(mut self, mut row: impl FnMut(&Row<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut record = StringRecord::new();
        while self
            .reader
            .read_record(&mut record)
            .map_err(|source| Error::Csv { path: self.path.clone(), source })?
        {
            row(&Row { record: &record, header: &self.header, path: &self.path })?;
        }
        Ok(())
    }
}

struct Row<'a> {
    record: &'a StringRecord,
    header: &'a [String],
    path: &'a Path,
}

impl Row<'_> {
    fn refuse(&self, reason: String) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        Error::Line { path: self.path.into(), line, reason }
    }

    fn text(&self, column: usize) -> Result<&str, Error> {
        let text = self.record.get(column).map(str::trim).filter(|text| !text.is_empty());
        let name =
            || self.header.get(column).map_or_else(|| format!("field {}", column + 1), |n| format!("`{n}`"));
        text.ok_or_else(|| self.refuse(format!("{} is empty", name())))
    }

    fn number(&self, column: usize) -> Result<f64, Error> {
        let text = self.text(column)?;
        parse_number(text).ok_or_else(|| self.refuse(format!("`{text}` is not a number")))
    }

    fn is_set(&self, column: Option<usize>) -> bool {
        column.and_then(|column| self.record.get(column)).is_some_and(is_set)
    }

    fn image(&self, column: usize) -> Result<Id, Error> {
        self.text(column).map(image_id)
    }
}

/// Some files write `0,25`, in quotes.
fn parse_number(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().or_else(|_| text.replacen(',', ".", 1).parse());
    number.ok().filter(|number| number.is_finite())
}

/// Ids are hexadecimal; one that happens to have decimal digits only keeps its leading zeros.
fn image_id(text: &str) -> Id {
    let stem = [".jpg", ".jpeg", ".png"].into_iter().find_map(|ending| text.strip_suffix(ending));
    Id::Text(stem.unwrap_or(text).into())
}

impl GroundTruth {
    /// Reads OpenImages boxes: a CSV file with the columns `ImageID`, `LabelName`, `XMin`, `XMax`, `YMin`, `YMax`
    /// and, if it has them, `IsGroupOf`.
    ///
    /// `classes` is the CSV of labels and their names (`/m/01g317,Person`), which makes the categories; without
    /// it they are the labels that occur and their ancestors in the `hierarchy`. Coordinates stay relative to the size of the picture, which no overlap
    /// depends on. The images are those that have boxes, and those with `verified` labels.
    ///
    /// # Errors
    /// If a file cannot be read, a column is missing or a line has no number where one belongs.
    pub fn from_openimages(
        boxes: impl AsRef<Path>,
        classes: Option<&Path>,
        hierarchy: Option<&Hierarchy>,
        verified: Option<&VerifiedLabels>,
    ) -> Result<Self, Error> {
        let table = Table::open(boxes.as_ref())?;
        let (image, label) = (table.column("ImageID")?, table.column("LabelName")?);
        let sides = edge_columns(&table)?;
        let group_of = table.optional("IsGroupOf");
        let mut images: BTreeSet<Id> =
            verified.iter().flat_map(|verified| verified.images().cloned()).collect();
        let mut labels = BTreeSet::new();
        let mut pending = PendingBoxes::default();
        table.rows(|row| {
            let (image, label) = (row.image(image)?, Id::from(row.text(label)?));
            let annotation = Annotation::new(image.clone(), label.clone(), edges(row, &sides)?);
            pending.push(Annotation { is_group_of: row.is_set(group_of), ..annotation });
            images.insert(image);
            labels.insert(label);
            Ok(())
        })?;
        let categories = match classes {
            Some(path) => read_classes(path)?,
            None => with_ancestors(labels, hierarchy)
                .into_iter()
                .map(|id| Category { name: id.to_string(), id })
                .collect(),
        };
        Self::assemble(images.into_iter().collect(), categories, pending)
    }
}

fn with_ancestors(labels: BTreeSet<Id>, hierarchy: Option<&Hierarchy>) -> BTreeSet<Id> {
    let above: Vec<Id> = hierarchy
        .iter()
        .flat_map(|hierarchy| labels.iter().flat_map(|label| hierarchy.ancestors(label)))
        .cloned()
        .collect();
    labels.into_iter().chain(above).collect()
}

fn edge_columns(table: &Table) -> Result<[usize; 4], Error> {
    Ok([table.column("XMin")?, table.column("YMin")?, table.column("XMax")?, table.column("YMax")?])
}

fn edges(row: &Row<'_>, columns: &[usize; 4]) -> Result<BoxEdges, Error> {
    let [x1, y1, x2, y2] = columns.map(|column| row.number(column));
    Ok(BoxEdges::from_xyxy([x1?, y1?, x2?, y2?]))
}

fn read_classes(path: &Path) -> Result<Vec<Category>, Error> {
    let failed = |source| Error::Csv { path: path.into(), source };
    let file = File::open(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let mut categories = Vec::new();
    for record in csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file).into_records()
    {
        let record = record.map_err(failed)?;
        let row = Row { record: &record, header: &[], path };
        let label = row.text(0)?;
        if !label.eq_ignore_ascii_case("LabelName") {
            categories.push(Category::new(label, record.get(1).unwrap_or(label).trim()));
        }
    }
    Ok(categories)
}

impl Detections {
    /// Reads OpenImages detections from a CSV file of one of two forms: one box a line, with the columns
    /// `ImageID`, `LabelName`, `Score` (or `Confidence`), `XMin`, `XMax`, `YMin`, `YMax`; or the submission form
    /// `ImageID`, `PredictionString` with `label score xmin ymin xmax ymax` repeated.
    ///
    /// # Errors
    /// If the file cannot be read, a column is missing or a line has no number where one belongs.
    pub fn from_openimages(path: impl AsRef<Path>) -> Result<Self, Error> {
        let table = Table::open(path.as_ref())?;
        let image = table.optional("ImageID").or_else(|| table.optional("ImageId"));
        let image = image.map_or_else(|| table.column("ImageID"), Ok)?;
        let mut detections = Self::new();
        if let Some(prediction) = table.optional("PredictionString") {
            table.rows(|row| {
                let image_id = row.image(image)?;
                let fields: Vec<&str> =
                    row.record.get(prediction).unwrap_or_default().split_whitespace().collect();
                for fields in fields.chunks(6) {
                    let record = parse_prediction(&image_id, fields).map_err(|reason| row.refuse(reason))?;
                    detections.push(record);
                }
                Ok(())
            })?;
            return Ok(detections);
        }
        let label = table.column("LabelName")?;
        let score = table.optional("Score").map_or_else(|| table.column("Confidence"), Ok)?;
        let sides = edge_columns(&table)?;
        table.rows(|row| {
            detections.push(DetectionRecord {
                image_id: row.image(image)?,
                category_id: Id::from(row.text(label)?),
                bbox: edges(row, &sides)?,
                score: row.number(score)?,
            });
            Ok(())
        })?;
        Ok(detections)
    }
}

fn parse_prediction(image_id: &Id, fields: &[&str]) -> Result<DetectionRecord, String> {
    let [label, numbers @ ..] = fields else { return Err("empty prediction".into()) };
    let number = |text: &&str| parse_number(text).ok_or_else(|| format!("`{text}` is not a number"));
    let values: Vec<f64> = numbers.iter().map(number).collect::<Result<_, _>>()?;
    let [score, x1, y1, x2, y2] = values[..] else {
        return Err("predictions are not groups of `label score xmin ymin xmax ymax`".into());
    };
    let bbox = BoxEdges::from_xyxy([x1, y1, x2, y2]);
    Ok(DetectionRecord { image_id: image_id.clone(), category_id: Id::from(*label), bbox, score })
}

/// Which classes were looked for on which picture: the image-level labels of the OpenImages Challenge.
#[derive(Debug, Clone, Default)]
pub struct VerifiedLabels {
    pub(crate) by_image: BTreeMap<Id, BTreeSet<Id>>,
}

impl VerifiedLabels {
    /// Reads a CSV file with the columns `ImageID`, `LabelName` and `Confidence` (1: the class is there, 0: it is
    /// not). With a hierarchy, what is there stands for all its ancestors too, and what is not for all its
    /// descendants.
    ///
    /// # Errors
    /// If the file cannot be read, a column is missing or a confidence is not a number.
    pub fn from_path(path: impl AsRef<Path>, hierarchy: Option<&Hierarchy>) -> Result<Self, Error> {
        let table = Table::open(path.as_ref())?;
        let (image, label) = (table.column("ImageID")?, table.column("LabelName")?);
        let confidence = table.column("Confidence")?;
        let mut verified = Self::default();
        table.rows(|row| {
            let label = Id::from(row.text(label)?);
            let present = row.number(confidence)? > 0.0;
            let labels = verified.by_image.entry(row.image(image)?).or_default();
            match hierarchy {
                Some(hierarchy) if present => labels.extend(hierarchy.ancestors(&label).cloned()),
                Some(hierarchy) => labels.extend(hierarchy.descendants(&label).cloned()),
                None => {}
            }
            labels.insert(label);
            Ok(())
        })?;
        Ok(verified)
    }

    /// The images that have labels.
    pub fn images(&self) -> impl Iterator<Item = &Id> {
        self.by_image.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_one_of_a_group_by_a_positive_number_or_the_word_true() {
        // All spellings are in the tests of `is_set`.
        let flags = [("1.0", true), (" TRUE ", true), ("0", false), ("no", false)];
        let rows: Vec<String> = flags.iter().map(|(flag, _)| format!("a,/m/x,0,1,0,1,{flag}\n")).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes.csv");
        let header = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n";
        std::fs::write(&path, format!("{header}{}", rows.concat())).unwrap();
        let truth = GroundTruth::from_openimages(&path, None, None, None).unwrap();
        let found: Vec<bool> = truth.boxes.iter().map(|labelled| labelled.is_group_of).collect();
        assert_eq!(found, flags.map(|(_, is_group_of)| is_group_of));
    }
}
