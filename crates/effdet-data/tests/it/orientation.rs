//! Labels of pictures that their EXIF orientation turns on the side.

use std::fs;
use std::path::Path;

use effdet_core::{ImageSize, XyxyBox};
use effdet_data::{
    Action, DecodeLimits, DirtKind, Error, Format, LabelFormat, ParseOptions, Parsed, PictureCheck, Pictures,
    Pixels, Policies, Policy, Samples, Source, decode_file,
};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use rstest::rstest;

/// Width and height of the picture in the file; corners of a white box, at blocks of JPEG so that it stays sharp.
const LYING: [u32; 2] = [48, 32];
const WHITE: [u32; 4] = [8, 8, 24, 16];

/// EXIF with an orientation and nothing else.
fn exif(orientation: u8) -> Vec<u8> {
    // A TIFF header and a directory of one entry: tag 0x112, one 16-bit number.
    let mut bytes = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    bytes.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A black picture with a white box.
fn write_picture(path: &Path, orientation: u8) {
    let [width, height] = LYING;
    let [x1, y1, x2, y2] = WHITE;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb([if (x1..x2).contains(&x) && (y1..y2).contains(&y) { 255 } else { 0 }; 3])
    });
    let mut bytes = Vec::new();
    if path.extension().unwrap() == "jpg" {
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(&picture, width, height, ExtendedColorType::Rgb8).unwrap();
    } else {
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(&picture, width, height, ExtendedColorType::Rgb8).unwrap();
    }
    fs::write(path, bytes).unwrap();
}

/// The box around what is white in the decoded picture.
fn white_box(path: &Path) -> XyxyBox {
    let picture = decode_file(path, &DecodeLimits::default()).unwrap();
    let white = picture.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 127);
    let start = XyxyBox::new(f32::MAX, f32::MAX, 0.0, 0.0);
    white.fold(start, |around, (x, y, _)| {
        let (x, y) = (x as f32, y as f32);
        XyxyBox::new(around.x1.min(x), around.y1.min(y), around.x2.max(x + 1.0), around.y2.max(y + 1.0))
    })
}

/// Labels of the picture `name` beside it: its size and one box, by their corners.
fn write_labels(folder: &Path, format: Format, name: &str, [width, height]: [u32; 2], corners: [u32; 4]) {
    let [x1, y1, x2, y2] = corners;
    let (file, text) = match format {
        Format::Coco => (
            "labels.json",
            format!(
                r#"{{"images": [{{"id": 1, "file_name": "{name}", "width": {width}, "height": {height}}}],
                "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": [{x1}, {y1}, {}, {}]}}],
                "categories": [{{"id": 1, "name": "cat"}}]}}"#,
                x2 - x1,
                y2 - y1
            ),
        ),
        Format::Voc => (
            "a.xml",
            format!(
                "<annotation><filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>\
                 <object><name>cat</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>\
                 </bndbox></object></annotation>",
                x1 + 1,
                y1 + 1
            ),
        ),
        _ => (
            "boxes.csv",
            format!(
                "filename,xmin,ymin,xmax,ymax,label,width,height\n{name},{x1},{y1},{x2},{y2},cat,{width},{height}\n"
            ),
        ),
    };
    fs::write(folder.join(file), text).unwrap();
}

fn parse(folder: &Path, format: Format, pictures: PictureCheck) -> Parsed {
    let options = ParseOptions { pictures, ..ParseOptions::default() };
    format.parse(&Source::new(folder), &options).unwrap()
}

#[rstest]
fn boxes_of_a_picture_on_its_side_are_turned_with_it(
    #[values(5, 6, 7, 8)] orientation: u8,
    #[values("a.jpg", "a.png")] name: &str,
    #[values(Format::Coco, Format::Voc, Format::Csv)] format: Format,
    #[values(PictureCheck::Exists, PictureCheck::Header)] check: PictureCheck,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write_picture(&path, orientation);
    write_labels(folder.path(), format, name, LYING, WHITE);
    let parsed = parse(folder.path(), format, check);
    let record = &parsed.dataset.records[0];
    assert_eq!(record.size, Some(ImageSize::new(48, 32)));
    assert_eq!(record.objects[0].bbox, white_box(&path));
    let [dirt] = &parsed.dirt.occurrences[..] else { panic!("{}", parsed.dirt) };
    assert_eq!((dirt.kind, dirt.action), (DirtKind::SizeMismatch, Action::Fixed));
    assert!(dirt.detail.contains("stated 32x48, the upright picture is 48x32"), "{dirt}");
    assert_eq!(Pictures::new(parsed.dataset.records).get(0).unwrap().objects[0].bbox, white_box(&path));

    // Labels that state the upright size have upright boxes.
    let upright = white_box(&path);
    let corners = <[f32; 4]>::from(upright).map(|x| x as u32);
    write_labels(folder.path(), format, name, [32, 48], corners);
    let parsed = parse(folder.path(), format, check);
    assert!(parsed.dirt.is_clean(), "{}", parsed.dirt);
    assert_eq!(parsed.dataset.records[0].objects[0].bbox, upright);
}

#[test]
fn a_turned_picture_is_left_out_or_refused_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    write_picture(&folder.path().join("a.png"), 6);
    write_labels(folder.path(), Format::Coco, "a.png", LYING, WHITE);
    let read = |policy: Policy| {
        let policies = Policies::default().with(DirtKind::SizeMismatch, policy);
        let options = ParseOptions { policies, ..ParseOptions::default() };
        Format::Coco.parse(&Source::new(folder.path()), &options)
    };
    assert!(read(Policy::Skip).unwrap().dataset.records.is_empty());
    let error = read(Policy::Error).unwrap_err().to_string();
    assert!(error.contains("labels.json, id 1: size mismatch: stated 32x48"), "{error}");
}

#[rstest]
fn boxes_of_pictures_that_were_not_looked_at_are_turned_when_these_are_decoded(
    #[values(5, 6, 7, 8)] orientation: u8,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    write_picture(&path, orientation);
    write_labels(folder.path(), Format::Coco, "a.jpg", LYING, WHITE);
    let records = parse(folder.path(), Format::Coco, PictureCheck::None).dataset.records;
    assert_eq!(records[0].objects[0].bbox, XyxyBox::from(WHITE.map(|x| x as f32)));
    assert_eq!(Pictures::new(records).get(0).unwrap().objects[0].bbox, white_box(&path));
}

#[test]
fn corners_by_another_convention_are_turned_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    write_picture(&path, 6);
    write_labels(folder.path(), Format::Voc, "a.png", LYING, WHITE);
    let options = ParseOptions { pixels: Some(Pixels::Effdet), ..ParseOptions::default() };
    let parsed = Format::Voc.parse(&Source::new(folder.path()), &options).unwrap();
    // A pixel less at the right and below as it lies, which is at the left and below when it stands.
    let XyxyBox { x1, y1, x2, y2 } = white_box(&path);
    assert_eq!(parsed.dataset.records[0].objects[0].bbox, XyxyBox::new(x1 + 1.0, y1, x2, y2 - 1.0));
}

#[rstest]
#[case::scaled([96, 64], [16, 16, 48, 32], false)]
#[case::beyond_the_picture([40, 60], [8, 40, 24, 60], false)]
#[case::a_wrong_size_with_right_boxes([100, 100], WHITE, true)]
#[case::sides_exchanged_in_the_labels([32, 48], WHITE, true)]
#[case::a_pixel_more([49, 32], WHITE, true)]
fn a_picture_with_boxes_of_another_size_is_not_given_out(
    #[case] stated: [u32; 2],
    #[case] corners: [u32; 4],
    #[case] is_given: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    write_picture(&path, 1);
    write_labels(folder.path(), Format::Coco, "a.png", stated, corners);
    let records = parse(folder.path(), Format::Coco, PictureCheck::Exists).dataset.records;
    match Pictures::new(records).get(0) {
        Ok(sample) => {
            assert!(is_given);
            assert_eq!(sample.objects[0].bbox, XyxyBox::from(corners.map(|x| x as f32)));
        }
        Err(error) => {
            assert!(!is_given && matches!(error, Error::SizeMismatch { .. }), "{error}");
            let [width, height] = stated;
            let message = format!("a picture of {height}x{width}, it is 32x48 (height x width)");
            assert!(error.to_string().contains(&message) && error.to_string().contains("a.png"), "{error}");
        }
    }
}
