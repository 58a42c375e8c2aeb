//! Resampling, letterbox and normalisation against Pillow, effdet and torch (`tools/golden/make_preprocess.py`).

use std::path::{Path, PathBuf};

use effdet_core::{ImageSize, Placement};
use effdet_data::{DecodeLimits, Error, Fill, Interpolation, Preprocess, decode_file, resize};
use image::RgbImage;
use rstest::rstest;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn picture(name: &str) -> RgbImage {
    decode_file(fixture(name), &DecodeLimits::default()).unwrap()
}

/// Largest difference of two pictures and the share of samples that differ.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differing = a.iter().zip(b.iter()).filter(|(a, b)| a != b).count();
    let largest = a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    (largest, differing as f64 / a.len() as f64)
}

#[rstest]
fn resizing_equals_pillow_to_the_last_bit(
    #[values("noise", "gradient", "detail")] source: &str,
    #[values(
        ("nearest", Interpolation::Nearest),
        ("bilinear", Interpolation::Bilinear),
        ("bicubic", Interpolation::Bicubic),
        ("lanczos", Interpolation::Lanczos)
    )]
    (filter, interpolation): (&str, Interpolation),
    #[values((16, 16), (31, 7), (29, 45), (40, 9), (25, 17), (1, 1))] (height, width): (usize, usize),
) {
    let input = picture(&format!("resize/{source}.png"));
    let expected = picture(&format!("resize/{source}_{filter}_{height}x{width}.png"));
    let resized = resize(&input, ImageSize::new(height, width), interpolation).unwrap();
    assert_eq!(difference(&resized, &expected), (0, 0.0));
}

#[rstest]
fn tf_bilinear_equals_interpolation_without_antialiasing(
    #[values("noise", "gradient", "detail")] source: &str,
    #[values((16, 16), (31, 7), (29, 45), (40, 9), (25, 17), (1, 1))] (height, width): (usize, usize),
) {
    let input = picture(&format!("resize/{source}.png"));
    let expected = picture(&format!("resize/{source}_tf_bilinear_{height}x{width}.png"));
    let resized = resize(&input, ImageSize::new(height, width), Interpolation::TfBilinear).unwrap();
    let (largest, share) = difference(&resized, &expected);
    // The order of the float operations differs, which moves a few halves across the rounding.
    assert!(largest <= 1 && share < 0.01, "{largest} levels, {share} of the samples");
}

#[test]
fn threads_do_not_change_the_result() {
    let input = picture("resize/noise.png");
    let size = ImageSize::new(700, 900);
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for interpolation in [Interpolation::Bilinear, Interpolation::TfBilinear] {
        let alone = single.install(|| resize(&input, size, interpolation).unwrap());
        assert_eq!(resize(&input, size, interpolation).unwrap(), alone);
    }
}

#[test]
fn a_size_without_pixels_is_refused() {
    let input = picture("resize/noise.png");
    let error = resize(&input, ImageSize::new(0, 4), Interpolation::Bilinear).unwrap_err();
    assert_eq!(error.to_string(), "cannot resize a picture of 25x33 to 0x4: a side is 0 or too long");
    let preprocess = Preprocess::imagenet(ImageSize::square(8));
    assert!(matches!(preprocess.apply(&RgbImage::new(0, 0)), Err(Error::EmptyResize { .. })));
}

#[rstest]
#[case("noise", 40, 40)]
#[case("detail", 16, 16)]
#[case("gradient", 48, 20)]
fn letterbox_equals_effdet_resize_pad(#[case] source: &str, #[case] height: usize, #[case] width: usize) {
    let key = format!("{source}_{height}x{width}");
    let preprocess = Preprocess::imagenet(ImageSize::new(height, width));
    let prepared = preprocess.apply(&picture(&format!("resize/{source}.png"))).unwrap();
    assert_eq!(prepared.pixels, *picture(&format!("letterbox/{key}.png")).as_raw());
    let expected = expected()["img_scale"][&key].as_f64().unwrap();
    assert_eq!(prepared.letterbox.img_scale(), expected);
}

fn expected() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture("letterbox/expected.json")).unwrap()).unwrap()
}

#[rstest]
#[case(256)]
#[case(1 << 19)]
fn normalization_has_the_bits_of_the_reference_for_every_level(#[case] pixels: usize) {
    // Red, green and blue run through all levels, each with another phase.
    let picture = RgbImage::from_fn(256, (pixels / 256) as u32, |x, y| {
        image::Rgb([x as u8, (x + y) as u8, (255 - x) as u8])
    });
    let preprocess = Preprocess::imagenet(ImageSize::new(pixels / 256, 256));
    let prepared = preprocess.apply(&picture).unwrap();
    let normalized = preprocess.normalize(&prepared);

    let expected = expected();
    for (channel, plane) in normalized.chunks_exact(pixels).enumerate() {
        for (value, pixel) in plane.iter().zip(picture.pixels()) {
            let bits = expected["normalized_bits"][channel][usize::from(pixel[channel])].as_i64().unwrap();
            assert_eq!(value.to_bits() as i32, bits as i32, "channel {channel} level {}", pixel[channel]);
        }
    }
    let mut batch = vec![f32::NAN; 2 * normalized.len()];
    preprocess.normalize_into(&prepared, &mut batch[normalized.len()..]).unwrap();
    assert_eq!(batch[normalized.len()..], normalized);
}

#[test]
fn a_buffer_of_another_size_is_refused() {
    let preprocess = Preprocess::imagenet(ImageSize::square(4));
    let prepared = preprocess.apply(&RgbImage::new(4, 4)).unwrap();
    let error = preprocess.normalize_into(&prepared, &mut [0.0; 47]).unwrap_err();
    assert_eq!(error.to_string(), "the buffer holds 47 values, the picture needs 48");
}

#[test]
fn centred_pictures_have_fill_on_both_sides() {
    let preprocess = Preprocess {
        placement: Placement::Center,
        fill: Fill::Color([1, 2, 3]),
        ..Preprocess::imagenet(ImageSize::square(4))
    };
    let white = RgbImage::from_pixel(8, 4, image::Rgb([255; 3]));
    let prepared = preprocess.apply(&white).unwrap();
    let rows: Vec<&[u8]> = prepared.pixels.chunks_exact(12).collect();
    let fill = [1, 2, 3].repeat(4);
    assert_eq!(rows, [&fill[..], &[255; 12], &[255; 12], &fill]);
}

#[test]
fn mean_fill_is_the_rounded_mean() {
    let imagenet = Preprocess::imagenet(ImageSize::square(4));
    assert_eq!(imagenet.fill_color(), [124, 116, 104]);
    assert_eq!(Preprocess { mean: [0.5; 3], ..imagenet }.fill_color(), [128; 3]);
}

/// Why the resampling is our own: fast_image_resize rounds its weights to 16 bits, Pillow to 22.
#[test]
fn fast_image_resize_is_close_to_pillow_but_not_equal() {
    use fast_image_resize::images::{TypedImage, TypedImageRef};
    use fast_image_resize::pixels::U8x3;
    use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
    let input = picture("resize/noise.png");
    // Of one pixel type: the untyped call compiles the kernels of all of them into this program, which takes minutes.
    let source = TypedImageRef::<U8x3>::from_buffer(input.width(), input.height(), input.as_raw()).unwrap();
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let mut largest = 0;
    for (height, width) in [(16, 16), (31, 7), (29, 45), (40, 9)] {
        let mut theirs = RgbImage::new(width, height);
        let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut theirs).unwrap();
        Resizer::new().resize_typed(&source, &mut target, &options).unwrap();
        let ours =
            resize(&input, ImageSize::new(height as usize, width as usize), Interpolation::Bilinear).unwrap();
        let (levels, share) = difference(&ours, &theirs);
        println!("{height}x{width}: {levels} levels, {:.2} % of the samples", 100.0 * share);
        largest = largest.max(levels);
    }
    assert_eq!(largest, 1);
}
