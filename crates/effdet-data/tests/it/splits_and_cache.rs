//! Splits and the cache of parsed labels.

use std::fs;
use std::path::{Path, PathBuf};

use effdet_data::cache::{Origin, parse_cached};
use effdet_data::{
    Dataset, DirtKind, Error, Format, ParseOptions, PictureCheck, Policies, Policy, Record, RecordId, Source,
    split,
};
use rstest::rstest;

fn numbered(count: i64) -> Dataset {
    let record = |id: i64| Record {
        id: RecordId::Number(id),
        path: PathBuf::from(format!("root/{}/{id}.jpg", if id % 3 == 0 { "val" } else { "train" })),
        size: None,
        objects: Vec::new(),
    };
    Dataset { records: (0..count).map(record).collect(), root: "root".into(), ..Dataset::default() }
}

#[test]
fn random_splits_are_disjoint_complete_and_of_the_given_proportions() {
    let parts = split::random(&numbered(101), &[0.7, 0.2, 0.1], 42).unwrap();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [71, 20, 10]);
    let mut all: Vec<usize> = parts.concat();
    all.sort_unstable();
    assert_eq!(all, (0..101).collect::<Vec<_>>());
    assert_ne!(parts, split::random(&numbered(101), &[0.7, 0.2, 0.1], 43).unwrap());
}

#[test]
fn random_splits_are_the_same_everywhere_and_for_any_order_of_the_records() {
    let mut dataset = numbered(10);
    let parts = split::random(&dataset, &[0.5, 0.5], 0).unwrap();
    assert_eq!(parts, [[1, 2, 4, 5, 9], [0, 3, 6, 7, 8]], "computed apart from this program");
    dataset.records.reverse();
    let ids = |part: &[usize]| {
        let mut ids: Vec<i64> = part.iter().map(|i| dataset.records[*i].id.number().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let reversed = split::random(&dataset, &[0.5, 0.5], 0).unwrap();
    assert_eq!(ids(&reversed[0]), [1, 2, 4, 5, 9]);
}

#[test]
fn proportions_that_make_no_sense_are_refused() {
    for proportions in [&[][..], &[0.5, 0.4], &[1.5, -0.5], &[f64::NAN, 1.0]] {
        let error = split::random(&numbered(3), proportions, 0).unwrap_err();
        assert!(matches!(error, Error::Proportions { .. }), "{error}");
    }
    assert_eq!(split::random(&numbered(0), &[0.8, 0.2], 0).unwrap(), [[0; 0], [0; 0]]);
}

#[test]
fn a_list_names_records_by_id_stem_file_name_or_path() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    fs::write(&list, "# comment\n4\n5.jpg\ntrain/7.jpg\n./train/8.jpg\n\n0 1\n4\n").unwrap();
    assert_eq!(split::by_file(&numbered(9), &list).unwrap(), [0, 4, 5, 7, 8]);
    fs::write(&list, "4\nnone\n").unwrap();
    let error = split::by_file(&numbered(9), &list).unwrap_err().to_string();
    assert!(error.ends_with("list.txt, line 2: no record is called `none`"), "{error}");
}

#[test]
fn folders_and_functions_split_every_record() {
    let splits = split::by_folder(&numbered(5), &["train", "val"]).unwrap();
    assert_eq!((&splits["train"][..], &splits["val"][..]), (&[1, 2, 4][..], &[0, 3][..]));
    let error = split::by_folder(&numbered(5), &["val", "test"]).unwrap_err();
    assert_eq!(error.to_string(), "record `1` (root/train/1.jpg) belongs to no part of the split");
    let odd = split::by_function(&numbered(5), |r| (r.id.number()? % 2 == 1).then(|| "odd".to_owned()));
    assert_eq!(odd["odd"], [1, 3]);
    assert_eq!(split::by_ids(&numbered(5), &[3.into(), 1.into()]).unwrap(), [3, 1]);
    assert!(split::by_ids(&numbered(5), &[9.into()]).is_err());
}

#[test]
fn a_subset_keeps_classes_and_shrinks_the_official_splits() {
    let mut dataset = numbered(6);
    dataset.splits.insert("val".to_owned(), vec![0, 3]);
    let subset = dataset.subset(&[5, 3, 3, 99]);
    assert_eq!(subset.records.iter().map(|r| r.id.number().unwrap()).collect::<Vec<_>>(), [5, 3]);
    assert_eq!(subset.splits["val"], [1]);
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => fs::copy(&path, &target).map(|_| ()).unwrap(),
        }
    }
}

#[test]
fn the_cache_is_used_until_labels_options_or_folders_change() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/voc");
    copy_folder(&fixtures, folder.path());
    // Among the labels, where writing it changes the folder.
    let cache = folder.path().join("Annotations").join("labels.cache");
    let source = Source::new(folder.path());
    let options = ParseOptions::default();
    let read = |options: &ParseOptions| parse_cached(&Format::Voc, &source, options, &cache).unwrap();

    let (parsed, origin) = read(&options);
    assert_eq!(origin, Origin::Labels);
    let (cached, origin) = read(&options);
    assert_eq!(origin, Origin::Cache);
    assert_eq!(cached, parsed);

    let other = ParseOptions { pictures: PictureCheck::Header, ..ParseOptions::default() };
    assert_eq!(read(&other).1, Origin::Labels);
    assert_eq!(read(&options).1, Origin::Labels);

    let xml = folder.path().join("Annotations/001.xml");
    let text = fs::read_to_string(&xml).unwrap();
    fs::write(&xml, text.replace("<xmin>3</xmin>", "<xmin>13</xmin>")).unwrap();
    assert_eq!(read(&options).1, Origin::Labels);
    assert_eq!(read(&options).1, Origin::Cache);

    fs::copy(folder.path().join("Annotations/003.xml"), folder.path().join("Annotations/005.xml")).unwrap();
    let (parsed, origin) = read(&options);
    assert_eq!((origin, parsed.dataset.records.len()), (Origin::Labels, 4));
}

/// A copy of a data set with another folder `test`, and where its cache may lie.
fn copied(name: &str) -> (tempfile::TempDir, tempfile::TempDir) {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    copy_folder(&fixtures.join(name), folder.path());
    fs::create_dir(folder.path().join("test")).unwrap();
    (folder, other)
}

fn lenient() -> ParseOptions {
    let policies = Policies::default().with(DirtKind::Malformed, Policy::Skip);
    ParseOptions { policies, ..ParseOptions::default() }
}

#[rstest]
#[case(Format::Coco, "coco", "annotations/instances_train.json", "annotations/instances_test.json")]
#[case(Format::Coco, "coco_zero", "train/_annotations.coco.json", "test/_annotations.coco.json")]
#[case(Format::Csv, "csv", "train.csv", "test.csv")]
#[case(Format::Via, "via", "v1.json", "test.json")]
#[case(Format::Via, "via", "v1.json", "test/via_region_data.json")]
#[case(Format::OpenImages, "open_images", "train-annotations-bbox.csv", "test-annotations-bbox.csv")]
fn a_new_label_file_makes_the_cache_stale(
    #[case] format: Format,
    #[case] name: &str,
    #[case] from: &str,
    #[case] to: &str,
) {
    let (folder, other) = copied(name);
    let source = Source::new(folder.path());
    let read = || parse_cached(&format, &source, &lenient(), other.path().join("labels.cache")).unwrap();
    assert_eq!((read().1, read().1), (Origin::Labels, Origin::Cache));
    fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    let (parsed, origin) = read();
    assert_eq!(origin, Origin::Labels);
    assert!(parsed.dataset.splits.keys().any(|split| split.starts_with("test")));
}

#[test]
fn pictures_that_come_to_be_there_make_the_cache_stale() {
    let (folder, other) = copied("coco");
    let (source, val) = (Source::new(folder.path()), folder.path().join("val"));
    let read =
        || parse_cached(&Format::Coco, &source, &lenient(), other.path().join("labels.cache")).unwrap();
    fs::rename(&val, other.path().join("val")).unwrap();
    let (parsed, origin) = read();
    assert_eq!((origin, parsed.dataset.splits["val"].len()), (Origin::Labels, 0));
    assert_eq!(read().1, Origin::Cache);
    fs::rename(other.path().join("val"), &val).unwrap();
    let (parsed, origin) = read();
    assert_eq!((origin, parsed.dataset.splits["val"].len()), (Origin::Labels, 2));
}

#[test]
fn a_picture_overwritten_in_place_makes_the_cache_stale() {
    let (folder, other) = copied("coco");
    let (source, options) = (
        Source::new(folder.path()).with_split("val"),
        ParseOptions { pictures: PictureCheck::Header, ..lenient() },
    );
    let read = || parse_cached(&Format::Coco, &source, &options, other.path().join("labels.cache")).unwrap();
    let (parsed, _) = read();
    assert_eq!((read().1, parsed.dirt.count(DirtKind::SizeMismatch)), (Origin::Cache, 0));
    let picture = &parsed.dataset.records[0].path;
    image::RgbImage::new(17, 11).save(picture).unwrap();
    let (parsed, origin) = read();
    assert_eq!((origin, parsed.dirt.count(DirtKind::SizeMismatch)), (Origin::Labels, 1));
    assert_eq!(read().1, Origin::Cache);
}

#[test]
fn a_picture_in_a_folder_that_held_none_makes_the_cache_stale() {
    let (folder, other) = copied("yolo_bare");
    let inner = folder.path().join("images/later");
    fs::create_dir(&inner).unwrap();
    let (source, options) = (Source::new(folder.path()), ParseOptions::default());
    let read = || parse_cached(&Format::Yolo, &source, &options, other.path().join("labels.cache")).unwrap();
    assert_eq!((read().1, read().1), (Origin::Labels, Origin::Cache));
    image::RgbImage::new(17, 11).save(inner.join("b.png")).unwrap();
    let (parsed, origin) = read();
    assert_eq!((origin, parsed.dataset.records.len()), (Origin::Labels, 2));
}

#[test]
fn a_damaged_cache_is_ignored_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("labels.cache");
    let source = Source::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/yolo_bare"));
    let read = || parse_cached(&Format::Yolo, &source, &ParseOptions::default(), &cache).unwrap();
    let (parsed, _) = read();
    let good = fs::read(&cache).unwrap();
    for length in (0..good.len()).step_by(7) {
        fs::write(&cache, &good[..length]).unwrap();
        assert_eq!(read(), (parsed.clone(), Origin::Labels), "truncated to {length}");
    }
    for at in (0..good.len()).step_by(3) {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        fs::write(&cache, bad).unwrap();
        assert_eq!(read(), (parsed.clone(), Origin::Labels), "byte {at} changed");
    }
    assert_eq!(read().1, Origin::Cache);
    let nowhere = folder.path().join("absent/labels.cache");
    let (_, origin) = parse_cached(&Format::Yolo, &source, &ParseOptions::default(), nowhere).unwrap();
    assert_eq!(origin, Origin::LabelsOnly);
}
