//! Charts of a data set, as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::save::save_chart;
use crate::{Error, class_color};

type Drawn = Result<(), Box<dyn std::error::Error>>;

const SIZE: (u32, u32) = (800, 500);
const TITLE: (&str, u32) = ("sans-serif", 22);
const BAR: RGBColor = RGBColor(33, 102, 172);

/// Writes a chart with one bar for each name, the names one below the other.
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
pub fn save_bars(path: impl AsRef<Path>, title: &str, bars: &[(String, f64)]) -> Result<(), Error> {
    save_chart(path.as_ref(), |svg| draw_bars(svg, title, bars))
}

/// Writes a histogram: `counts[i]` values lie between `edges[i]` and `edges[i + 1]`. All bins are drawn equally wide.
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
///
/// # Panics
/// If there is not one edge more than there are counts.
pub fn save_histogram(
    path: impl AsRef<Path>,
    title: &str,
    x_label: &str,
    edges: &[f32],
    counts: &[usize],
) -> Result<(), Error> {
    assert_eq!(edges.len(), counts.len() + 1, "a histogram has one edge more than it has bins");
    save_chart(path.as_ref(), |svg| draw_histogram(svg, title, x_label, edges, counts))
}

/// Points of one kind in a scatter chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// What the legend calls them.
    pub name: String,
    /// Where they are; those not above 0 are left out.
    pub points: Vec<(f64, f64)>,
    /// Radius of a point in pixels.
    pub radius: u32,
}

/// Writes a chart of points with logarithmic axes, later kinds over earlier ones.
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
pub fn save_scatter(
    path: impl AsRef<Path>,
    title: &str,
    x_label: &str,
    y_label: &str,
    kinds: &[Points],
) -> Result<(), Error> {
    save_chart(path.as_ref(), |svg| draw_scatter(svg, title, x_label, y_label, kinds))
}

fn draw_bars(svg: &mut String, title: &str, bars: &[(String, f64)]) -> Drawn {
    const ROW: i32 = 22;
    const LEFT: i32 = 190;
    const LONGEST: f64 = 480.0;
    let height = 60 + ROW * bars.len() as i32;
    let root = SVGBackend::with_string(svg, (SIZE.0, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_owned(), (16, 14), TITLE))?;
    let highest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    for (row, (name, value)) in bars.iter().enumerate() {
        let top = 50 + ROW * row as i32;
        let end = LEFT + (value / highest * LONGEST).round() as i32;
        root.draw(&Text::new(shortened(name), (12, top + 3), ("sans-serif", 13)))?;
        root.draw(&Rectangle::new([(LEFT, top), (end, top + ROW - 5)], BAR.filled()))?;
        root.draw(&Text::new(number(*value), (end + 6, top + 3), ("sans-serif", 13)))?;
    }
    root.present()?;
    Ok(())
}

/// A name that fits beside what it names.
pub(crate) fn shortened(name: &str) -> String {
    const LENGTH: usize = 26;
    match name.char_indices().nth(LENGTH) {
        Some((at, _)) => format!("{}\u{2026}", &name[..at]),
        None => name.to_owned(),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        0.0..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn draw_histogram(svg: &mut String, title: &str, x_label: &str, edges: &[f32], counts: &[usize]) -> Drawn {
    let (left, top, right, bottom) = (70, 60, SIZE.0 as i32 - 20, SIZE.1 as i32 - 60);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_owned(), (16, 14), TITLE))?;
    root.draw(&Text::new(x_label.to_owned(), ((left + right) / 2 - 40, bottom + 34), ("sans-serif", 14)))?;
    let highest = counts.iter().copied().max().unwrap_or(0).max(1);
    let bins = counts.len().max(1) as f64;
    let x_at = |edge: usize| left + (f64::from(right - left) * edge as f64 / bins).round() as i32;
    for (bin, &count) in counts.iter().enumerate() {
        let height = (f64::from(bottom - top) * count as f64 / highest as f64).round() as i32;
        root.draw(&Rectangle::new(
            [(x_at(bin), bottom - height), (x_at(bin + 1) - 1, bottom)],
            BAR.filled(),
        ))?;
    }
    for edge in (0..edges.len()).step_by(edges.len().div_ceil(9)) {
        label(&root, number(f64::from(edges[edge])), (x_at(edge) - 8, bottom + 10))?;
    }
    label(&root, highest.to_string(), (12, top))?;
    label(&root, "0".into(), (12, bottom - 10))?;
    root.draw(&PathElement::new(vec![(left, bottom), (right, bottom)], BLACK))?;
    root.present()?;
    Ok(())
}

fn label(root: &DrawingArea<SVGBackend<'_>, Shift>, text: String, at: (i32, i32)) -> Drawn {
    root.draw(&Text::new(text, at, ("sans-serif", 12)))?;
    Ok(())
}

fn draw_scatter(svg: &mut String, title: &str, x_label: &str, y_label: &str, kinds: &[Points]) -> Drawn {
    let drawable = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && *x > 0.0 && *y > 0.0;
    let all = || kinds.iter().flat_map(|kind| kind.points.iter().copied().filter(drawable));
    let range = |axis: fn((f64, f64)) -> f64| {
        let (low, high) = all().map(axis).fold((f64::MAX, 0f64), |(low, high), v| (low.min(v), high.max(v)));
        if low > high { 1.0..10.0 } else { low / 1.2..high * 1.2 }
    };
    let root = SVGBackend::with_string(svg, (SIZE.0, 700)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, TITLE)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(range(|point| point.0).log_scale(), range(|point| point.1).log_scale())?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc(x_label).y_desc(y_label).draw()?;
    for (index, kind) in kinds.iter().enumerate() {
        let [red, green, blue] = class_color(index as u32 + 1).0;
        let color = RGBColor(red, green, blue);
        let points = kind.points.iter().copied().filter(drawable);
        let radius = kind.radius;
        chart
            .draw_series(points.map(|at| Circle::new(at, radius, color.filled())))?
            .label(&kind.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_hold_their_names_and_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let bars = [("cat".to_owned(), 12.0), ("a name that is far too long for its place".to_owned(), 0.25)];
        save_bars(folder.path().join("bars.svg"), "Objects", &bars).unwrap();
        let svg = read("bars.svg");
        assert!(svg.contains("cat") && svg.contains("\n12\n") && svg.contains("0.250"));
        assert!(svg.contains("a name that is far too lon\u{2026}"));
        save_histogram(folder.path().join("histogram.svg"), "Widths", "pixels", &[1.0, 2.5, 4.0], &[3, 9])
            .unwrap();
        let svg = read("histogram.svg");
        assert!(
            svg.contains("Widths") && svg.contains("pixels") && svg.contains("2.5") && svg.contains("\n9\n")
        );
        let points = vec![(1.0, 2.0), (100.0, 30.0), (0.0, 1.0), (f64::NAN, 1.0)];
        let boxes = Points { name: "boxes".into(), points, radius: 2 };
        save_scatter(folder.path().join("scatter.svg"), "Shapes", "width", "height", &[boxes]).unwrap();
        let svg = read("scatter.svg");
        assert!(svg.contains("boxes"));
        assert_eq!(svg.matches("<circle").count(), 2);
        save_scatter(folder.path().join("empty.svg"), "Shapes", "width", "height", &[]).unwrap();
    }
}
