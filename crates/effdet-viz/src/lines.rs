//! Charts of a training run, as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::plot::{AXES, LABELS};
use crate::save::save_chart;
use crate::{Error, Line};

const SIZE: (u32, u32) = (800, 600);

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis<'a> {
    /// What it shows.
    pub label: &'a str,
    /// Whether equal distances are equal factors; points that are not positive are left out then.
    pub logarithmic: bool,
}

impl<'a> Axis<'a> {
    /// An axis on which equal distances are equal differences.
    pub fn linear(label: &'a str) -> Self {
        Self { label, logarithmic: false }
    }

    /// An axis on which equal distances are equal factors.
    pub fn logarithmic(label: &'a str) -> Self {
        Self { label, logarithmic: true }
    }
}

/// A chart of lines over the range of their points, such as a loss over the steps. Points that are not finite are left
/// out.
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
pub fn save_lines(
    path: impl AsRef<Path>,
    title: &str,
    x: Axis<'_>,
    y: Axis<'_>,
    lines: &[Line],
) -> Result<(), Error> {
    save_chart(path.as_ref(), |svg| draw(svg, title, x, y, lines))
}

fn draw(
    svg: &mut String,
    title: &str,
    x: Axis<'_>,
    y: Axis<'_>,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let usable = |(a, b): &(f64, f64)| {
        a.is_finite() && b.is_finite() && !(x.logarithmic && *a <= 0.0) && !(y.logarithmic && *b <= 0.0)
    };
    let lines: Vec<Line> = lines
        .iter()
        .map(|line| Line { points: line.points.iter().copied().filter(usable).collect(), ..line.clone() })
        .collect();
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let xs = range(points().map(|(x, _)| x), x.logarithmic);
    let ys = range(points().map(|(_, y)| y), y.logarithmic);
    let place = |value: f64, (low, high): (f64, f64), logarithmic: bool| {
        let scale = |v: f64| if logarithmic { v.ln() } else { v };
        (scale(value) - scale(low)) / (scale(high) - scale(low))
    };
    let places = points().map(|(a, b)| (place(a, xs, x.logarithmic), place(b, ys, y.logarithmic)));
    let legend = emptiest_corner(&places.collect::<Vec<_>>());
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    // The four kinds of plane are four types.
    match (x.logarithmic, y.logarithmic) {
        (false, false) => plot(&root, title, (x.label, y.label), xs.0..xs.1, ys.0..ys.1, &lines, legend)?,
        (true, false) => {
            plot(&root, title, (x.label, y.label), (xs.0..xs.1).log_scale(), ys.0..ys.1, &lines, legend)?
        }
        (false, true) => {
            plot(&root, title, (x.label, y.label), xs.0..xs.1, (ys.0..ys.1).log_scale(), &lines, legend)?
        }
        (true, true) => {
            plot(
                &root,
                title,
                (x.label, y.label),
                (xs.0..xs.1).log_scale(),
                (ys.0..ys.1).log_scale(),
                &lines,
                legend,
            )?;
        }
    }
    root.present()?;
    Ok(())
}

/// Least and largest value, a little apart.
fn range(values: impl Iterator<Item = f64>, logarithmic: bool) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return if logarithmic { (0.1, 1.0) } else { (0.0, 1.0) };
    }
    if logarithmic {
        return (low / 1.05, high * 1.05);
    }
    let margin = if high > low { (high - low) * 0.03 } else { low.abs().max(1.0) * 0.1 };
    (low - margin, high + margin)
}

/// The corner with the fewest of the points, whose places run from 0 to 1.
fn emptiest_corner(places: &[(f64, f64)]) -> SeriesLabelPosition {
    type InCorner = fn(f64, f64) -> bool;
    let corners: [(SeriesLabelPosition, InCorner); 4] = [
        (SeriesLabelPosition::UpperRight, |x, y| x > 0.65 && y > 0.65),
        (SeriesLabelPosition::LowerRight, |x, y| x > 0.65 && y < 0.35),
        (SeriesLabelPosition::UpperLeft, |x, y| x < 0.35 && y > 0.65),
        (SeriesLabelPosition::LowerLeft, |x, y| x < 0.35 && y < 0.35),
    ];
    let count = |inside: &InCorner| places.iter().filter(|(x, y)| inside(*x, *y)).count();
    let emptiest = corners.into_iter().min_by_key(|(_, inside)| count(inside));
    emptiest.map_or(SeriesLabelPosition::UpperRight, |(corner, _)| corner)
}

fn plot<X, Y>(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    labels: (&str, &str),
    xs: X,
    ys: Y,
    lines: &[Line],
    legend: SeriesLabelPosition,
) -> Result<(), Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(root)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(52)
        .y_label_area_size(80)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(LABELS)
        .axis_desc_style(AXES)
        .x_desc(labels.0)
        .y_desc(labels.1)
        .draw()?;
    for line in lines {
        let (color, _) = line.style();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .label_font(LABELS)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_have_no_place_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.svg");
        let points = vec![(0.0, 1.0), (1.0, f64::NAN), (10.0, 2.0), (100.0, -1.0), (1000.0, 0.5)];
        let line = Line { name: "training".into(), points, color: crate::INK };
        for (x, y) in [(false, false), (true, false), (false, true), (true, true)] {
            let [x, y] = [("step", x), ("loss", y)].map(|(label, logarithmic)| Axis { label, logarithmic });
            save_lines(&path, "Loss", x, y, std::slice::from_ref(&line)).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(svg.contains("Loss") && svg.contains("training") && svg.contains("polyline"));
        }
        save_lines(&path, "Nothing", Axis::linear("x"), Axis::logarithmic("y"), &[]).unwrap();
    }
}
