//! Boxes and labels on a picture.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use effdet_core::{ClassMap, Detection, XyxyBox};
use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_filled_rect_mut, draw_text_mut, text_size};
use imageproc::rect::Rect;

use crate::color::{class_color, text_color};

/// How detections are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Width of the box edges in pixels. By default 1/320 of the mean side, rounded, at least 2.
    pub line_width: Option<u32>,
    /// Height of the label's text in pixels. By default 2.6 % of the mean side, at least 12.
    pub font_size: Option<f32>,
    /// Whether boxes have a label "name 0.87".
    pub labels: bool,
    /// Whether the label has the score; not for labelled objects, which have none.
    pub scores: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { line_width: None, font_size: None, labels: true, scores: true }
    }
}

impl Style {
    fn line_width_for(&self, picture: &RgbImage) -> i32 {
        let width = self.line_width.unwrap_or_else(|| (mean_side(picture) / 320.0).round().max(2.0) as u32);
        width.clamp(1, 1 << 12) as i32
    }

    fn font_size_for(&self, picture: &RgbImage) -> f32 {
        let size = self.font_size.filter(|size| size.is_finite());
        size.unwrap_or_else(|| (mean_side(picture) * 0.026).max(12.0)).clamp(1.0, 512.0)
    }
}

fn mean_side(picture: &RgbImage) -> f32 {
    (picture.width() as f32).midpoint(picture.height() as f32)
}

#[expect(clippy::expect_used, reason = "the font is compiled in, and any test that draws a label reads it")]
static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::bold()).expect("DejaVu Sans is a font"));

/// Draws `detections` on `picture`: the box in the colour of its class, see [`class_color`], and above it a filled label
/// "name 0.87" in black or white.
///
/// Boxes are in pixels of `picture`. What lies outside is cut off; a box that lies wholly outside, is inverted or not
/// finite is left out. Labels are moved inside the picture and away from those of higher score, and a name that is too
/// long for it is shortened. Detections of higher score are drawn over those of lower score, and labels over boxes.
pub fn annotate(picture: &mut RgbImage, detections: &[Detection], classes: &ClassMap, style: &Style) {
    let mut visible: Vec<(&Detection, Edges)> =
        detections.iter().filter_map(|d| Some((d, Edges::new(d.bbox, picture)?))).collect();
    visible.sort_by(|(a, _), (b, _)| a.score.total_cmp(&b.score));

    let line_width = style.line_width_for(picture);
    for (detection, edges) in &visible {
        edges.draw(picture, line_width, class_color(detection.class_id));
    }
    if style.labels {
        let font_size = PxScale::from(style.font_size_for(picture));
        let mut taken: Vec<Edges> = Vec::with_capacity(visible.len());
        // The best have the first choice of place, and lie on top all the same.
        let labels: Vec<_> = visible
            .iter()
            .rev()
            .map(|(detection, edges)| {
                let name = classes.label(detection.class_id);
                let score = style.scores.then_some(detection.score);
                let text = fitting_label(&name, score, font_size, picture.width());
                let area = place(edges, label_size(&text, font_size), picture, &taken);
                taken.push(area);
                (area, text, class_color(detection.class_id))
            })
            .collect();
        for (area, text, color) in labels.iter().rev() {
            draw_label(picture, *area, text, font_size, *color);
        }
    }
}

/// A box in whole pixels, the right and bottom exclusive; may reach a little over the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Edges {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Edges {
    /// `None` if nothing of the box is to be seen.
    fn new(bbox: XyxyBox, picture: &RgbImage) -> Option<Self> {
        let XyxyBox { x1, y1, x2, y2 } = bbox;
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let finite = [x1, y1, x2, y2].iter().all(|v| v.is_finite());
        let inside = x1 < width && y1 < height && x2 > 0.0 && y2 > 0.0;
        if !finite || x2 < x1 || y2 < y1 || !inside {
            return None;
        }
        /// Farther out than any line is wide, so that edges beyond the picture stay invisible.
        const MARGIN: f32 = 8192.0;
        let near = |value: f32, limit: f32| value.clamp(-MARGIN, limit + MARGIN).round() as i32;
        let (left, top) = (near(x1, width).min(width as i32 - 1), near(y1, height).min(height as i32 - 1));
        Some(Self { left, top, right: near(x2, width).max(left + 1), bottom: near(y2, height).max(top + 1) })
    }

    /// Pixels that are in both.
    fn shared(&self, other: &Self) -> i64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        i64::from(width.max(0)) * i64::from(height.max(0))
    }

    /// Fills the four edges, which lie inside the box.
    fn draw(&self, picture: &mut RgbImage, line_width: i32, color: Rgb<u8>) {
        let Self { left, top, right, bottom } = *self;
        let line = line_width.min(right - left).min(bottom - top);
        fill(picture, Edges { bottom: top + line, ..*self }, color);
        fill(picture, Edges { top: bottom - line, ..*self }, color);
        fill(picture, Edges { right: left + line, ..*self }, color);
        fill(picture, Edges { left: right - line, ..*self }, color);
    }
}

fn fill(picture: &mut RgbImage, area: Edges, color: Rgb<u8>) {
    let (left, top) = (area.left.max(0), area.top.max(0));
    let width = area.right.min(picture.width() as i32) - left;
    let height = area.bottom.min(picture.height() as i32) - top;
    if width > 0 && height > 0 {
        draw_filled_rect_mut(picture, Rect::at(left, top).of_size(width as u32, height as u32), color);
    }
}

const ELLIPSIS: char = '\u{2026}';

/// "name 0.87" or "name", the name shortened until the label is as wide as the picture at most.
fn fitting_label(name: &str, score: Option<f32>, font_size: PxScale, width: u32) -> String {
    let font = FONT.as_scaled(font_size);
    let advance = |c: char| font.h_advance(font.glyph_id(c));
    let mut available = width as f32 - 2.0 * padding(font_size) as f32 - 1.0;
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let score = score.map_or_else(String::new, |score| format!(" {score:.2}"));
    available -= score.chars().map(advance).sum::<f32>();
    if name.chars().map(advance).sum::<f32>() <= available {
        return name + &score;
    }
    available -= advance(ELLIPSIS);
    let fits = |c: &char| {
        available -= advance(*c);
        available >= 0.0
    };
    name.chars().take_while(fits).chain([ELLIPSIS]).chain(score.chars()).collect()
}

/// Space between the text and the border of its label.
fn padding(font_size: PxScale) -> i32 {
    (font_size.y * 0.15).ceil() as i32
}

/// Width and height of a label.
fn label_size(text: &str, font_size: PxScale) -> (i32, i32) {
    let padding = padding(font_size);
    let (text_width, _) = text_size(font_size, &*FONT, text);
    let text_height = FONT.as_scaled(font_size).height().ceil() as i32;
    (text_width as i32 + 2 * padding, text_height + padding)
}

/// Where a label goes: on top of its box, inside it where there is no room, and elsewhere along its edges where it would
/// hide another label.
fn place(edges: &Edges, (width, height): (i32, i32), picture: &RgbImage, taken: &[Edges]) -> Edges {
    let (picture_width, picture_height) = (picture.width() as i32, picture.height() as i32);
    let above = if edges.top >= height { edges.top - height } else { edges.top.max(0) };
    let right = edges.right - width;
    let places = [
        (edges.left, above),
        (right, above),
        (edges.left, edges.bottom),
        (edges.left, edges.top),
        (edges.left, edges.bottom - height),
        (right, edges.bottom),
    ];
    let areas = places.map(|(left, top)| {
        let (left, top) = (left.min(picture_width - width).max(0), top.min(picture_height - height).max(0));
        Edges { left, top, right: left + width, bottom: top + height }
    });
    let hidden = |area: &Edges| taken.iter().map(|other| area.shared(other)).sum::<i64>();
    // The first of equals.
    areas.into_iter().min_by_key(hidden).unwrap_or(*edges)
}

fn draw_label(picture: &mut RgbImage, area: Edges, text: &str, font_size: PxScale, color: Rgb<u8>) {
    let padding = padding(font_size);
    fill(picture, area, color);
    let (left, top) = (area.left + padding, area.top + padding / 2);
    draw_text_mut(picture, text_color(color), left, top, font_size, &*FONT, text);
}
