//! What is written in a format reads back as it was.

use std::path::Path;

use effdet_core::{ClassMap, ImageSize, XyxyBox};
use effdet_data::write::{self, PictureFiles};
use effdet_data::{
    Dataset, DirtKind, Format, LabelFormat, Object, ParseOptions, Parsed, PictureCheck, Policies, Policy,
    Record, RecordId, Source,
};
use proptest::prelude::*;
use rstest::rstest;

/// Pictures are absent in most of these tests.
fn options() -> ParseOptions {
    ParseOptions {
        policies: Policies::all(Policy::Error).with(DirtKind::DuplicateBox, Policy::Fix),
        pictures: PictureCheck::None,
        ..ParseOptions::default()
    }
}

fn object(size: ImageSize) -> impl Strategy<Value = Object> {
    let (width, height) = (size.width as f32, size.height as f32);
    // Sides of at least two pixels: shorter ones are slips in Pascal VOC and vanish in YOLO's digits.
    let box_in =
        (0.0..width - 2.0, 0.0..height - 2.0, 0.0f32..1.0, 0.0f32..1.0).prop_map(move |(x, y, w, h)| {
            XyxyBox::new(
                x,
                y,
                (x + 2.0 + w * (width - x - 2.0)).min(width),
                (y + 2.0 + h * (height - y - 2.0)).min(height),
            )
        });
    let whole = any::<bool>();
    let flags = any::<[bool; 8]>();
    let score = proptest::option::of(0.0f32..=1.0);
    (box_in, whole, 0usize..3, proptest::option::of(0.0f32..1e6), score, flags).prop_map(
        |(bbox, whole, class, area, score, flags)| {
            let [
                is_crowd,
                is_difficult,
                is_truncated,
                is_occluded,
                is_group_of,
                is_depiction,
                is_inside,
                is_ignored,
            ] = flags;
            let rounded = <[f32; 4]>::from(bbox).map(f32::round);
            let rounded = XyxyBox::from(rounded);
            Object {
                bbox: if whole && !rounded.is_empty() { rounded } else { bbox },
                class_id: [1, 2, 7][class],
                area,
                score,
                is_crowd,
                is_difficult,
                is_truncated,
                is_occluded,
                is_group_of,
                is_depiction,
                is_inside,
                is_ignored,
            }
        },
    )
}

fn record(number: usize) -> impl Strategy<Value = Record> {
    (4usize..2000, 4usize..2000).prop_flat_map(move |(height, width)| {
        let size = ImageSize::new(height, width);
        proptest::collection::vec(object(size), 0..5).prop_map(move |objects| Record {
            id: RecordId::Number(number as i64 * 3),
            path: Path::new("root").join(format!("{} {number}, &é.png", number % 2)),
            size: Some(size),
            objects,
        })
    })
}

fn dataset() -> impl Strategy<Value = Dataset> {
    let records: Vec<_> = (0..4).map(record).collect();
    records.prop_map(|records| Dataset {
        records,
        class_map: ClassMap::from_ids([(1, "cat"), (2, "salt & \"pepper\", <x>: é"), (7, "dog")]).unwrap(),
        splits: [("train".to_owned(), vec![0, 2]), ("val".to_owned(), vec![1, 3])].into(),
        root: "root".into(),
        ..Dataset::default()
    })
}

fn assert_same(found: &Parsed, expected: &Dataset, tolerance: f32, of_object: impl Fn(&Object) -> Object) {
    assert_eq!(found.dataset.records.len(), expected.records.len());
    for (found_record, record) in found.dataset.records.iter().zip(&expected.records) {
        assert_eq!(found_record.path.file_name(), record.path.file_name());
        assert_eq!(found_record.objects.len(), record.objects.len());
        for (found_object, object) in found_record.objects.iter().zip(&record.objects) {
            let (a, b) = (<[f32; 4]>::from(found_object.bbox), <[f32; 4]>::from(object.bbox));
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= tolerance, "{found_object:?} is not {object:?}");
            }
            let label = |dataset: &Dataset, object: &Object| dataset.class_map.label(object.class_id);
            assert_eq!(label(&found.dataset, found_object), label(expected, object));
            let expected =
                Object { bbox: found_object.bbox, class_id: found_object.class_id, ..of_object(object) };
            assert_eq!(found_object, &expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn coco_gives_boxes_ids_crowds_areas_and_scores_back(dataset in dataset()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instances_all.json");
        write::coco(&dataset, &path).unwrap();
        let parsed = Format::Coco.parse(&Source::new(&path), &options()).unwrap();
        assert_same(&parsed, &dataset, 0.0, |object| Object {
            area: Some(object.area.unwrap_or_else(|| object.bbox.area())),
            score: object.score,
            is_crowd: object.is_crowd,
            is_ignored: object.is_ignored,
            ..Object::default()
        });
        prop_assert_eq!(&parsed.dataset.class_map, &dataset.class_map);
        for (found, record) in parsed.dataset.records.iter().zip(&dataset.records) {
            prop_assert_eq!((&found.id, found.size), (&record.id, record.size));
        }
    }

    #[test]
    fn csv_gives_everything_back(dataset in dataset()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes.csv");
        write::csv(&dataset, &path).unwrap();
        let parsed = Format::Csv.parse(&Source::new(&path), &options()).unwrap();
        assert_same(&parsed, &dataset, 0.0, |object| *object);
    }

    #[test]
    fn voc_gives_boxes_and_marks_back(dataset in dataset()) {
        let folder = tempfile::tempdir().unwrap();
        write::voc(&dataset, folder.path(), PictureFiles::Leave).unwrap();
        let parsed = Format::Voc.parse(&Source::new(folder.path()), &options()).unwrap();
        let mut expected = dataset.clone();
        expected.records.sort_by(|a, b| a.path.cmp(&b.path));
        assert_same(&parsed, &expected, 0.0, |object| Object {
            is_difficult: object.is_difficult || object.is_crowd || object.is_group_of || object.is_ignored,
            is_truncated: object.is_truncated,
            is_occluded: object.is_occluded,
            ..Object::default()
        });
        prop_assert_eq!(parsed.dataset.splits["train"].len(), 2);
    }
}

#[test]
fn yolo_gives_the_boxes_of_real_pictures_back_without_crowds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    let source = Source::new(root.join("coco")).with_split("val");
    let coco = Format::Coco.parse(&source, &ParseOptions::default()).unwrap().dataset;
    let folder = tempfile::tempdir().unwrap();
    write::yolo(&coco, folder.path(), PictureFiles::Copy).unwrap();
    let options = ParseOptions { pictures: PictureCheck::Header, ..options() };
    let parsed = Format::Yolo.parse(&Source::new(folder.path()), &options).unwrap();
    let mut expected = coco.clone();
    for record in &mut expected.records {
        record.objects.retain(|object| !object.is_crowd);
    }
    assert_same(&parsed, &expected, 1e-4, |_| Object::default());
    // Ids 1 and 7 in the source: Ultralytics refuses numbers with gaps, and takes a `path` of `.` for its own folder.
    assert_eq!(parsed.dataset.class_map, ClassMap::from_names(["cat", "polar bear"]).unwrap());
    let yaml = std::fs::read_to_string(folder.path().join("data.yaml")).unwrap();
    assert_eq!(yaml, "train: train.txt\nval: val.txt\nnames:\n  0: \"cat\"\n  1: \"polar bear\"\n");
    assert_eq!(parsed.dataset.splits["val"], [0, 1]);
    assert!(parsed.dataset.records[1].objects.is_empty(), "the negative");

    // And from there to COCO again.
    let path = folder.path().join("instances.json");
    write::coco(&parsed.dataset, &path).unwrap();
    let again = Format::Coco.parse(&Source::new(&path), &options).unwrap();
    assert_same(&again, &parsed.dataset, 0.0, |object| Object {
        area: Some(object.bbox.area()),
        ..Object::default()
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn yolo_gives_boxes_back_to_a_thousandth_of_a_pixel(objects in proptest::collection::vec(object(ImageSize::new(480, 640)), 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("one.png");
        image::RgbImage::new(640, 480).save(&picture).unwrap();
        let objects: Vec<Object> =
            objects.into_iter().map(|o| Object { is_crowd: false, is_ignored: false, ..o }).collect();
        let record = Record { id: 1.into(), path: picture, size: None, objects };
        let dataset = Dataset {
            records: vec![record],
            class_map: ClassMap::from_ids([(1, "cat"), (2, "a: 'b'"), (7, "dog")]).unwrap(),
            root: folder.path().to_owned(),
            ..Dataset::default()
        };
        let target = folder.path().join("yolo");
        write::yolo(&dataset, &target, PictureFiles::Link).unwrap();
        let parsed = Format::Yolo.parse(&Source::new(&target), &options()).unwrap();
        assert_same(&parsed, &dataset, 1e-3, |_| Object::default());
    }
}

/// A data set of pictures of one level each, below `root`.
fn grey_pictures(root: &Path, names: &[&str]) -> Dataset {
    let record = |(level, name): (u8, &&str)| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(8, 6, image::Rgb([level; 3])).save(&path).unwrap();
        Record { id: i64::from(level).into(), path, size: None, objects: Vec::new() }
    };
    let records = (0..).zip(names).map(record).collect();
    let class_map = ClassMap::from_names(["cat"]).unwrap();
    Dataset { records, class_map, root: root.to_owned(), ..Dataset::default() }
}

fn level(path: &Path) -> u8 {
    image::open(path).unwrap().into_rgb8().get_pixel(0, 0).0[0]
}

#[rstest]
fn writing_a_data_set_over_itself_keeps_its_pictures(
    #[values(PictureFiles::Copy, PictureFiles::Link)] pictures: PictureFiles,
) {
    let folder = tempfile::tempdir().unwrap();
    // The first would be called as the second is.
    let dataset = grey_pictures(folder.path(), &["images/train/a.png", "images/a.png", "images/b.png"]);
    for _ in 0..2 {
        write::yolo(&dataset, folder.path(), pictures).unwrap();
        for (expected, record) in (0..).zip(&dataset.records) {
            assert_eq!(level(&record.path), expected, "{}", record.path.display());
        }
    }
    assert_eq!(level(&folder.path().join("images/images_train_a.png")), 0);
}

#[rstest]
fn writing_twice_keeps_the_pictures(
    #[values(PictureFiles::Copy, PictureFiles::Link)] pictures: PictureFiles,
) {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dataset = grey_pictures(folder.path(), &["a.png", "b.png"]);
    for _ in 0..2 {
        write::voc(&dataset, target.path(), pictures).unwrap();
        assert_eq!(level(&dataset.records[1].path), 1);
        assert_eq!(level(&target.path().join("JPEGImages/b.png")), 1);
    }
    let names = std::fs::read_dir(target.path().join("JPEGImages")).unwrap();
    assert_eq!(names.count(), 2, "nothing is left beside them");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_picture_is_followed_when_pictures_are_linked() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dataset = grey_pictures(folder.path(), &["real/a.png", "real/b.png"]);
    let link = folder.path().join("b.png");
    std::os::unix::fs::symlink("real/b.png", &link).unwrap();
    dataset.records[1].path = link;
    write::voc(&dataset, target.path(), PictureFiles::Link).unwrap();
    let written = target.path().join("JPEGImages/b.png");
    assert!(std::fs::symlink_metadata(&written).unwrap().is_file());
    assert_eq!(level(&written), 1);
}

#[cfg(unix)]
#[rstest]
fn a_folder_by_another_path_is_the_same_folder(
    #[values(PictureFiles::Copy, PictureFiles::Link)] pictures: PictureFiles,
) {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dataset = grey_pictures(folder.path(), &["images/train/a.png", "images/a.png"]);
    let alias = other.path().join("alias");
    std::os::unix::fs::symlink(folder.path(), &alias).unwrap();
    write::yolo(&dataset, &alias, pictures).unwrap();
    for (expected, record) in (0..).zip(&dataset.records) {
        assert_eq!(level(&record.path), expected, "{}", record.path.display());
    }
    assert_eq!(level(&folder.path().join("images/images_train_a.png")), 0);
}

#[cfg(unix)]
#[test]
fn what_a_link_leads_to_is_not_overwritten_by_another_picture() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dataset = grey_pictures(folder.path(), &["train/a.png", "images/a.png"]);
    let link = other.path().join("b.png");
    std::os::unix::fs::symlink(&dataset.records[1].path, &link).unwrap();
    let linked = std::mem::replace(&mut dataset.records[1].path, link);
    write::yolo(&dataset, folder.path(), PictureFiles::Copy).unwrap();
    assert_eq!(level(&linked), 1);
    let names = ["images/train_a.png", "images/b.png"].map(|name| level(&folder.path().join(name)));
    assert_eq!(names, [0, 1]);
}

/// The stems in the lists of `train`, `val` and `test` that are written for four pictures in these splits.
fn written_lists(splits: &[(&str, &[usize])]) -> [String; 3] {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dataset = grey_pictures(folder.path(), &["a.png", "b.png", "c.png", "d.png"]);
    dataset.splits = splits.iter().map(|(name, members)| ((*name).to_owned(), members.to_vec())).collect();
    write::yolo(&dataset, target.path(), PictureFiles::Leave).unwrap();
    ["train", "val", "test"].map(|split| {
        let list = std::fs::read_to_string(target.path().join(split).with_extension("txt"));
        let stems = list.unwrap_or_default().replace("./images/", "").replace(".png", "");
        stems.split_whitespace().collect()
    })
}

#[test]
fn every_split_of_a_kind_is_written_and_what_validates_does_not_train() {
    let years: [(&str, &[usize]); 5] = [
        ("train2014", &[0]),
        ("train2017", &[1]),
        ("trainval2014", &[0, 2]),
        ("val2014", &[2]),
        ("test", &[3]),
    ];
    assert_eq!(written_lists(&years), ["ab", "c", "d"]);
    let both: [(&str, &[usize]); 3] = [("trainval", &[0, 1, 2, 3]), ("val", &[2]), ("test", &[3])];
    assert_eq!(written_lists(&both), ["ab", "c", "d"]);
    assert_eq!(written_lists(&[("trainval", &[0, 1]), ("test", &[1])]), ["a", "", "b"]);
    assert_eq!(written_lists(&[("val", &[1])]), ["acd", "b", ""]);
}

#[test]
fn splits_of_voc_whose_names_differ_behind_a_dot_stay_apart() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dataset = grey_pictures(folder.path(), &["a.1.png", "a.2.png", "b.png"]);
    let splits = [("val2017", vec![0, 1, 2]), ("val2017.filtered", vec![1])];
    dataset.splits = splits.map(|(name, members)| (name.to_owned(), members)).into();
    write::voc(&dataset, target.path(), PictureFiles::Copy).unwrap();
    let again = Format::Voc.parse(&Source::new(target.path()), &ParseOptions::default()).unwrap();
    assert_eq!(again.dataset.splits, dataset.splits);
    let ids: Vec<String> = again.dataset.records.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, ["a.1", "a.2", "b"]);
}

#[test]
fn pictures_of_one_name_in_two_folders_stay_apart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/yolo");
    let dataset = Format::Yolo
        .parse(
            &Source::new(&root),
            &ParseOptions { policies: Policies::all(Policy::Skip), ..ParseOptions::default() },
        )
        .unwrap()
        .dataset;
    let folder = tempfile::tempdir().unwrap();
    write::voc(&dataset, folder.path(), PictureFiles::Copy).unwrap();
    let again = Format::Voc.parse(&Source::new(folder.path()), &ParseOptions::default()).unwrap();
    let stems: Vec<String> = again.dataset.records.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(stems, ["a", "b", "c", "images_val_a"]);
    assert_eq!(again.dataset.object_count(), dataset.object_count());
}
