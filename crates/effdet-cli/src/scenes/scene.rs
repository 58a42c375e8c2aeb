//! One picture: a background, clutter, and shapes that hide each other in part.

use effdet::data::Object;
use effdet::data::transform::Rng;
use effdet::prelude::*;
use image::Rgb;

use super::paint::{Paint, direction, hash, mix};
use super::shape::{SHAPES, Shape};

/// Sides of a picture in pixels.
const SIDES: (i64, i64) = (224, 320);
/// Shapes that are tried for a picture; one that would be hidden too much is left out.
const SHAPES_TRIED: (i64, i64) = (2, 8);
/// Radius of a shape, of the picture's shorter side.
const RADIUS: (f64, f64) = (0.06, 0.27);
/// Part of a shape that is to be seen, and how many pixels at least.
const VISIBLE: f32 = 0.5;
const VISIBLE_PIXELS: usize = 150;
/// Samples of a pixel's coverage in each direction.
const SAMPLES: u8 = 4;

/// A picture with its labels.
pub struct Scene {
    /// The picture.
    pub picture: RgbImage,
    /// The shapes: each box is tight around the visible part, each area its number of pixels.
    pub objects: Vec<Object>,
}

/// A shape in a place.
struct Item {
    contains: fn(f32, f32) -> bool,
    center: (f32, f32),
    /// Radius along the shape's own axes.
    radius: (f32, f32),
    /// Cosine and sine of its turn.
    turn: (f32, f32),
    paint: Paint,
}

impl Item {
    /// A point of the picture in the shape's own coordinates.
    fn own(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let (cos, sin) = self.turn;
        ((cos * dx + sin * dy) / self.radius.0, (cos * dy - sin * dx) / self.radius.1)
    }

    fn covers(&self, x: f32, y: f32) -> bool {
        let (x, y) = self.own(x, y);
        (self.contains)(x, y)
    }

    /// Part of the pixel that the shape covers.
    fn coverage(&self, column: i32, row: i32) -> f32 {
        let (left, top) = (column as f32, row as f32);
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)];
        match corners.iter().filter(|(x, y)| self.covers(left + x, top + y)).count() {
            0 if !self.covers(left + 0.5, top + 0.5) => return 0.0,
            4 => return 1.0,
            _ => {}
        }
        let at = |sample: u8| (f32::from(sample) + 0.5) / f32::from(SAMPLES);
        let samples = (0..SAMPLES).flat_map(|y| (0..SAMPLES).map(move |x| (at(x), at(y))));
        let inside = samples.filter(|(x, y)| self.covers(left + x, top + y)).count();
        inside as f32 / f32::from(SAMPLES * SAMPLES)
    }

    /// The pixels that the shape can touch, whether in the picture or not.
    fn pixels(&self) -> impl Iterator<Item = (i32, i32)> {
        let reach = self.radius.0.max(self.radius.1) * 1.05 + 1.0;
        let (x, y) = self.center;
        let columns = (x - reach).floor() as i32..=(x + reach).ceil() as i32;
        let rows = (y - reach).floor() as i32..=(y + reach).ceil() as i32;
        rows.flat_map(move |row| columns.clone().map(move |column| (column, row)))
    }
}

/// Everything that is drawn, before it is.
pub struct Layout {
    width: i32,
    height: i32,
    background: Paint,
    clutter: Vec<Item>,
    /// The shapes, from the front to the back, each with its class.
    items: Vec<(usize, Item)>,
    exposure: f32,
    noise: f32,
    seed: u64,
}

impl Layout {
    /// The layout of a picture with shapes of the first `classes` classes.
    pub fn new(rng: &mut Rng, classes: usize) -> Self {
        let (width, height) = (rng.int(SIDES.0, SIDES.1) as i32, rng.int(SIDES.0, SIDES.1) as i32);
        let background = Paint::background(rng);
        let clutter = (0..rng.int(0, 7)).map(|_| bar(rng, width, height, &background)).collect();
        let mut layout = Self {
            width,
            height,
            background,
            clutter,
            items: Vec::new(),
            exposure: rng.uniform(0.6, 1.15) as f32,
            noise: rng.uniform(0.0, 0.08) as f32,
            seed: rng.next_u64(),
        };
        let mut taken = vec![false; (width * height) as usize];
        for _ in 0..rng.int(SHAPES_TRIED.0, SHAPES_TRIED.1) {
            let class = rng.below(classes.min(SHAPES.len()));
            let item = layout.place(rng, &SHAPES[class]);
            let mut seen = Vec::new();
            let mut all = 0;
            for (column, row) in item.pixels().filter(|(column, row)| item.coverage(*column, *row) >= 0.5) {
                all += 1;
                seen.extend(layout.index(column, row).filter(|index| !taken[*index]));
            }
            // The first shape lies in front of the others.
            if seen.len() >= VISIBLE_PIXELS && seen.len() as f32 >= VISIBLE * all as f32 {
                seen.iter().for_each(|index| taken[*index] = true);
                layout.items.push((class, item));
            }
        }
        layout
    }

    fn place(&self, rng: &mut Rng, shape: &Shape) -> Item {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        // Squared, because small things are more frequent than large ones.
        let draw = rng.unit();
        let radius = width.min(height) * (RADIUS.0 + (RADIUS.1 - RADIUS.0) * draw * draw.sqrt());
        let aspect = rng.uniform(0.8, 1.0);
        Item {
            contains: shape.contains,
            center: (
                rng.uniform(0.03, 0.97) as f32 * width as f32,
                rng.uniform(0.03, 0.97) as f32 * height as f32,
            ),
            radius: (radius as f32, (radius * aspect) as f32),
            turn: direction(rng),
            paint: Paint::object(rng, &self.background),
        }
    }

    fn index(&self, column: i32, row: i32) -> Option<usize> {
        let inside = (0..self.width).contains(&column) && (0..self.height).contains(&row);
        inside.then(|| (row * self.width + column) as usize)
    }

    /// Draws the layout.
    pub fn render(&self) -> Scene {
        let side = self.width.max(self.height) as f32;
        let pixels = (0..self.height).flat_map(|row| (0..self.width).map(move |column| (column, row)));
        let mut colors: Vec<_> =
            pixels.map(|(column, row)| self.background.at(column as f32 / side, row as f32 / side)).collect();
        for item in &self.clutter {
            self.draw(item, &mut colors, |_| {});
        }
        let mut owners = vec![None; colors.len()];
        for (number, (_, item)) in self.items.iter().enumerate().rev() {
            self.draw(item, &mut colors, |index| owners[index] = Some(number));
        }
        Scene { picture: self.develop(&colors), objects: self.objects(&owners) }
    }

    fn draw(&self, item: &Item, colors: &mut [[f32; 3]], mut owns: impl FnMut(usize)) {
        for (column, row) in item.pixels() {
            let Some(index) = self.index(column, row) else { continue };
            let coverage = item.coverage(column, row);
            if coverage == 0.0 {
                continue;
            }
            let (x, y) = item.own(column as f32 + 0.5, row as f32 + 0.5);
            // Light from the upper left.
            let light = 0.9 - 0.12 * (item.turn.0 + item.turn.1) * x - 0.12 * (item.turn.0 - item.turn.1) * y;
            colors[index] = mix(colors[index], item.paint.at(x, y).map(|level| level * light), coverage);
            if coverage >= 0.5 {
                owns(index);
            }
        }
    }

    /// Exposure and noise of a camera.
    fn develop(&self, colors: &[[f32; 3]]) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |column, row| {
            let index = row as usize * self.width as usize + column as usize;
            Rgb([0, 1, 2].map(|channel: usize| {
                let grain = hash(index as i64, channel as i64, self.seed) - 0.5;
                let level = colors[index][channel] * self.exposure + grain * self.noise;
                (level.clamp(0.0, 1.0) * 255.0).round() as u8
            }))
        })
    }

    fn objects(&self, owners: &[Option<usize>]) -> Vec<Object> {
        let mut extents = vec![Extent::default(); self.items.len()];
        for (index, owner) in owners.iter().enumerate() {
            let Some(owner) = *owner else { continue };
            let (column, row) = (index as i32 % self.width, index as i32 / self.width);
            extents[owner].add(column, row);
        }
        let labelled = self.items.iter().zip(&extents);
        labelled
            .map(|((class, _), extent)| Object {
                bbox: extent.bbox(),
                class_id: *class as u32 + 1,
                area: Some(extent.count as f32),
                ..Object::default()
            })
            .collect()
    }
}

/// A thin bar, which is no shape to be found.
fn bar(rng: &mut Rng, width: i32, height: i32, background: &Paint) -> Item {
    let radius = rng.uniform(20.0, 160.0);
    Item {
        contains: |x, y| x.abs() <= 1.0 && y.abs() <= 1.0,
        center: (rng.uniform(0.0, f64::from(width)) as f32, rng.uniform(0.0, f64::from(height)) as f32),
        radius: (radius as f32, rng.uniform(0.8, 3.0) as f32),
        turn: direction(rng),
        paint: Paint::object(rng, background),
    }
}

/// The pixels of an object.
#[derive(Debug, Clone, Copy)]
struct Extent {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
    count: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self { left: i32::MAX, top: i32::MAX, right: i32::MIN, bottom: i32::MIN, count: 0 }
    }
}

impl Extent {
    fn add(&mut self, column: i32, row: i32) {
        (self.left, self.right) = (self.left.min(column), self.right.max(column + 1));
        (self.top, self.bottom) = (self.top.min(row), self.bottom.max(row + 1));
        self.count += 1;
    }

    fn bbox(&self) -> XyxyBox {
        let [x1, y1, x2, y2] = [self.left, self.top, self.right, self.bottom].map(|side| side as f32);
        XyxyBox { x1, y1, x2, y2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(seed: u64) -> Layout {
        Layout::new(&mut Rng::new(seed), SHAPES.len())
    }

    /// Where two pictures differ.
    fn difference(a: &RgbImage, b: &RgbImage) -> Extent {
        let mut extent = Extent::default();
        for (x, y, pixel) in a.enumerate_pixels() {
            if pixel != b.get_pixel(x, y) {
                extent.add(x as i32, y as i32);
            }
        }
        extent
    }

    #[test]
    fn a_box_is_where_the_picture_changes_without_its_shape() {
        let (mut all, mut pointed) = (0, 0);
        for seed in 0..60 {
            let mut layout = layout(seed);
            // A back wall of one colour and a steady hand, so that what changes is the shape alone.
            (layout.noise, layout.exposure) = (0.0, 1.0);
            let whole = layout.render();
            for number in 0..layout.items.len() {
                let item = layout.items.remove(number);
                let without = layout.render();
                layout.items.insert(number, item);
                let bbox = whole.objects[number].bbox;
                let changed = difference(&whole.picture, &without.picture).bbox();
                // Pixels that the shape covers by less than a half change, too: one beside an edge; more where it ends in a
                // point, of its own or beside what hides it.
                let sides = [
                    (changed.x1, bbox.x1),
                    (changed.y1, bbox.y1),
                    (bbox.x2, changed.x2),
                    (bbox.y2, changed.y2),
                ];
                for (outer, inner) in sides {
                    let off = inner - outer;
                    assert!((-1.0..=4.0).contains(&off), "seed {seed}: {bbox:?} and {changed:?}");
                    (all, pointed) = (all + 1, pointed + u32::from(off > 1.0));
                }
            }
        }
        assert!(pointed * 20 < all, "{pointed} of {all} sides more than a pixel off");
    }

    #[test]
    fn every_shape_is_half_visible_and_in_the_picture() {
        let mut objects = 0;
        for seed in 0..60 {
            let layout = layout(seed);
            let scene = layout.render();
            let (width, height) = (scene.picture.width() as f32, scene.picture.height() as f32);
            assert_eq!(scene.objects.len(), layout.items.len());
            for object in &scene.objects {
                assert_eq!(object.bbox, object.bbox.clip_to(width, height));
                assert!(object.area.unwrap() >= VISIBLE_PIXELS as f32);
                assert!(object.area.unwrap() <= object.bbox.area());
            }
            objects += scene.objects.len();
        }
        assert!((120..480).contains(&objects), "{objects} objects");
    }
}
