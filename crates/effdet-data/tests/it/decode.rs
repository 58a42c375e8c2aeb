//! Decoding of the odd cases against Pillow (`tools/golden/make_preprocess.py`).

use std::path::{Path, PathBuf};

use effdet_data::{DecodeLimits, Error, decode_bytes, decode_file};
use image::RgbImage;
use proptest::prelude::*;
use rstest::rstest;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn decode(name: &str) -> Result<RgbImage, Error> {
    decode_file(fixture(&format!("decode/{name}")), &DecodeLimits::default())
}

fn pillow(name: &str) -> RgbImage {
    decode_file(fixture(&format!("decoded/{name}.png")), &DecodeLimits::default()).unwrap()
}

#[rstest]
#[case::bmp("rgb.bmp")]
#[case::tiff_lzw("rgb.tif")]
#[case::lossless_webp("lossless.webp")]
#[case::palette_gif("palette.gif")]
#[case::one_bit("bits.png")]
#[case::grey_and_alpha("grey_alpha.png")]
#[case::alpha_is_dropped_without_blending("rgba.png")]
#[case::palette_with_transparency("palette_transparent.png")]
#[case::sixteen_bit_grey("grey16.png")]
#[case::one_pixel("one_pixel.png")]
#[case::content_decides_not_the_extension("png_named.jpg")]
#[case("orientation_6.webp")]
#[case("orientation_6.tif")]
fn lossless_pictures_decode_as_in_pillow(#[case] name: &str) {
    assert_eq!(decode(name).unwrap(), pillow(name));
}

#[rstest]
fn png_orientation_is_applied(#[values(1, 2, 3, 4, 5, 6, 7, 8)] orientation: u8) {
    let name = format!("orientation_{orientation}.png");
    assert_eq!(decode(&name).unwrap(), pillow(&name));
}

#[rstest]
#[case("rgb.jpg", 2)]
#[case("rgb_420.jpg", 5)]
#[case("rgb_progressive.jpg", 5)]
#[case("grey.jpg", 2)]
#[case("cmyk_adobe.jpg", 3)]
#[case("cmyk_plain.jpg", 3)]
#[case::orientation("orientation_1.jpg", 2)]
#[case::orientation("orientation_2.jpg", 2)]
#[case::orientation("orientation_3.jpg", 2)]
#[case::orientation("orientation_4.jpg", 2)]
#[case::orientation("orientation_5.jpg", 2)]
#[case::orientation("orientation_6.jpg", 2)]
#[case::orientation("orientation_7.jpg", 2)]
#[case::orientation("orientation_8.jpg", 2)]
fn jpeg_is_within_a_few_levels_of_pillow(#[case] name: &str, #[case] levels: u8) {
    let (ours, theirs) = (decode(name).unwrap(), pillow(name));
    assert_eq!(ours.dimensions(), theirs.dimensions());
    let largest = ours.iter().zip(theirs.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    println!("{name}: {largest} levels");
    assert!(largest <= levels, "{largest} levels");
}

#[rstest]
#[case("truncated.jpg")]
#[case("truncated.progressive.jpg")]
#[case("truncated.png")]
fn a_cut_picture_is_an_error(#[case] name: &str) {
    let error = decode(name).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
    assert!(error.to_string().ends_with(&format!("{name}: the picture is truncated")), "{error}");
}

#[test]
fn a_jpeg_that_lacks_only_its_end_marker_decodes() {
    assert_eq!(decode("truncated_end_marker.jpg").unwrap(), decode("rgb.jpg").unwrap());
}

#[rstest]
#[case("bomb.gif")]
#[case("bomb.png")]
fn a_bomb_is_refused_by_its_header(#[case] name: &str) {
    assert!(matches!(decode(name), Err(Error::TooManyPixels { max_pixels: 178_956_970, .. })));
}

#[test]
fn the_memory_limit_counts_the_copies() {
    let limits = DecodeLimits { max_alloc: 20_000, ..DecodeLimits::default() };
    let result = decode_file(fixture("decode/rgb.bmp"), &limits);
    assert!(result.is_ok(), "{result:?}");
    for name in ["rgb.bmp", "rgba.png", "rgb_progressive.jpg", "lossless.webp", "palette.gif"] {
        let limits = DecodeLimits { max_alloc: 4_000, ..DecodeLimits::default() };
        let result = decode_file(fixture(&format!("decode/{name}")), &limits);
        assert!(matches!(result, Err(Error::TooMuchMemory { max_alloc: 4_000, .. })), "{name}: {result:?}");
    }
}

#[test]
fn a_webp_whose_exif_claims_gigabytes_is_read_without_them() {
    let mut webp = std::fs::read(fixture("decode/lossless.webp")).unwrap();
    let vp8l = webp.split_off(12);
    let mut extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0".to_vec();
    let picture = decode("lossless.webp").unwrap();
    extended.extend(&(picture.width() - 1).to_le_bytes()[..3]);
    extended.extend(&(picture.height() - 1).to_le_bytes()[..3]);
    extended.extend(vp8l);
    extended.extend(b"EXIF\xf0\xff\xff\xffII");
    let size = extended.len() as u32 - 8;
    extended[4..8].copy_from_slice(&size.to_le_bytes());
    assert_eq!(decode_bytes(&extended, "bomb.webp", &DecodeLimits::default()).ok(), Some(picture.clone()));
    let header = effdet_data::header_of_bytes(&extended, "bomb.webp").unwrap().size;
    assert_eq!((header.width, header.height), (picture.width() as usize, picture.height() as usize));
}

#[test]
fn what_is_no_picture_is_named_in_the_error() {
    assert!(matches!(decode("empty.jpg"), Err(Error::Empty { .. })));
    assert!(matches!(decode("text.jpg"), Err(Error::NotAPicture { .. })));
    assert!(matches!(decode("absent.jpg"), Err(Error::Read { .. })));
    assert!(matches!(decode("."), Err(Error::Read { .. })));
    let icon = b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0";
    let error = decode_bytes(icon, "favicon", &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "favicon: unsupported picture: Ico files");
}

proptest! {
    #[test]
    fn damaged_pictures_give_a_picture_or_an_error(
        name in prop::sample::select(vec![
            "rgb_420.jpg", "rgb_progressive.jpg", "cmyk_adobe.jpg", "rgba.png", "palette.gif", "rgb.tif", "rgb.bmp",
            "lossless.webp",
        ]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in 0.2f64..=1.0,
    ) {
        let mut bytes = std::fs::read(fixture(&format!("decode/{name}"))).unwrap();
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        for (index, byte) in damage {
            *index.get_mut(&mut bytes) = byte;
        }
        let limits = DecodeLimits { max_pixels: 1 << 22, max_alloc: 1 << 27 };
        if let Ok(picture) = decode_bytes(&bytes, name, &limits) {
            prop_assert!(picture.width() > 0 && picture.height() > 0);
        }
    }
}

#[cfg(feature = "libjpeg-turbo")]
#[rstest]
fn libjpeg_turbo_decodes_the_bits_of_pillow(
    #[values(
        "rgb.jpg",
        "rgb_420.jpg",
        "rgb_progressive.jpg",
        "grey.jpg",
        "orientation_6.jpg",
        "orientation_7.jpg"
    )]
    name: &str,
) {
    assert_eq!(decode(name).unwrap(), pillow(name));
}
