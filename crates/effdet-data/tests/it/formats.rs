//! Each label format on a tiny data set with every kind of dirt (`tools/golden/make_formats.py`).

use std::fs;
use std::path::{Path, PathBuf};

use effdet_core::ImageSize;
use effdet_data::{
    Action, At, ClassIds, Corners, Dataset, DatasetBuilder, DirtKind, Draft, DraftObject, Error, Format,
    LabelFormat, Object, ParseOptions, Parsed, PictureCheck, Pixels, Policies, Policy, Record, RecordId,
    Source,
};
use rstest::rstest;

use crate::splits_and_cache::copy_folder;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

fn lenient() -> ParseOptions {
    ParseOptions {
        policies: Policies::default().with(DirtKind::Malformed, Policy::Skip),
        pictures: PictureCheck::Header,
        ..ParseOptions::default()
    }
}

fn parse(format: Format, name: &str) -> Parsed {
    format.parse(&Source::new(fixture(name)), &lenient()).unwrap()
}

/// Kind, place and action of each occurrence.
fn dirt(parsed: &Parsed) -> Vec<(DirtKind, &str, Action)> {
    let mut found: Vec<_> =
        parsed.dirt.occurrences.iter().map(|dirt| (dirt.kind, dirt.at.as_str(), dirt.action)).collect();
    found.sort_by_key(|(kind, at, _)| (*kind, *at));
    found
}

fn record(dataset: &Dataset, id: impl Into<RecordId>) -> &Record {
    let id = id.into();
    dataset.records.iter().find(|record| record.id == id).unwrap()
}

fn boxes(record: &Record) -> Vec<(u32, [f32; 4])> {
    record.objects.iter().map(|object| (object.class_id, object.bbox.into())).collect()
}

fn classes(dataset: &Dataset) -> Vec<(u32, &str)> {
    dataset.class_map.iter().collect()
}

#[test]
fn coco_reports_each_kind_of_dirt_by_its_id_and_keeps_the_rest() {
    use Action::{Fixed, Skipped};
    let source = Source::new(fixture("coco")).with_split("train");
    let parsed = Format::Coco.parse(&source, &lenient()).unwrap();
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::OutsidePicture, "id 11", Fixed),
            (DirtKind::OutsidePicture, "id 12", Skipped),
            (DirtKind::ZeroArea, "id 13", Skipped),
            (DirtKind::NegativeSize, "id 14", Skipped),
            (DirtKind::NonFinite, "id 15", Skipped),
            (DirtKind::DuplicateId, "id 1", Fixed),
            (DirtKind::DuplicateId, "id 10", Fixed),
            (DirtKind::DuplicateId, "id 7", Fixed),
            (DirtKind::DuplicateBox, "id 20", Fixed),
            (DirtKind::MissingPicture, "id 3", Skipped),
            (DirtKind::LabelsWithoutPicture, "id 17", Skipped),
            (DirtKind::UnreadablePicture, "", Skipped),
            (DirtKind::WrongExtension, "", Fixed),
            (DirtKind::SizeMismatch, "id 5", Fixed),
            (DirtKind::StringId, "entry 5", Fixed),
            (DirtKind::StringId, "id 18", Fixed),
            (DirtKind::UnknownClass, "id 16", Skipped),
            (DirtKind::Malformed, "entry 10", Skipped),
            (DirtKind::Malformed, "entry 12", Skipped),
        ]
    );
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(1, "cat"), (7, "polar bear")]);
    let ids: Vec<RecordId> = dataset.records.iter().map(|record| record.id.clone()).collect();
    assert_eq!(ids, [1, 2, 4, 5].map(RecordId::Number));
    assert_eq!(boxes(record(dataset, 1)), [(1, [2.0, 3.0, 12.0, 15.0]), (1, [35.0, 25.0, 40.0, 30.0])]);
    assert_eq!(record(dataset, 1).objects[0].area, Some(120.0));
    let second = [(1, [5.0, 5.0, 11.0, 12.0]), (7, [20.0, 5.0, 26.0, 12.0]), (7, [20.1, 5.0, 26.1, 12.0])];
    assert_eq!(boxes(record(dataset, 2)), second);
    assert!(record(dataset, 4).objects.is_empty());
    assert_eq!(record(dataset, 5).size, Some(ImageSize::new(30, 40)));
    assert!(record(dataset, 5).objects[0].is_ignored);
}

#[test]
fn coco_fixes_negative_sizes_when_asked_to() {
    let options =
        ParseOptions { policies: lenient().policies.with(DirtKind::NegativeSize, Policy::Fix), ..lenient() };
    let parsed = Format::Coco.parse(&Source::new(fixture("coco")), &options).unwrap();
    assert!(boxes(record(&parsed.dataset, 1)).contains(&(7, [10.0, 12.0, 20.0, 20.0])));
}

#[rstest]
#[case(
    DirtKind::OutsidePicture,
    "instances_train.json, id 11: outside picture: corners 35,25 45,37 in a picture of 30x40"
)]
#[case(DirtKind::ZeroArea, "instances_train.json, id 13: zero area: corners 5,5 5,17")]
#[case(DirtKind::NonFinite, "instances_train.json, id 15: non finite: corners NaN,5 NaN,17")]
#[case(DirtKind::StringId, "instances_train.json, id 18: string id: \"2\" for 2")]
#[case(DirtKind::Malformed, "instances_train.json, entry 10: malformed: annotations: missing field `bbox`")]
#[case(DirtKind::UnknownClass, "instances_train.json, id 16: unknown class: category 8")]
fn a_policy_of_error_names_the_file_the_place_and_the_values(#[case] kind: DirtKind, #[case] message: &str) {
    let policies = Policies::all(Policy::Skip).with(kind, Policy::Error);
    let options = ParseOptions { policies, ..ParseOptions::default() };
    let error = Format::Coco.parse(&Source::new(fixture("coco")), &options).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn coco_files_become_splits_and_crowds_and_negatives_stay() {
    let parsed = parse(Format::Coco, "coco");
    let dataset = &parsed.dataset;
    assert_eq!(dataset.splits["val"].len(), 2);
    assert_eq!(dataset.splits["train"].len(), 4);
    let crowd = record(dataset, 101);
    assert_eq!(boxes(crowd), [(7, [1.5, 2.25, 11.5, 14.25]), (1, [0.0, 0.0, 40.0, 30.0])]);
    assert_eq!((crowd.objects[0].is_crowd, crowd.objects[1].is_crowd), (false, true));
    assert!(record(dataset, 102).objects.is_empty());

    let options = ParseOptions { class_ids: ClassIds::Contiguous, ..lenient() };
    let contiguous = Format::Coco.parse(&Source::new(fixture("coco")), &options).unwrap().dataset;
    assert_eq!(classes(&contiguous), [(1, "cat"), (2, "polar bear")]);
    assert_eq!(contiguous.class_sources[&2], RecordId::Number(7));
    assert_eq!(record(&contiguous, 101).objects[0].class_id, 2);
}

#[test]
fn coco_raises_ids_from_zero_and_tells_pictures_of_two_files_apart() {
    let parsed = parse(Format::Coco, "coco_zero");
    assert_eq!(dirt(&parsed), [(DirtKind::ClassIdZero, "id 0", Action::Fixed)]);
    assert_eq!(classes(&parsed.dataset), [(1, "cat"), (2, "dog")]);
    assert_eq!(boxes(record(&parsed.dataset, 1)), [(1, [1.0, 2.0, 4.0, 6.0])]);
    assert_eq!(boxes(record(&parsed.dataset, "val/1")), [(2, [1.0, 2.0, 4.0, 6.0])]);
}

#[test]
fn chosen_classes_win_over_declared_ones_by_name() {
    let map = effdet_core::ClassMap::from_names(["polar bear"]).unwrap();
    let options = ParseOptions { classes: Some(map.clone()), ..lenient() };
    let source = Source::new(fixture("coco")).with_split("val");
    let parsed = Format::Coco.parse(&source, &options).unwrap();
    assert_eq!(parsed.dataset.class_map, map);
    assert_eq!(boxes(record(&parsed.dataset, 101)), [(1, [1.5, 2.25, 11.5, 14.25])]);
    assert_eq!(dirt(&parsed), [(DirtKind::UnknownClass, "id 2", Action::Skipped)]);
    assert_eq!(parsed.dataset.class_sources, [(1, RecordId::Number(7))].into());
}

#[test]
fn voc_counts_pixels_from_one_and_ignores_parts_and_flag_lists() {
    use Action::{Fixed, Skipped};
    let parsed = parse(Format::Voc, "voc");
    let dataset = &parsed.dataset;
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::OutsidePicture, "entry 2", Fixed),
            (DirtKind::ZeroArea, "entry 1", Skipped),
            (DirtKind::NonFinite, "entry 3", Skipped),
            (DirtKind::SwappedCorners, "entry 0", Fixed),
            (DirtKind::MissingPicture, "", Skipped),
            (DirtKind::PictureWithoutLabels, "", Skipped),
            (DirtKind::LabelsWithoutPicture, "", Skipped),
        ]
    );
    assert_eq!(classes(dataset), [(1, "cat"), (2, "salt & pepper")]);
    let first = record(dataset, "001");
    let expected = [(1, [2.0, 3.0, 12.0, 15.0]), (2, [0.0, 0.0, 40.0, 30.0]), (1, [19.5, 9.25, 30.75, 20.0])];
    assert_eq!(boxes(first), expected);
    assert!(first.objects[0].is_difficult && first.objects[0].is_truncated && first.objects[1].is_occluded);
    let second = record(dataset, "002");
    assert_eq!(second.size, Some(ImageSize::new(30, 40)), "read from the picture");
    assert_eq!(boxes(second), [(1, [9.0, 4.0, 30.0, 20.0]), (1, [0.0, 4.0, 20.0, 30.0])]);
    assert!(record(dataset, "003").objects.is_empty());
    assert_eq!(dataset.splits.keys().collect::<Vec<_>>(), ["train", "val"]);
    assert_eq!(dataset.splits["val"], [2]);

    let options = ParseOptions { pixels: Some(Pixels::Effdet), ..lenient() };
    let effdet = Format::Voc.parse(&Source::new(fixture("voc")), &options).unwrap().dataset;
    assert_eq!(boxes(record(&effdet, "001"))[0], (1, [2.0, 3.0, 11.0, 14.0]));
}

#[test]
fn voc_pictures_without_labels_become_negatives_when_asked_to() {
    let policies = lenient().policies.with(DirtKind::PictureWithoutLabels, Policy::Fix);
    let options = ParseOptions { policies, ..lenient() };
    let dataset = Format::Voc.parse(&Source::new(fixture("voc")), &options).unwrap().dataset;
    assert!(record(&dataset, "005").objects.is_empty());
}

#[test]
fn a_box_of_one_pixel_is_kept_when_asked_to() {
    let policies = lenient().policies.with(DirtKind::ZeroArea, Policy::Fix);
    let options = ParseOptions { policies, ..lenient() };
    let dataset = Format::Voc.parse(&Source::new(fixture("voc")), &options).unwrap().dataset;
    assert!(boxes(record(&dataset, "002")).contains(&(1, [6.0, 6.0, 7.0, 9.0])));
}

#[test]
fn the_years_of_a_devkit_become_one_set() {
    let parsed = parse(Format::Voc, "voc_devkit");
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(1, "cat"), (2, "dog")]);
    assert_eq!(dataset.splits["trainval"], [0, 1]);
    assert_eq!(dataset.splits["VOC2012/trainval"], [1]);
    assert_eq!(boxes(&dataset.records[0]), [(2, [2.0, 3.0, 12.0, 15.0])]);
    assert!(parsed.dirt.is_clean());
}

#[test]
fn pets_take_breed_and_ids_from_names_and_lists() {
    use Action::{Fixed, Skipped};
    let parsed = parse(Format::Pets, "pets");
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::MissingPicture, "line 6", Skipped),
            (DirtKind::PictureWithoutLabels, "", Skipped),
            (DirtKind::UnlistedPicture, "", Skipped),
            (DirtKind::WrongExtension, "", Fixed),
        ]
    );
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(2, "american_bulldog"), (6, "Bengal")]);
    assert_eq!(boxes(record(dataset, "american_bulldog_12")), [(2, [2.0, 3.0, 12.0, 15.0])]);
    assert_eq!((dataset.records.len(), dataset.splits["trainval"].len()), (3, 3));
}

#[test]
fn an_unlisted_picture_becomes_a_record_in_no_split_when_asked_to() {
    let policies = lenient().policies.with(DirtKind::UnlistedPicture, Policy::Fix);
    let parsed =
        Format::Pets.parse(&Source::new(fixture("pets")), &ParseOptions { policies, ..lenient() }).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!((dataset.records.len(), dataset.splits["trainval"].len()), (4, 3));
    assert!(dataset.records[3].objects.is_empty() && dataset.splits["trainval"].iter().all(|i| *i < 3));
    assert!(parsed.dirt.of(DirtKind::UnlistedPicture).all(|dirt| dirt.action == Action::Fixed));
}

#[rstest]
#[case(Format::Coco, "coco", DirtKind::LabelsWithoutPicture)]
#[case(Format::Voc, "voc", DirtKind::MissingPicture)]
#[case(Format::Pets, "pets", DirtKind::MissingPicture)]
#[case(Format::Yolo, "yolo", DirtKind::LabelsWithoutPicture)]
fn what_no_record_can_be_made_of_is_left_out_and_reported_so(
    #[case] format: Format,
    #[case] name: &str,
    #[case] kind: DirtKind,
) {
    let options = ParseOptions { policies: Policies::all(Policy::Fix), ..lenient() };
    let parsed = format.parse(&Source::new(fixture(name)), &options).unwrap();
    let actions: Vec<Action> = parsed.dirt.of(kind).map(|dirt| dirt.action).collect();
    assert_eq!(actions, [Action::Skipped], "{}", parsed.dirt);
}

#[test]
fn via_takes_the_box_around_any_shape_of_either_version() {
    use Action::Skipped;
    let source = Source::new(fixture("via"));
    let options = ParseOptions { label_key: None, ..lenient() };
    let parsed = Format::Via.parse(&source, &options).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(1, "cat"), (2, "dog")]);
    assert_eq!(boxes(record(dataset, "a.png")), [(1, [2.0, 3.0, 12.0, 15.0]), (2, [5.0, 4.0, 20.0, 25.0])]);
    assert_eq!(boxes(record(dataset, "b.png")), [(1, [6.0, 8.0, 14.0, 16.0]), (2, [14.0, 9.0, 26.0, 15.0])]);
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::ZeroArea, "entry 2", Skipped),
            (DirtKind::NegativeSize, "entry 3", Skipped),
            (DirtKind::LabelsWithoutPicture, "entry 1", Skipped),
            (DirtKind::UnknownClass, "entry 0", Skipped),
            (DirtKind::Malformed, "entry 0", Skipped),
        ]
    );
    assert_eq!(dataset.splits.keys().collect::<Vec<_>>(), ["v1", "v2"]);
    let options = ParseOptions { label_key: Some("breed".to_owned()), ..lenient() };
    let none = Format::Via.parse(&source, &options).unwrap();
    assert_eq!(none.dataset.object_count(), 0);
}

#[test]
fn open_images_become_pixels_and_keep_hierarchy_and_marks() {
    use Action::{Fixed, Skipped};
    let parsed = parse(Format::OpenImages, "open_images");
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::OutsidePicture, "line 2", Fixed),
            (DirtKind::NonFinite, "line 6", Skipped),
            (DirtKind::SwappedCorners, "line 4", Fixed),
            (DirtKind::PictureWithoutLabels, "", Skipped),
            (DirtKind::LabelsWithoutPicture, "line 7", Skipped),
            (DirtKind::UnknownClass, "line 5", Skipped),
            (DirtKind::DecimalComma, "", Fixed),
        ]
    );
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(1, "Animal"), (2, "Cat"), (3, "Bear, polar")]);
    assert_eq!(dataset.class_sources[&3], RecordId::from("/m/z"));
    assert_eq!(dataset.hierarchy, [(2, vec![1]), (3, vec![1])].into());
    let first = record(dataset, "0a");
    assert_eq!(boxes(first), [(2, [4.0, 6.0, 20.0, 24.0]), (3, [0.0, 0.0, 40.0, 30.0])]);
    let (cat, bear) = (&first.objects[0], &first.objects[1]);
    assert!(cat.is_truncated && !cat.is_group_of && !cat.is_inside);
    assert!(bear.is_group_of && bear.is_depiction && bear.is_inside && bear.is_occluded);
    assert_eq!(boxes(record(dataset, "0b")), [(2, [10.0, 6.0, 20.0, 24.0])]);
    assert_eq!(boxes(record(dataset, "1a.png")), [(1, [10.0, 15.0, 20.0, 30.0])]);
    assert_eq!((dataset.splits["train"].len(), dataset.splits["validation"].len()), (2, 1));
}

#[test]
fn yolo_reads_boxes_polygons_and_negatives() {
    use Action::{Fixed, Skipped};
    let parsed = parse(Format::Yolo, "yolo");
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::OutsidePicture, "line 4", Fixed),
            (DirtKind::ZeroArea, "line 4", Skipped),
            (DirtKind::NonFinite, "line 5", Skipped),
            (DirtKind::LabelsWithoutPicture, "", Skipped),
            (DirtKind::UnknownClass, "line 2", Skipped),
            (DirtKind::Malformed, "line 1", Skipped),
            (DirtKind::Malformed, "line 3", Skipped),
        ]
    );
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(1, "cat"), (2, "polar bear"), (5, "dog")]);
    let first = boxes(record(dataset, "images/train/a"));
    assert_eq!(first[0], (1, [15.0, 7.5, 25.0, 22.5]));
    assert_eq!(first[1], (5, [4.0, 3.0, 12.0, 12.0]), "the box around the polygon");
    assert_eq!(first[2], (2, [28.0, 25.5, 40.0, 28.5]));
    assert!(record(dataset, "b").objects.is_empty() && record(dataset, "images/val/a").objects.is_empty());
    assert_eq!((dataset.splits["train"].len(), dataset.splits["val"].len()), (2, 2));

    let bare = parse(Format::Yolo, "yolo_bare");
    assert_eq!(classes(&bare.dataset), [(1, "cat"), (2, "dog")]);
    assert_eq!(boxes(&bare.dataset.records[0]), [(2, [15.0, 7.5, 25.0, 22.5])]);
}

#[test]
fn csv_finds_columns_by_name_and_reads_negatives() {
    let source = Source::new(fixture("csv")).with_pictures("images");
    let parsed = Format::Csv.parse(&source, &lenient()).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(classes(dataset), [(1, "cat"), (2, "polar bear, large")]);
    let first = record(dataset, "a.png");
    assert_eq!(boxes(first), [(1, [2.0, 3.0, 12.0, 15.0]), (2, [0.0, 0.0, 40.0, 30.0])]);
    assert_eq!((first.objects[0].area, first.objects[0].is_difficult), (Some(99.5), true));
    assert!(first.objects[1].is_crowd);
    assert!(record(dataset, "b.png").objects.is_empty());
    assert_eq!(
        dirt(&parsed),
        [
            (DirtKind::LabelsWithoutPicture, "line 5", Action::Skipped),
            (DirtKind::Malformed, "line 6", Action::Skipped),
        ]
    );
    let source = source.with_labels("headless");
    let headless = Format::Csv.parse(&source, &lenient()).unwrap().dataset;
    assert_eq!(boxes(record(&headless, "b.png")), [(1, [2.0, 3.0, 12.0, 15.0])]);
    assert!(record(&headless, "a.png").objects.is_empty());
}

#[test]
fn flags_are_set_by_a_positive_number_or_the_word_true_in_every_format() {
    use effdet_data::format::{csv, open_images, voc};

    let picture = fixture("coco/train/a.png");
    // All spellings are in the tests of `is_set`.
    for (flag, is_set) in [("1.0", true), (" TRUE ", true), ("0", false), ("no", false)] {
        let corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>";
        let object = format!("<name>cat</name><difficult>{flag}</difficult><bndbox>{corners}</bndbox>");
        let xml = format!("<annotation><object>{object}</object></annotation>");
        let table = format!("filename,xmin,ymin,xmax,ymax,label,group_of\na.png,1,1,9,9,cat,{flag}\n");
        let fractions = format!(
            "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n{},Cat,0,1,0,1,{flag}\n",
            picture.display()
        );
        let voc = voc::parse_bytes(xml.as_bytes(), "a.jpg", &lenient()).unwrap();
        let csv = csv::parse_bytes(table.as_bytes(), "t.csv", &lenient()).unwrap();
        let open_images = open_images::parse_bytes(fractions.as_bytes(), "t.csv", &lenient()).unwrap();
        let [of_voc, of_csv, of_open_images] =
            [&voc, &csv, &open_images].map(|parsed| parsed.dataset.records[0].objects[0]);
        let found = [of_voc.is_difficult, of_csv.is_group_of, of_open_images.is_group_of];
        assert_eq!(found, [is_set; 3], "{flag:?}");
    }
}

#[rstest]
#[case("image_name,x,y,w,h,label\na.png,2,3,10,12,cat\n", "no column `filename`")]
#[case("filename;xmin;ymin;xmax;ymax;label\na.png;2;3;12;15;cat\n", "no column `label`")]
#[case("a.png\n", "no column `label`")]
#[case("a.png,2,,12,15,cat\n", "no column `label`")]
fn a_table_with_unknown_columns_is_refused(#[case] text: &str, #[case] message: &str) {
    let parsed = effdet_data::format::csv::parse_bytes(text.as_bytes(), "t.csv", &lenient());
    let error = parsed.unwrap_err().to_string();
    assert!(error.contains("t.csv") && error.contains("line 1") && error.contains(message), "{error}");
}

/// Makes a picture of 40 by 30 pixels and the folders above it.
fn picture(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::new(40, 30).save(path).unwrap();
}

fn ids(dataset: &Dataset) -> Vec<String> {
    dataset.records.iter().map(|record| record.id.to_string()).collect()
}

#[test]
fn years_that_call_their_pictures_alike_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    for year in ["VOC2007", "VOC2012"] {
        copy_folder(&fixture("voc_devkit/VOC2007"), &folder.path().join(year));
    }
    let parsed = Format::Voc.parse(&Source::new(folder.path()), &lenient()).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(ids(dataset), ["000001", "VOC2012/000001"]);
    assert!(dataset.records.iter().all(|record| record.objects.len() == 1));
    assert_eq!(
        (&dataset.splits["trainval"][..], &dataset.splits["VOC2012/trainval"][..]),
        (&[0, 1][..], &[1][..])
    );
    assert!(parsed.dirt.is_clean(), "{}", parsed.dirt);

    // Nor does a picture that is not there lend its place in a split to one of another year.
    fs::remove_file(folder.path().join("VOC2007/JPEGImages/000001.png")).unwrap();
    let dataset = Format::Voc.parse(&Source::new(folder.path()), &lenient()).unwrap().dataset;
    assert_eq!((dataset.records.len(), dataset.splits["VOC2007/trainval"].len()), (1, 0));
}

#[test]
fn a_stem_that_is_nothing_of_its_year_leads_to_no_record_of_another() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("voc_devkit"), folder.path());
    let list = folder.path().join("VOC2007/ImageSets/Main/trainval.txt");
    fs::write(list, "000001\n2008_000001\n").unwrap();
    let parsed = Format::Voc.parse(&Source::new(folder.path()), &lenient()).unwrap();
    assert_eq!(ids(&parsed.dataset), ["000001", "2008_000001"]);
    assert_eq!(parsed.dataset.splits["VOC2007/trainval"], [0]);
    assert_eq!(parsed.dataset.splits["trainval"], [0, 1]);
    assert_eq!(dirt(&parsed), [(DirtKind::MissingPicture, "", Action::Skipped)]);
}

#[test]
fn a_picture_that_two_coco_files_describe_is_one_record_in_both_splits() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("annotations")).unwrap();
    let image = |id: u32| {
        picture(&folder.path().join(format!("images/{id}.png")));
        format!(r#"{{"id": {id}, "file_name": "{id}.png", "width": 40, "height": 30}}"#)
    };
    let annotation = |id: u32, image: u32, x: u32| {
        format!(r#"{{"id": {id}, "image_id": {image}, "category_id": 1, "bbox": [{x}, 2, 9, 9]}}"#)
    };
    let (of_1, of_2) = (annotation(1, 1, 1), annotation(2, 2, 5));
    for (split, images, annotations) in [
        ("minival", image(1), of_1.clone()),
        // Of the first picture an object more.
        ("val", format!("{}, {}", image(1), image(2)), format!("{of_1}, {of_2}, {}", annotation(3, 1, 25))),
    ] {
        let categories = r#"[{"id": 1, "name": "cat"}]"#;
        let text = format!(
            r#"{{"images": [{images}], "annotations": [{annotations}], "categories": {categories}}}"#
        );
        fs::write(folder.path().join(format!("annotations/instances_{split}.json")), text).unwrap();
    }
    let parsed = Format::Coco.parse(&Source::new(folder.path()), &lenient()).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(ids(dataset), ["1", "2"]);
    assert_eq!((&dataset.splits["minival"][..], &dataset.splits["val"][..]), (&[0][..], &[0, 1][..]));
    assert_eq!(boxes(&dataset.records[0]), [(1, [1.0, 2.0, 10.0, 11.0]), (1, [25.0, 2.0, 34.0, 11.0])]);
    assert_eq!(boxes(&dataset.records[1]), [(1, [5.0, 2.0, 14.0, 11.0])]);
    assert_eq!(dirt(&parsed), [(DirtKind::DuplicateId, "id 1", Action::Fixed)]);
}

#[test]
fn via_files_of_two_folders_keep_pictures_of_one_name_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (split, x) in [("train", 1), ("val", 5)] {
        picture(&folder.path().join(split).join("1.png"));
        let region = format!(
            r#"{{"shape_attributes": {{"name": "rect", "x": {x}, "y": 2, "width": 9, "height": 9}},
                "region_attributes": {{"label": "cat"}}}}"#
        );
        let text = format!(r#"{{"1": {{"filename": "1.png", "regions": [{region}]}}}}"#);
        fs::write(folder.path().join(split).join("via_region_data.json"), text).unwrap();
    }
    let parsed = Format::Via.parse(&Source::new(folder.path()), &lenient()).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(ids(dataset), ["1.png", "val/1.png"]);
    assert_eq!(boxes(&dataset.records[0]), [(1, [1.0, 2.0, 10.0, 11.0])]);
    assert_eq!(boxes(&dataset.records[1]), [(1, [5.0, 2.0, 14.0, 11.0])]);
    assert_eq!((&dataset.splits["train"][..], &dataset.splits["val"][..]), (&[0][..], &[1][..]));
    assert!(parsed.dirt.is_clean(), "{}", parsed.dirt);
}

/// A COCO file of pictures by id, with one object each, of the category of the file.
fn coco_text(images: &[(&str, &str)], category: (i64, &str)) -> String {
    let (id, name) = category;
    let mut listed = Vec::new();
    let mut annotations = Vec::new();
    for (index, (image, file_name)) in images.iter().enumerate() {
        listed.push(format!(r#"{{"id": {image}, "file_name": "{file_name}"}}"#));
        annotations.push(format!(
            r#"{{"id": {index}, "image_id": {image}, "category_id": {id}, "bbox": [{}, 2, 9, 9]}}"#,
            20 * index
        ));
    }
    format!(
        r#"{{"images": [{}], "annotations": [{}], "categories": [{{"id": {id}, "name": "{name}"}}]}}"#,
        listed.join(", "),
        annotations.join(", ")
    )
}

fn unseen() -> ParseOptions {
    ParseOptions { pictures: PictureCheck::None, ..ParseOptions::default() }
}

/// The classes `cat` and `dog` of three files in the order given, and the options they are read with.
fn in_order(order: [usize; 3], options: &ParseOptions) -> Result<Parsed, Error> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("annotations")).unwrap();
    for (place, file) in order.into_iter().enumerate() {
        let category = [(1, "cat"), (2, "cat"), (2, "dog ")][file];
        let (id, name) = (file.to_string(), format!("{file}.png"));
        let text = coco_text(&[(id.as_str(), name.as_str())], category);
        fs::write(folder.path().join(format!("annotations/instances_{place}.json")), text).unwrap();
    }
    Format::Coco.parse(&Source::new(folder.path()), options)
}

#[rstest]
#[case([0, 1, 2], [1, 2], 1)]
#[case([0, 2, 1], [1, 2], 1)]
#[case([1, 0, 2], [2, 3], 2)]
#[case([1, 2, 0], [2, 3], 2)]
#[case([2, 0, 1], [1, 2], 1)]
#[case([2, 1, 0], [1, 2], 2)]
fn classes_of_coco_files_that_number_them_differently_go_by_their_names(
    #[case] order: [usize; 3],
    #[case] ids: [u32; 2],
    #[case] repeated: usize,
) {
    let labels = |parsed: &Parsed| {
        let dataset = &parsed.dataset;
        [0, 1, 2].map(|file: i64| dataset.class_map.label(record(dataset, file).objects[0].class_id))
    };
    let parsed = in_order(order, &unseen()).unwrap();
    assert_eq!(labels(&parsed), ["cat", "cat", "dog"]);
    let [cat, dog] = ids;
    assert_eq!(classes(&parsed.dataset), [(cat, "cat"), (dog, "dog")]);
    assert_eq!(parsed.dirt.count(DirtKind::DuplicateId), repeated, "{}", parsed.dirt);
    assert_eq!(parsed.dirt.counts().len(), 1);

    let options = ParseOptions { class_ids: ClassIds::Contiguous, ..unseen() };
    assert_eq!(labels(&in_order(order, &options).unwrap()), ["cat", "cat", "dog"]);
    let chosen = effdet_core::ClassMap::from_names(["dog", "cat"]).unwrap();
    let options = ParseOptions { classes: Some(chosen), ..unseen() };
    assert_eq!(labels(&in_order(order, &options).unwrap()), ["cat", "cat", "dog"]);
}

#[test]
fn a_category_whose_id_or_name_is_taken_in_another_file_is_skipped_or_refused_when_asked_to() {
    let with = |policy| ParseOptions {
        policies: Policies::default().with(DirtKind::DuplicateId, policy),
        ..unseen()
    };
    let skipped = in_order([1, 0, 2], &with(Policy::Skip)).unwrap();
    assert_eq!(classes(&skipped.dataset), [(2, "cat")]);
    assert_eq!((skipped.dataset.object_count(), skipped.dirt.count(DirtKind::UnknownClass)), (1, 2));
    for (order, message) in [
        ([1, 0, 2], "instances_1.json, id 1: duplicate id: category `cat` has the id 2, too"),
        (
            [1, 2, 0],
            "instances_1.json, id 2: duplicate id: category `dog` has the id of `cat` of another file",
        ),
    ] {
        let error = in_order(order, &with(Policy::Error)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn json_files_of_other_kinds_do_not_hide_coco_labels() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let parse = |source: Source| Format::Coco.parse(&source, &lenient());
    let refused = |source: Source| parse(source).unwrap_err().to_string();
    write("config.json", r#"{"a": 1, "annotations": [{"b": [NaN, "}"]}]}"#);
    write("results.json", r#"[{"image_id": 1}]"#);
    let error = refused(Source::new(folder.path()));
    assert!(error.contains("no COCO instances file") && error.contains("config.json"), "{error}");
    assert!(error.contains("results.json"), "{error}");

    copy_folder(&fixture("coco_zero"), folder.path());
    assert_eq!(parse(Source::new(folder.path())).unwrap().dataset.records.len(), 2);
    // A folder that was named has labels of its own.
    write("some.json", &fs::read_to_string(fixture("coco_zero/train/_annotations.coco.json")).unwrap());
    let named = parse(Source::new(folder.path()).with_labels(".").with_pictures("train")).unwrap();
    assert_eq!(named.dataset.splits.keys().collect::<Vec<_>>(), ["some"]);

    // What was asked for, is called so or may be damaged is an error.
    let error = refused(Source::new(folder.path()).with_labels("config.json"));
    assert!(error.contains("config.json, as a whole: no `images`"), "{error}");
    write("instances_train.json", r#"{"categories": []}"#);
    let error = refused(Source::new(folder.path()));
    assert!(error.contains("instances_train.json, as a whole: no `images`"), "{error}");
    fs::remove_file(folder.path().join("instances_train.json")).unwrap();
    write("train.json", r#"{"annotations": [{"id": 1}"#);
    let error = refused(Source::new(folder.path()));
    assert!(error.contains("train.json, byte 26: the file ends inside a value"), "{error}");
    assert!(effdet_data::format::coco::parse_bytes(b"{}", "none.json", &lenient()).is_err());
}

#[test]
fn coco_ids_with_zeros_in_front_are_ids_of_their_own() {
    let text = coco_text(&[(r#""1""#, "a.png"), (r#""001""#, "b.png"), (r#"" 1""#, "c.png")], (1, " cat "));
    let classes = Some(effdet_core::ClassMap::from_names(["cat"]).unwrap());
    for options in [unseen(), ParseOptions { classes, ..unseen() }] {
        let parsed = effdet_data::format::coco::parse_bytes(text.as_bytes(), "t.json", &options).unwrap();
        let dataset = &parsed.dataset;
        assert_eq!(ids(dataset), ["1", "001", " 1"]);
        assert_eq!(dataset.records[0].id, RecordId::Number(1));
        assert_eq!(boxes(record(dataset, "001")), [(1, [20.0, 2.0, 29.0, 11.0])]);
        assert_eq!(dataset.class_map.name(1), Some("cat"));
        assert_eq!(parsed.dirt.counts(), [(DirtKind::StringId, 2)].into(), "{}", parsed.dirt);
    }
}

#[test]
fn a_picture_with_two_ids_is_one_record_in_its_splits() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("annotations")).unwrap();
    for (split, images) in [
        ("train", &[("1", "a.png"), ("2", "a.png"), ("3", "b.png")][..]),
        // Another number, and one that is another picture's.
        ("val", &[("7", "a.png"), ("3", "c.png")]),
    ] {
        let path = folder.path().join(format!("annotations/instances_{split}.json"));
        fs::write(path, coco_text(images, (1, "cat"))).unwrap();
    }
    let read = |policy| {
        let policies = Policies::default().with(DirtKind::DuplicateId, policy);
        Format::Coco.parse(&Source::new(folder.path()), &ParseOptions { policies, ..unseen() })
    };
    let left = |record: &Record| record.objects.iter().map(|o| o.bbox.x1).collect::<Vec<_>>();
    let parsed = read(Policy::Fix).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(ids(dataset), ["1", "3", "val/3"]);
    assert_eq!(left(&dataset.records[0]), [0.0, 20.0], "what both splits say is there once");
    assert_eq!((&dataset.splits["train"][..], &dataset.splits["val"][..]), (&[0, 1][..], &[0, 2][..]));
    let expected =
        [(DirtKind::DuplicateId, "id 2", Action::Fixed), (DirtKind::DuplicateId, "id 7", Action::Fixed)];
    assert_eq!(dirt(&parsed), expected);
    assert!(parsed.dirt.occurrences[0].detail.ends_with("a.png has the id 1, too"));

    let skipped = read(Policy::Skip).unwrap().dataset;
    assert_eq!((left(&skipped.records[0]), &skipped.splits["val"][..]), (vec![0.0], &[2][..]));
    let error = read(Policy::Error).unwrap_err().to_string();
    assert!(error.contains("instances_train.json, id 2: duplicate id"), "{error}");
}

#[test]
fn what_is_no_class_of_the_builder_is_an_unknown_one() {
    let (source, options) = (Source::default(), unseen());
    let declared = effdet_core::ClassMap::from_ids([(2, "cat")]).unwrap();
    for declared in [None, Some(declared)] {
        let mut builder = DatasetBuilder::new("mine", &source, Corners::Pixels(Pixels::Continuous), &options);
        let file: std::sync::Arc<Path> = Path::new("mine.txt").into();
        let known = match declared {
            Some(map) => {
                builder.declare_classes(map, Default::default());
                2
            }
            None => builder.class("cat", &file, At::File).unwrap().unwrap(),
        };
        // Nor is a picture without a path the same as another one.
        let drafts = [0, known, known + 1, u32::MAX].into_iter().zip(1..).map(|(class, line)| {
            let (at, corners) = (At::Line(line), [0.0, 0.0, 9.0, 9.0]);
            let objects = vec![DraftObject { corners, class, area: None, flags: Object::default(), at }];
            let (id, file, if_absent) = ((line as i64).into(), file.clone(), DirtKind::MissingPicture);
            Draft { id, path: PathBuf::new(), size: None, objects, file, at, if_absent }
        });
        builder.extend(drafts).unwrap();
        let parsed = builder.finish(&source).unwrap();
        assert_eq!((parsed.dataset.records.len(), parsed.dataset.object_count()), (4, 1));
        assert_eq!(parsed.dataset.class_map.label(parsed.dataset.records[1].objects[0].class_id), "cat");
        let unknown = ["line 1", "line 3", "line 4"].map(|at| (DirtKind::UnknownClass, at, Action::Skipped));
        assert_eq!(dirt(&parsed), unknown);
    }
}

#[test]
fn one_voc_file_has_its_picture_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("a.png"));
    fs::copy(fixture("voc_devkit/VOC2007/Annotations/000001.xml"), folder.path().join("a.xml")).unwrap();
    let source = Source::new(folder.path()).with_labels("a.xml");
    let dataset = Format::Voc.parse(&source, &lenient()).unwrap().dataset;
    assert_eq!((ids(&dataset), dataset.object_count()), (vec!["a".to_owned()], 1));
    assert_eq!(dataset.records[0].path, folder.path().join("a.png"));
}

#[test]
fn a_class_that_lists_of_pets_contradict_is_told_of_with_its_list() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("pets"), folder.path());
    let list = folder.path().join("annotations/test.txt");
    fs::write(&list, "Bengal_30 6 1 2\nSphynx_1 6 1 2\n").unwrap();
    let parsed = Format::Pets.parse(&Source::new(folder.path()), &lenient()).unwrap();
    let found: Vec<_> = parsed.dirt.of(DirtKind::DuplicateId).collect();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].file, found[0].at.as_str()), (&list, "line 2"));
}

#[rstest]
#[case(Format::Voc, None)]
#[case(Format::OpenImages, Some("b-bbox.csv"))]
fn dots_in_the_name_of_a_picture_that_is_not_there_belong_to_it(
    #[case] format: Format,
    #[case] labels: Option<&str>,
) {
    let folder = tempfile::tempdir().unwrap();
    let corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>";
    let object = format!("<object><name>cat</name><bndbox>{corners}</bndbox></object>");
    for name in ["frame.1", "frame.2"] {
        let xml = folder.path().join(format!("{name}.xml"));
        fs::write(xml, format!("<annotation>{object}</annotation>")).unwrap();
    }
    let rows = "frame.1,Cat,0,1,0,1\nframe.2,Cat,0,1,0,1\n";
    let table = format!("ImageID,LabelName,XMin,XMax,YMin,YMax\n{rows}");
    fs::write(folder.path().join("b-bbox.csv"), table).unwrap();
    picture(&folder.path().join("other.png"));
    let source = Source { labels: labels.map(PathBuf::from), ..Source::new(folder.path()) };
    let policies = Policies::default().with(DirtKind::PictureWithoutLabels, Policy::Fix);
    let parsed = format.parse(&source, &ParseOptions { policies, ..ParseOptions::default() }).unwrap();
    let absent: Vec<&str> =
        parsed.dirt.of(DirtKind::LabelsWithoutPicture).map(|dirt| dirt.detail.as_str()).collect();
    let expected = ["frame.1.jpg", "frame.2.jpg"]
        .map(|name| format!("{} is not there", folder.path().join(name).display()));
    assert_eq!(absent, expected);
}

/// What becomes of pictures that all have the id 1, by path, left edge of their one object, and line.
fn built(pictures: &[(&str, f64, u64)]) -> Parsed {
    let options = ParseOptions { pictures: PictureCheck::None, ..lenient() };
    let source = Source::default();
    let mut builder = DatasetBuilder::new("mine", &source, Corners::Pixels(Pixels::Continuous), &options);
    let file: std::sync::Arc<Path> = Path::new("mine.txt").into();
    let class = builder.class("cat", &file, At::File).unwrap().unwrap();
    let drafts: Vec<Draft> = pictures
        .iter()
        .map(|&(path, x, line)| {
            let (at, corners) = (At::Line(line), [x, 0.0, x + 9.0, 9.0]);
            let object = DraftObject { corners, class, area: None, flags: Object::default(), at };
            let (objects, file) = (vec![object], file.clone());
            let if_absent = DirtKind::MissingPicture;
            Draft { id: 1.into(), path: path.into(), size: None, objects, file, at, if_absent }
        })
        .collect();
    builder.extend(drafts).unwrap();
    builder.finish(&source).unwrap()
}

#[test]
fn objects_of_joined_entries_are_compared_with_those_before() {
    let parsed = built(&[("a.png", 0.0, 1), ("a.png", 0.0, 2), ("a.png", 0.25, 3), ("a.png", 20.0, 4)]);
    let left: Vec<f32> = parsed.dataset.records[0].objects.iter().map(|object| object.bbox.x1).collect();
    assert_eq!(left, [0.0, 0.25, 20.0], "what two entries say alike is there once");
    let expected = [
        (DirtKind::DuplicateId, "line 2", Action::Fixed),
        (DirtKind::DuplicateId, "line 3", Action::Fixed),
        (DirtKind::DuplicateId, "line 4", Action::Fixed),
        (DirtKind::DuplicateBox, "line 3", Action::Fixed),
    ];
    assert_eq!(dirt(&parsed), expected);
}

#[test]
fn objects_of_one_picture_are_never_given_to_another() {
    let parsed = built(&[("a.png", 0.0, 1), ("b.png", 20.0, 2), ("a.png", 40.0, 3)]);
    assert_eq!(boxes(&parsed.dataset.records[0]), [(1, [0.0, 0.0, 9.0, 9.0]), (1, [40.0, 0.0, 49.0, 9.0])]);
    assert_eq!(parsed.dataset.records.len(), 1);
    let expected = [
        (DirtKind::DuplicateId, "line 2", Action::Skipped),
        (DirtKind::DuplicateId, "line 3", Action::Fixed),
    ];
    assert_eq!(dirt(&parsed), expected);
}

#[test]
fn a_picture_that_a_yolo_list_repeats_is_one_record() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        picture(&folder.path().join(format!("images/{name}.png")));
    }
    fs::create_dir(folder.path().join("labels")).unwrap();
    fs::write(folder.path().join("labels/a.txt"), "0 0.5 0.5 0.5 0.5\n").unwrap();
    fs::write(folder.path().join("train.txt"), "./images/a.png\n./images/b.png\n\nimages/a.png\n").unwrap();
    fs::write(folder.path().join("data.yaml"), "train: train.txt\nval: images\nnames: [cat]\n").unwrap();
    let parsed = Format::Yolo.parse(&Source::new(folder.path()), &lenient()).unwrap();
    assert_eq!((ids(&parsed.dataset), parsed.dataset.object_count()), (vec!["a".into(), "b".into()], 1));
    assert_eq!(
        (&parsed.dataset.splits["train"][..], &parsed.dataset.splits["val"][..]),
        (&[0, 1][..], &[0, 1][..])
    );
    assert_eq!(dirt(&parsed), [(DirtKind::DuplicateId, "line 4", Action::Fixed)]);
}

#[test]
fn a_yaml_of_another_name_describes_a_yolo_set_only_if_it_speaks_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let read = || Format::Yolo.parse(&Source::new(folder.path()), &lenient());
    picture(&folder.path().join("images/a.png"));
    write("hyp.yaml", "lr0: 0.01\nmomentum: 0.9\n");
    write("notes.data", "weather = fine\n");
    write("classes.txt", "cat\ndog\n");
    let dataset = read().unwrap().dataset;
    assert_eq!((ids(&dataset), classes(&dataset)), (vec!["a".to_owned()], vec![(1, "cat"), (2, "dog")]));

    write("set.yaml", "valid: images\nnames: [bird]\n");
    let dataset = read().unwrap().dataset;
    assert_eq!(dataset.splits, [("val".to_owned(), vec![0])].into());
    assert_eq!(classes(&dataset), [(1, "bird")]);
}

#[rstest]
#[case("null")]
#[case("Null")]
#[case("NULL")]
#[case("~")]
#[case("")]
#[case("[]")]
#[case("[~]")]
fn a_null_in_a_yolo_description_is_a_split_that_is_not_there(#[case] null: &str) {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("images/a.png"));
    let read = |text: String| {
        fs::write(folder.path().join("data.yaml"), text).unwrap();
        Format::Yolo.parse(&Source::new(folder.path()), &lenient())
    };
    let nulls = format!("path: {null}\nval: {null}\ntest: {null}\nnames: [cat]\n");
    let dataset = read(format!("train: images\n{nulls}")).unwrap().dataset;
    assert_eq!(dataset.splits, [("train".to_owned(), vec![0])].into());
    // An empty data set is none.
    let error = read(nulls).unwrap_err().to_string();
    assert!(error.contains("data.yaml, as a whole: it names no pictures"), "{error}");
}

#[rstest]
#[case("set.yaml", "train: images\nval: gone\n", "`val`")]
#[case("set.yaml", "train: images\nvalid: gone\n", "`valid`")]
#[case("set.data", "train = data/gone.txt\n", "`train`")]
#[case("set.data", "train = images\nvalid = data/gone.txt\n", "`valid`")]
#[case("set.data", "train = images\nnames = gone.names\n", "`names`")]
fn what_a_yolo_description_names_has_to_be_there(#[case] name: &str, #[case] text: &str, #[case] key: &str) {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("images/a.png"));
    fs::write(folder.path().join(name), text).unwrap();
    let error = Format::Yolo.parse(&Source::new(folder.path()), &lenient()).unwrap_err();
    assert!(matches!(error, Error::LabelsNotFound { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("gone") && error.contains(key) && error.contains(name), "{error}");
}

#[test]
fn yolo_labels_are_found_beside_pictures_whatever_folder_the_data_set_lies_in() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images/set");
    picture(&root.join("train/a.png"));
    let line = "0 0.5 0.5 0.5 0.5\n";
    fs::write(root.join("train/a.txt"), line).unwrap();
    fs::write(root.join("data.yaml"), "train: train\nnames: [cat]\n").unwrap();
    let objects = || Format::Yolo.parse(&Source::new(&root), &lenient()).unwrap().dataset.object_count();
    assert_eq!(objects(), 1);

    // In the folder `labels` beside that folder `images`.
    let labels = folder.path().join("labels/set/train");
    fs::create_dir_all(&labels).unwrap();
    fs::rename(root.join("train/a.txt"), labels.join("a.txt")).unwrap();
    assert_eq!(objects(), 1);

    // Beside the pictures of a set that has a folder `images`.
    let bare = folder.path().join("bare");
    picture(&bare.join("images/a.png"));
    fs::write(bare.join("images/a.txt"), line).unwrap();
    assert_eq!(Format::Yolo.parse(&Source::new(&bare), &lenient()).unwrap().dataset.object_count(), 1);
}

#[test]
fn every_folder_of_a_bare_yolo_set_is_a_split_and_pictures_outside_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train/a", "valid/b", "extra/deep/c", "loose"] {
        picture(&folder.path().join(format!("images/{name}.png")));
    }
    fs::create_dir_all(folder.path().join("images/empty")).unwrap();
    let read = |policy: Policy| {
        let policies = lenient().policies.with(DirtKind::UnlistedPicture, policy);
        let options = ParseOptions { policies, ..lenient() };
        Format::Yolo.parse(&Source::new(folder.path()), &options).unwrap()
    };
    let parsed = read(Policy::Skip);
    let sizes: Vec<_> = parsed.dataset.splits.iter().map(|(name, m)| (name.as_str(), m.len())).collect();
    assert_eq!(sizes, [("extra", 1), ("train", 1), ("valid", 1)]);
    assert_eq!(dirt(&parsed), [(DirtKind::UnlistedPicture, "", Action::Skipped)]);
    let parsed = read(Policy::Fix);
    assert_eq!((ids(&parsed.dataset).join(" "), parsed.dataset.splits.len()), ("c a b loose".to_owned(), 3));
    assert_eq!(dirt(&parsed), [(DirtKind::UnlistedPicture, "", Action::Fixed)]);
}

#[test]
fn folders_of_a_bare_yolo_set_that_are_no_splits_train_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["left/a", "right/b", "c"] {
        picture(&folder.path().join(format!("images/{name}.png")));
    }
    let parsed = Format::Yolo.parse(&Source::new(folder.path()), &lenient()).unwrap();
    assert_eq!(parsed.dataset.splits, [("train".to_owned(), vec![0, 1, 2])].into());
    assert!(parsed.dirt.is_clean(), "{}", parsed.dirt);
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_a_missing_picture() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("elsewhere/a.png"));
    for (name, target) in [("a.png", "elsewhere/a.png"), ("b.png", "elsewhere/gone.png")] {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    }
    let table =
        "filename,xmin,ymin,xmax,ymax,label,width,height\na.png,1,1,9,9,cat,9,9\nb.png,1,1,9,9,cat,9,9\n";
    fs::write(folder.path().join("boxes.csv"), table).unwrap();
    let parsed = Format::Csv.parse(&Source::new(folder.path()), &ParseOptions::default()).unwrap();
    assert_eq!(ids(&parsed.dataset), ["a.png"]);
    assert_eq!(dirt(&parsed), [(DirtKind::LabelsWithoutPicture, "line 3", Action::Skipped)]);
}

#[cfg(unix)]
#[test]
fn a_pipe_called_like_a_picture_or_labels_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no mkfifo");
        return;
    }
    let (send, answer) = std::sync::mpsc::channel();
    // Whoever opens it waits for a writer, and there is none.
    std::thread::spawn(move || {
        let labels = Source::new(folder.path()).with_labels("pipe");
        let errors = [
            effdet_data::read_header(&pipe).unwrap_err(),
            effdet_data::decode_file(&pipe, &effdet_data::DecodeLimits::default()).unwrap_err(),
            Format::Coco.parse(&labels, &ParseOptions::default()).unwrap_err(),
        ];
        send.send(errors).unwrap();
    });
    for error in answer.recv_timeout(std::time::Duration::from_secs(60)).unwrap() {
        assert!(
            matches!(&error, Error::Read { source, .. } if source.to_string() == "not a file"),
            "{error}"
        );
    }
}

#[test]
fn tables_of_open_images_tell_pictures_of_one_id_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (split, left) in [("train", 0.25), ("validation", 0.5)] {
        picture(&folder.path().join(split).join("1.png"));
        let text = format!("ImageID,LabelName,XMin,XMax,YMin,YMax\n1,Cat,{left},0.75,0.5,1\n");
        fs::write(folder.path().join(format!("{split}-annotations-bbox.csv")), text).unwrap();
    }
    let parsed = Format::OpenImages.parse(&Source::new(folder.path()), &lenient()).unwrap();
    let dataset = &parsed.dataset;
    assert_eq!(ids(dataset), ["1", "validation/1"]);
    assert_eq!(boxes(&dataset.records[0]), [(1, [10.0, 15.0, 30.0, 30.0])]);
    assert_eq!(boxes(&dataset.records[1]), [(1, [20.0, 15.0, 30.0, 30.0])]);
    assert_eq!((&dataset.splits["train"][..], &dataset.splits["validation"][..]), (&[0][..], &[1][..]));
    assert!(parsed.dirt.is_clean(), "{}", parsed.dirt);
}

#[test]
fn tables_of_open_images_share_a_folder_and_keep_negatives() {
    let folder = tempfile::tempdir().unwrap();
    let header = "ImageID,LabelName,XMin,XMax,YMin,YMax\n";
    let row = |image: &str, label: &str| format!("{image},{label},0.25,0.5,0.5,1\n");
    for (table, rows) in [("train", row("1", "Cat") + &row("2", "Dog")), ("validation", row("3", "Cat"))] {
        let path = folder.path().join(format!("{table}-annotations-bbox.csv"));
        fs::write(path, format!("{header}{rows}")).unwrap();
    }
    for name in ["1", "2", "3", "4"] {
        picture(&folder.path().join(format!("pictures/{name}.png")));
    }
    let classes = Some(effdet_core::ClassMap::from_names(["Cat"]).unwrap());
    let options = ParseOptions { classes, ..lenient() };
    let source = Source::new(folder.path()).with_pictures("pictures");
    let parsed = Format::OpenImages.parse(&source, &options).unwrap();
    assert_eq!(dirt(&parsed), [(DirtKind::UnknownClass, "line 3", Action::Skipped)]);
    assert_eq!(ids(&parsed.dataset), ["1", "2", "3"]);
    assert!(record(&parsed.dataset, "2").objects.is_empty());

    // With one table all pictures are its own.
    let alone = source.with_labels("train-annotations-bbox.csv");
    let parsed = Format::OpenImages.parse(&alone, &options).unwrap();
    assert_eq!(parsed.dirt.count(DirtKind::PictureWithoutLabels), 2);
}

#[test]
fn no_picture_at_all_is_an_error() {
    let source = Source::new(fixture("voc")).with_pictures("Annotations");
    let error = Format::Voc.parse(&source, &lenient()).unwrap_err();
    assert!(matches!(&error, Error::NoPictures { listed: 4, .. }), "{error}");
}

#[rstest]
#[case(Format::Coco, "no COCO instances file")]
#[case(Format::Voc, "no Pascal VOC file")]
#[case(Format::Via, "no VIA file")]
#[case(Format::OpenImages, "no Open Images box table")]
#[case(Format::Yolo, "no data.yaml")]
#[case(Format::Csv, "no table")]
#[case(Format::Pets, "xmls: cannot be read")]
fn an_empty_folder_is_refused_by_name(#[case] format: Format, #[case] message: &str) {
    let folder = tempfile::tempdir().unwrap();
    let error = format.parse(&Source::new(folder.path()), &ParseOptions::default()).unwrap_err().to_string();
    assert!(error.contains(message) && error.contains(&folder.path().display().to_string()), "{error}");
}

#[test]
fn an_unknown_split_is_refused_with_the_known_ones() {
    let source = Source::new(fixture("voc")).with_split("test");
    let error = Format::Voc.parse(&source, &lenient()).unwrap_err();
    assert_eq!(error.to_string(), "no split `test` (there are train, val)");
}

#[test]
fn format_names_are_read_in_any_spelling() {
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
    }
    assert_eq!("OpenImages".parse::<Format>().unwrap(), Format::OpenImages);
    assert!("tfrecord".parse::<Format>().unwrap_err().to_string().contains("coco, voc"));
}

#[test]
fn the_report_serialises_with_kinds_actions_and_places() {
    let parsed = parse(Format::Pets, "pets");
    let json = serde_json::to_value(&parsed.dirt).unwrap();
    let first = &json["occurrences"][0];
    assert_eq!((first["kind"].as_str(), first["action"].as_str()), (Some("wrong_extension"), Some("fixed")));
    assert_eq!(serde_json::from_value::<effdet_data::DirtReport>(json).unwrap(), parsed.dirt);
}
