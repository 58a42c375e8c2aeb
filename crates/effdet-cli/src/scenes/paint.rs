//! Colours and textures.

use effdet::data::transform::Rng;

/// Red, green and blue, each 0 to 1.
pub type Color = [f32; 3];

/// How a surface looks, as a function of its own coordinates.
#[derive(Debug, Clone)]
pub struct Paint {
    pattern: Pattern,
    colors: [Color; 2],
    /// Repeats of the pattern per unit.
    frequency: f32,
    /// Direction of gradient and stripes.
    direction: (f32, f32),
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
enum Pattern {
    Plain,
    Gradient,
    Stripes,
    Checks,
    Dots,
    Clouds,
}

const PATTERNS: [Pattern; 6] =
    [Pattern::Plain, Pattern::Gradient, Pattern::Stripes, Pattern::Checks, Pattern::Dots, Pattern::Clouds];

impl Paint {
    /// The paint of a background: two colours `spread` apart at most in each channel.
    pub fn background(rng: &mut Rng) -> Self {
        let base = color(rng);
        let spread = rng.uniform(0.05, 0.3) as f32;
        let other = base.map(|level| (level + spread * (2.0 * rng.unit() as f32 - 1.0)).clamp(0.0, 1.0));
        Self::random(rng, [base, other])
    }

    /// The paint of an object, whose colours all differ from those of `background`.
    pub fn object(rng: &mut Rng, background: &Self) -> Self {
        let mut draw = || {
            let mut best = (0.0, [0.0; 3]);
            // The first that is far enough, else the farthest.
            for _ in 0..8 {
                let color = color(rng);
                let distance = background.colors.iter().map(|b| distance(*b, color)).fold(f32::MAX, f32::min);
                if distance > best.0 {
                    best = (distance, color);
                }
                if distance > 0.7 {
                    break;
                }
            }
            best.1
        };
        let first = draw();
        let second = draw();
        // Two shades of one colour more often than two colours.
        let colors = if rng.chance(0.6) { [first, first.map(|level| level * 0.6)] } else { [first, second] };
        Self::random(rng, colors)
    }

    fn random(rng: &mut Rng, colors: [Color; 2]) -> Self {
        Self {
            pattern: *rng.choose(&PATTERNS).unwrap_or(&Pattern::Plain),
            colors,
            frequency: rng.uniform(1.5, 4.5) as f32,
            direction: direction(rng),
            seed: rng.next_u64(),
        }
    }

    /// The colour at a point of the unit disc (or, for a background, of the unit square).
    pub fn at(&self, x: f32, y: f32) -> Color {
        let (u, v) =
            (self.direction.0 * x + self.direction.1 * y, self.direction.0 * y - self.direction.1 * x);
        let (u, v) = (u * self.frequency, v * self.frequency);
        let share = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Gradient => (u / self.frequency * 0.5 + 0.5).clamp(0.0, 1.0),
            Pattern::Stripes => step(fract(u) < 0.5),
            Pattern::Checks => step((fract(u) < 0.5) ^ (fract(v) < 0.5)),
            Pattern::Dots => {
                let (a, b) = (fract(u) - 0.5, fract(v) - 0.5);
                step(a * a + b * b < 0.09)
            }
            Pattern::Clouds => clouds(u, v, self.seed),
        };
        mix(self.colors[0], self.colors[1], share)
    }
}

/// Part of the way from one colour to another.
pub fn mix(from: Color, to: Color, share: f32) -> Color {
    [0, 1, 2].map(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

/// A random direction as cosine and sine, by the rational points of the circle.
pub fn direction(rng: &mut Rng) -> (f32, f32) {
    let t = rng.uniform(-1.0, 1.0) as f32;
    let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    if rng.chance(0.5) { (cos, sin) } else { (-cos, -sin) }
}

/// A colour of any hue, mostly neither black nor white.
fn color(rng: &mut Rng) -> Color {
    let (hue, saturation, value) =
        (rng.uniform(0.0, 6.0) as f32, rng.uniform(0.0, 1.0) as f32, rng.uniform(0.2, 1.0) as f32);
    [5.0, 3.0, 1.0].map(|shift: f32| {
        let k = (shift + hue) % 6.0;
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

fn distance(a: Color, b: Color) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
}

fn step(on: bool) -> f32 {
    if on { 1.0 } else { 0.0 }
}

fn fract(x: f32) -> f32 {
    x - x.floor()
}

/// Noise of two octaves, 0 to 1.
fn clouds(x: f32, y: f32, seed: u64) -> f32 {
    (2.0 * value_noise(x, y, seed) + value_noise(2.0 * x, 2.0 * y, !seed)) / 3.0
}

fn value_noise(x: f32, y: f32, seed: u64) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (s, t) = (smooth(x - column), smooth(y - row));
    let corner = |dx: i64, dy: i64| hash(column as i64 + dx, row as i64 + dy, seed);
    let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * s;
    let bottom = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * s;
    top + (bottom - top) * t
}

/// A number from 0 to 1 for each point of a lattice.
pub fn hash(x: i64, y: i64, seed: u64) -> f32 {
    let key = (x as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (y as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let mut bits = seed ^ key;
    bits = (bits ^ (bits >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits >> 40) as f32) / ((1u32 << 24) as f32)
}
