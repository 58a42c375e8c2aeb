//! The real label files of the shared data set (`EFFDET_SHARED`), with their dirt as it was counted by hand. Skipped where
//! they are absent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use effdet_core::ClassMap;
use effdet_data::{
    ClassIds, Dataset, DirtKind, Format, LabelFormat, ParseOptions, Parsed, PetsLabels, PictureCheck, Pixels,
    RecordId, Source,
};

fn shared(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("EFFDET_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let found = root.join("data").join(folder);
    if !found.is_dir() {
        println!("skipped: {} is absent", found.display());
        return None;
    }
    Some(found)
}

fn closely() -> ParseOptions {
    ParseOptions { pictures: PictureCheck::Header, ..ParseOptions::default() }
}

fn parse(format: Format, source: &Source, options: &ParseOptions) -> Parsed {
    format.parse(source, options).unwrap_or_else(|error| panic!("{format}: {error}"))
}

fn counts(parsed: &Parsed) -> Vec<(DirtKind, usize)> {
    parsed.dirt.counts().into_iter().collect()
}

fn per_class(dataset: &Dataset) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for object in dataset.records.iter().flat_map(|record| &record.objects) {
        *counts.entry(dataset.class_map.label(object.class_id)).or_default() += 1;
    }
    counts
}

fn pairs(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn bccd_has_two_boxes_without_area_and_seven_labelled_twice() {
    let Some(root) = shared("bccd") else { return };
    let parsed = parse(Format::Voc, &Source::new(&root), &closely());
    let dataset = &parsed.dataset;
    assert_eq!(dataset.records.len(), 364);
    assert_eq!(counts(&parsed), [(DirtKind::ZeroArea, 2), (DirtKind::DuplicateBox, 7)]);
    let zero: Vec<String> = parsed.dirt.of(DirtKind::ZeroArea).map(ToString::to_string).collect();
    assert!(zero[0].contains("BloodImage_00338.xml") && zero[0].contains("504,337 504,337"), "{zero:?}");
    assert!(zero[1].contains("BloodImage_00343.xml") && zero[1].contains("181,329 181,329"), "{zero:?}");
    assert_eq!(per_class(dataset), pairs(&[("RBC", 4153), ("WBC", 372), ("Platelets", 361)]));
    let sizes: Vec<usize> = ["train", "val", "trainval", "test"].map(|s| dataset.splits[s].len()).to_vec();
    assert_eq!(sizes, [205, 87, 292, 72]);
    let objects = || dataset.records.iter().flat_map(|record| &record.objects);
    assert_eq!(objects().filter(|o| o.bbox.x2 == 640.0).count(), 237);
    assert_eq!(objects().filter(|o| o.bbox.y2 == 480.0).count(), 318);
    assert!(objects().all(|o| o.bbox.x1 >= 0.0 && o.bbox.y1 >= 0.0));
}

#[test]
fn the_table_of_bccd_has_the_boxes_of_its_xml_files() {
    let Some(root) = shared("bccd") else { return };
    let options = ParseOptions { pixels: Some(Pixels::OneBased), ..ParseOptions::default() };
    let xml = parse(Format::Voc, &Source::new(&root), &options);
    let source = Source::new(&root).with_labels("test.csv").with_pictures("JPEGImages");
    let table = parse(Format::Csv, &source, &options);
    assert_eq!(counts(&table), counts(&xml));
    assert_eq!(boxes_of(&table.dataset), boxes_of(&xml.dataset));
}

/// Stem of the picture, class name and corners of each box, sorted.
fn boxes_of(dataset: &Dataset) -> Vec<(String, String, [i64; 4])> {
    let mut boxes = Vec::new();
    for record in &dataset.records {
        let stem = record.path.file_stem().unwrap().to_string_lossy().into_owned();
        for object in &record.objects {
            let corners = <[f32; 4]>::from(object.bbox).map(|x| (x * 1000.0).round() as i64);
            boxes.push((stem.clone(), dataset.class_map.label(object.class_id), corners));
        }
    }
    boxes.sort();
    boxes
}

#[test]
fn pets_have_the_breed_of_the_file_name_and_the_dirt_that_is_known() {
    let Some(root) = shared("oxford_pets_3breeds") else { return };
    let parsed = parse(Format::Pets, &Source::new(&root), &closely());
    let dataset = &parsed.dataset;
    assert_eq!((dataset.records.len(), dataset.object_count()), (296, 297));
    let ids: Vec<_> = dataset.class_map.iter().collect();
    assert_eq!(ids, [(1, "Abyssinian"), (2, "american_bulldog"), (6, "Bengal")]);
    assert_eq!(per_class(dataset), pairs(&[("Abyssinian", 99), ("american_bulldog", 99), ("Bengal", 99)]));
    assert_eq!(dataset.splits["trainval"].len(), 296);
    assert_eq!(
        counts(&parsed),
        [
            (DirtKind::MissingPicture, 251),
            (DirtKind::PictureWithoutLabels, 4),
            (DirtKind::UnlistedPicture, 2),
            (DirtKind::WrongExtension, 2),
        ]
    );
    let named = |kind| -> Vec<String> {
        let stem = |file: &PathBuf| file.file_stem().unwrap().to_string_lossy().into_owned();
        parsed.dirt.of(kind).map(|dirt| stem(&dirt.file)).collect()
    };
    let unlabelled = ["Abyssinian_104", "american_bulldog_202", "Bengal_111", "Bengal_175"];
    assert_eq!(named(DirtKind::PictureWithoutLabels), unlabelled);
    assert_eq!(named(DirtKind::UnlistedPicture), ["Abyssinian_34", "Abyssinian_82"]);
    assert_eq!(named(DirtKind::WrongExtension), ["Abyssinian_34", "Abyssinian_5"]);
    let two = dataset.records.iter().find(|record| record.objects.len() == 2).unwrap();
    assert_eq!(two.id, RecordId::from("Bengal_105"));

    let options = ParseOptions { class_ids: ClassIds::Contiguous, ..closely() };
    let contiguous = parse(Format::Pets, &Source::new(&root), &options).dataset;
    assert_eq!(contiguous.class_map.len(), 3);
    assert_eq!(contiguous.class_sources[&3], RecordId::Number(6));
    let options = ParseOptions { pets: PetsLabels::Species, ..closely() };
    let species = parse(Format::Pets, &Source::new(&root), &options).dataset;
    assert_eq!(per_class(&species), pairs(&[("cat", 198), ("dog", 99)]));
}

#[test]
fn coco_subsets_are_clean_and_keep_crowds_gaps_and_negatives() {
    let Some(root) = shared("coco2017_subset") else { return };
    let parsed = parse(Format::Coco, &Source::new(&root), &closely());
    let dataset = &parsed.dataset;
    assert_eq!(counts(&parsed).iter().filter(|(kind, _)| *kind != DirtKind::DuplicateBox).count(), 0);
    assert_eq!(dataset.class_map, ClassMap::coco());
    for (split, pictures, boxes, crowds, negatives) in
        [("val2017", 165, 1460, 17, vec![58636, 226111]), ("train2017", 82, 709, 6, vec![262284])]
    {
        let part = parse(Format::Coco, &Source::new(&root).with_split(split), &closely()).dataset;
        let objects = || part.records.iter().flat_map(|record| &record.objects);
        assert_eq!((part.records.len(), part.object_count()), (pictures, boxes));
        assert_eq!(objects().filter(|object| object.is_crowd).count(), crowds);
        assert!(objects().all(|object| object.area.is_some()));
        let mut empty: Vec<i64> =
            part.records.iter().filter(|r| r.objects.is_empty()).map(|r| r.id.number().unwrap()).collect();
        empty.sort_unstable();
        assert_eq!(empty, negatives);
        assert_eq!(dataset.splits[split].len(), pictures);
    }
    let options = ParseOptions { class_ids: ClassIds::Contiguous, ..closely() };
    let contiguous = parse(Format::Coco, &Source::new(&root), &options).dataset;
    assert_eq!((contiguous.class_map.len(), contiguous.class_map.name(80)), (80, Some("toothbrush")));
    assert_eq!(contiguous.class_sources[&80], RecordId::Number(90));
}

#[test]
fn icevision_samples_parse_in_their_formats() {
    let Some(root) = shared("icevision_samples") else { return };
    let source = Source::new(&root).with_labels("annotations.json").with_pictures("images");
    let parsed = parse(Format::Coco, &source, &closely());
    let dataset = &parsed.dataset;
    assert_eq!(counts(&parsed), []);
    assert_eq!((dataset.records.len(), dataset.object_count(), dataset.class_map.iter().len()), (6, 36, 80));
    let crowds = dataset.records.iter().flat_map(|r| &r.objects).filter(|object| object.is_crowd).count();
    assert_eq!(crowds, 1);
    let negative = dataset.records.iter().find(|record| record.objects.is_empty()).unwrap();
    assert_eq!(negative.id, RecordId::Number(89));

    let source = Source::new(&root).with_labels("keypoints_annotations.json").with_pictures("images");
    let options = ParseOptions { pictures: PictureCheck::None, ..ParseOptions::default() };
    let people = parse(Format::Coco, &source, &options);
    assert_eq!((people.dataset.records.len(), people.dataset.object_count()), (2, 10));
    assert_eq!(counts(&people), []);

    let voc = parse(Format::Voc, &Source::new(root.join("voc")), &closely());
    assert_eq!(counts(&voc), []);
    let phone = voc.dataset.records.iter().find(|r| r.id == RecordId::from("2011_003353")).unwrap();
    assert_eq!(<[f32; 4]>::from(phone.objects[0].bbox), [129.0, 44.7, 375.0, 470.0]);

    let fridge = parse(Format::Voc, &Source::new(root.join("fridge/odFridgeObjects")), &closely());
    assert_eq!(counts(&fridge), []);
    assert_eq!((fridge.dataset.records.len(), fridge.dataset.object_count()), (6, 12));
    let names: Vec<&str> = fridge.dataset.class_map.iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["can", "carton", "milk_bottle", "water_bottle"]);
}

#[test]
fn every_rendering_of_the_voc_subset_gives_the_same_boxes() {
    let Some(root) = shared("voc2012_subset") else { return };
    let voc = parse(Format::Voc, &Source::new(&root), &closely());
    assert_eq!((voc.dataset.records.len(), voc.dataset.object_count()), (100, 273));
    assert_eq!(voc.dataset.class_map, ClassMap::voc());
    assert_eq!(per_class(&voc.dataset)["person"], 91);
    let is_set = |flag: fn(&effdet_data::Object) -> bool| {
        voc.dataset.records.iter().flat_map(|r| &r.objects).filter(|object| flag(object)).count()
    };
    assert_eq!((is_set(|o| o.is_truncated), is_set(|o| o.is_difficult)), (137, 38));
    let sizes: Vec<usize> = ["train", "val", "trainval"].map(|s| voc.dataset.splits[s].len()).to_vec();
    assert_eq!(sizes, [80, 20, 100]);

    // The other renderings took the pixel numbers for positions.
    let options = ParseOptions { pixels: Some(Pixels::Continuous), ..closely() };
    let expected = parse(Format::Voc, &Source::new(&root), &options);
    let only_twice = |parsed: &Parsed| counts(parsed).iter().all(|(kind, _)| *kind == DirtKind::DuplicateBox);
    assert!(only_twice(&voc) && only_twice(&expected), "{} / {}", voc.dirt, expected.dirt);
    let boxes = boxes_of(&expected.dataset);

    let other = |labels: &str| Source::new(&root).with_labels(labels).with_pictures("JPEGImages");
    for (format, labels, tolerance) in [
        (Format::Coco, "other_formats/coco_v1/instances_default.json", 0),
        (Format::Coco, "other_formats/coco_v2/instances_v2.json", 0),
        (Format::Voc, "other_formats/imagenet/Annotations", 0),
        (Format::OpenImages, "other_formats/openimages/all_bounding_boxes.csv", 1),
        (Format::Yolo, "other_formats/yolo/obj.data", 1),
    ] {
        let parsed = parse(format, &other(labels), &options);
        let found = boxes_of(&parsed.dataset);
        assert_eq!(found.len(), 273, "{labels}");
        // Fractions are rounded, which may change the order of boxes that are nearly alike.
        for (stem, class, corners) in &boxes {
            let near = |(s, c, b): &&(String, String, [i64; 4])| {
                s == stem && c == class && b.iter().zip(corners).all(|(x, y)| (x - y).abs() <= tolerance)
            };
            assert!(found.iter().any(|found| near(&found)), "{labels}: {stem} {class} {corners:?}");
        }
        let dirt: Vec<_> =
            counts(&parsed).into_iter().filter(|(kind, _)| *kind != DirtKind::DuplicateBox).collect();
        match format {
            Format::OpenImages => assert_eq!(dirt, [(DirtKind::DecimalComma, 1)], "{labels}"),
            _ => assert_eq!(dirt, [], "{labels}"),
        }
    }
}

#[test]
fn parts_of_an_object_are_no_objects() {
    let Some(root) = shared("voc2012_subset") else { return };
    let source = Source::new(root.join("extra"))
        .with_labels("2007_000027_with_parts.xml")
        .with_pictures("../JPEGImages");
    let options =
        ParseOptions { pixels: Some(Pixels::Continuous), pictures: PictureCheck::None, ..closely() };
    let bytes = std::fs::read(source.root.join("2007_000027_with_parts.xml")).unwrap();
    let parsed = effdet_data::format::voc::parse_bytes(&bytes, "2007_000027.xml", &options).unwrap();
    let [record] = &parsed.dataset.records[..] else { panic!("one record") };
    let [person] = &record.objects[..] else { panic!("one object") };
    assert_eq!(<[f32; 4]>::from(person.bbox), [174.0, 101.0, 349.0, 351.0]);
    assert_eq!(parsed.dataset.class_map.label(person.class_id), "person");

    let voc2007 = parse(Format::Voc, &Source::new(root.join("extra/VOC2007")), &closely());
    assert_eq!(voc2007.dataset.object_count(), 2);
    let both = parse(Format::Voc, &Source::new(&root), &closely()).dataset.merge(voc2007.dataset).unwrap();
    assert_eq!((both.records.len(), both.object_count(), both.class_map.len()), (101, 275, 20));
    let last = both.records.last().unwrap();
    assert_eq!(both.class_map.label(last.objects[0].class_id), "dog");
}

#[test]
fn evaluation_cases_show_their_string_ids_and_missing_files() {
    let Some(root) = shared("eval_cases") else { return };
    let options = ParseOptions { pictures: PictureCheck::None, ..ParseOptions::default() };
    let as_shipped = Source::new(root.join("crowd_image_2299/gt_as_shipped.json"));
    let parsed = parse(Format::Coco, &as_shipped, &options);
    assert_eq!(counts(&parsed), [(DirtKind::StringId, 2)]);
    assert_eq!((parsed.dataset.records.len(), parsed.dataset.object_count()), (1, 14));
    let clean = parse(Format::Coco, &Source::new(root.join("crowd_image_2299/gt_int_ids.json")), &options);
    assert_eq!(counts(&clean), []);
    assert_eq!(clean.dataset.records[0].objects, parsed.dataset.records[0].objects);

    let fake = root.join("cocoapi_fake100/instances_val2014_100.json");
    let fake = parse(Format::Coco, &Source::new(fake), &options);
    let crowds = fake.dataset.records.iter().flat_map(|r| &r.objects).filter(|o| o.is_crowd).count();
    assert_eq!((fake.dataset.records.len(), fake.dataset.object_count(), crowds), (100, 839, 9));

    let toy = root.join("rodm_toyexample");
    let source =
        Source::new(&toy).with_labels("gts_coco_format/toy_example_coco.JSON").with_pictures("images");
    let coco = parse(Format::Coco, &source, &closely());
    assert_eq!(coco.dataset.object_count(), 12);
    let source = Source::new(&toy).with_labels("gts_vocpascal_format").with_pictures("images");
    let voc = parse(Format::Voc, &source, &closely());
    assert_eq!(counts(&voc), [(DirtKind::PictureWithoutLabels, 2)]);
    assert_eq!((voc.dataset.records.len(), voc.dataset.object_count()), (10, 12));
    let empty = voc.dataset.records.iter().find(|record| record.objects.is_empty()).unwrap();
    assert_eq!(empty.id, RecordId::from("2007_000733"));
}

#[test]
fn headers_give_the_sizes_that_decoding_gives() {
    let Some(root) = shared("awkward_images") else { return };
    let mut compared = 0;
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let header = effdet_data::read_header(&path);
            if let Ok(picture) = effdet_data::decode_file(&path, &effdet_data::DecodeLimits::default()) {
                let header = header.unwrap_or_else(|error| panic!("{error}"));
                let size = effdet_core::ImageSize::new(picture.height() as usize, picture.width() as usize);
                assert_eq!(header.size, size, "{}", path.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn grey_pictures_of_icevision_are_read_and_signed_or_float_samples_refused_by_name() {
    let Some(root) = shared("icevision_samples") else { return };
    let decode =
        |name: &str| effdet_data::decode_file(root.join(name), &effdet_data::DecodeLimits::default());
    for (name, width, height) in [
        ("gray_scale/gray_scale_h_10_w_10_image.tiff", 10, 10),
        ("gray_scale/gray_scale_h_50_w_50_image.tiff", 50, 50),
    ] {
        let picture = decode(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(picture.dimensions(), (width, height), "{name}");
    }
    for (folder, bands) in [("gray_scale", 1), ("images", 3)] {
        for samples in ["int8", "int16", "int32", "float32"] {
            let name = format!("{folder}/test_{bands}_bands_{samples}.tif");
            match decode(&name) {
                Ok(picture) => assert_eq!(picture.dimensions(), (101, 100), "{name}"),
                Err(error) => assert!(error.to_string().contains(&name), "{error}"),
            }
        }
    }
}
