//! Colours of classes and of the text on them.

use image::Rgb;

/// The colour of a class: the same for an id in every picture and run, and far from those of the next ids.
///
/// The hue advances by the golden angle; saturation and value alternate, so that hues that come close differ otherwise.
pub fn class_color(class_id: u32) -> Rgb<u8> {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    const TONES: [(f64, f64); 3] = [(0.85, 0.95), (0.55, 0.95), (0.9, 0.65)];
    let hue = (f64::from(class_id) * GOLDEN).fract() * 6.0;
    let (saturation, value) = TONES[class_id as usize % TONES.len()];
    // Each channel is a trapezoid over the hue, a third of the circle apart.
    let channel = |shift: f64| {
        let k = (shift + hue) % 6.0;
        let level = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (level * 255.0).round() as u8
    };
    Rgb([channel(5.0), channel(3.0), channel(1.0)])
}

/// Black or white, whichever contrasts more with `background`; the ratio is at least 4.5 on any colour.
///
/// # Reference
/// WCAG 2.1, "contrast ratio": black and white are equally far from a luminance of 0.179.
pub fn text_color(background: Rgb<u8>) -> Rgb<u8> {
    if luminance(background) > 0.179 { Rgb([0; 3]) } else { Rgb([255; 3]) }
}

/// Relative luminance of an sRGB colour, 0 to 1.
fn luminance(color: Rgb<u8>) -> f64 {
    let linear = |level: u8| {
        let x = f64::from(level) / 255.0;
        if x <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = color.0.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_legible_on_every_class_colour() {
        for id in 0..2000 {
            let background = class_color(id);
            let (a, b) = (luminance(background), luminance(text_color(background)));
            let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(ratio >= 4.5, "class {id}: {ratio}");
        }
    }

    #[test]
    fn neighbouring_classes_have_distant_colours() {
        let distance = |a: Rgb<u8>, b: Rgb<u8>| (0..3).map(|c| u32::from(a[c].abs_diff(b[c]))).sum::<u32>();
        for id in 1..90 {
            for next in 1..=3 {
                assert!(distance(class_color(id), class_color(id + next)) > 90, "{id} and {}", id + next);
            }
        }
    }

    #[test]
    fn colours_stay_from_release_to_release() {
        assert_eq!([1, 2, 3].map(|id| class_color(id).0), [[109, 148, 242], [104, 166, 17], [242, 36, 217]]);
    }
}
