//! What is looked for: nine shapes, each a set of points of the unit disc.

/// A class of shapes.
#[derive(Debug)]
pub struct Shape {
    /// Name of the class.
    pub name: &'static str,
    /// Whether a point belongs to the shape; x to the right, y down, all points within the unit disc.
    pub contains: fn(f32, f32) -> bool,
}

/// The classes in the order of their ids, from 1.
pub const SHAPES: [Shape; 9] = [
    Shape { name: "disc", contains: |x, y| x * x + y * y <= 1.0 },
    Shape {
        name: "ring",
        contains: |x, y| {
            let r = x * x + y * y;
            (0.33..=1.0).contains(&r)
        },
    },
    Shape { name: "square", contains: |x, y| x.abs() <= 0.707 && y.abs() <= 0.707 },
    Shape { name: "triangle", contains: |x, y| y <= 0.5 && 0.866_025_4 * x.abs() - 0.5 * y <= 0.5 },
    Shape { name: "star", contains: star },
    Shape {
        name: "cross",
        contains: |x, y| {
            let (x, y) = (x.abs(), y.abs());
            x.min(y) <= 0.3 && x.max(y) <= 0.95
        },
    },
    Shape { name: "heart", contains: heart },
    Shape {
        name: "crescent",
        contains: |x, y| x * x + y * y <= 1.0 && (x - 0.5) * (x - 0.5) + y * y >= 0.5625,
    },
    Shape {
        name: "arrow",
        contains: |x, y| {
            let shaft = (-0.95..=0.1).contains(&x) && y.abs() <= 0.25;
            let head = (0.0..=0.95).contains(&x) && y.abs() <= 0.8 * (0.95 - x);
            shaft || head
        },
    },
];

/// How many of [`SHAPES`], from the first on, the checkpoint in the binary knows.
pub const KNOWN: usize = 6;

/// The pentagram: at least four of the five half-planes that make the pentagon in its middle.
fn star(x: f32, y: f32) -> bool {
    const NORMALS: [(f32, f32); 5] = [
        (0.0, 1.0),
        (0.951_056_5, 0.309_017),
        (0.587_785_25, -0.809_017),
        (-0.587_785_25, -0.809_017),
        (-0.951_056_5, 0.309_017),
    ];
    // A little more than 0.309, for stars with some body; the points still end at the disc.
    let inside = NORMALS.iter().filter(|(a, b)| a * x + b * y <= 0.36).count();
    inside >= 4 && x * x + y * y <= 1.0
}

/// `(x² + y² - 1)³ <= x² y³`, turned upright and shrunk into the disc.
fn heart(x: f32, y: f32) -> bool {
    let (x, y) = (1.35 * x, 0.1 - 1.35 * y);
    let edge = x * x + y * y - 1.0;
    edge * edge * edge <= x * x * y * y * y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_fill_the_disc_and_stay_in_it() {
        for shape in &SHAPES {
            let (mut inside, mut farthest) = (0, 0f32);
            for row in -150i16..=150 {
                for column in -150i16..=150 {
                    let (x, y) = (f32::from(column) / 100.0, f32::from(row) / 100.0);
                    if (shape.contains)(x, y) {
                        inside += 1;
                        farthest = farthest.max(x * x + y * y);
                    }
                }
            }
            let (area, reach) = (f64::from(inside) / 1e4, farthest.sqrt());
            assert!((0.6..3.2).contains(&area), "{}: area {area}", shape.name);
            assert!((0.9..1.05).contains(&reach), "{}: reaches {reach}", shape.name);
        }
    }
}
