//! Charts of an evaluation, as SVG.

use std::path::Path;

use image::Rgb;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::shortened;
use crate::save::save_chart;
use crate::{Error, text_color};

const SIZE: (u32, u32) = (800, 600);
/// Fonts that can be read at three quarters of the size, too.
pub(crate) const LABELS: (&str, u32) = ("sans-serif", 16);
pub(crate) const AXES: (&str, u32) = ("sans-serif", 18);

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// Its colour: that of a class, see [`class_color`](crate::class_color), or [`INK`] for all of them.
    pub color: Rgb<u8>,
}

/// The colour of what stands for everything.
pub const INK: Rgb<u8> = Rgb([0x1d, 0x25, 0x30]);

impl Line {
    /// The colour as the plotting library has it, and the width of the line.
    pub(crate) fn style(&self) -> (RGBColor, u32) {
        let [red, green, blue] = self.color.0;
        (RGBColor(red, green, blue), if self.color == INK { 4 } else { 2 })
    }
}

/// A chart of lines over `[0, 1] × [0, 1]`, such as precision over recall.
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
pub fn save_unit_chart(
    path: impl AsRef<Path>,
    title: &str,
    x_label: &str,
    y_label: &str,
    lines: &[Line],
) -> Result<(), Error> {
    save_chart(path.as_ref(), |svg| draw_unit_chart(svg, title, x_label, y_label, lines))
}

fn draw_unit_chart(
    svg: &mut String,
    title: &str,
    x_label: &str,
    y_label: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(52)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.0, 0.0..1.02)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(LABELS)
        .axis_desc_style(AXES)
        .x_desc(x_label)
        .y_desc(y_label)
        .draw()?;
    for line in lines {
        let (color, width) = line.style();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(width)))?
            .label(&line.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .label_font(LABELS)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// A matrix of counts, each row coloured by its share, such as a confusion matrix: rows are the truth.
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
pub fn save_matrix(
    path: impl AsRef<Path>,
    title: &str,
    names: &[String],
    counts: &[Vec<u64>],
) -> Result<(), Error> {
    save_chart(path.as_ref(), |svg| draw_matrix(svg, title, names, counts))
}

fn draw_matrix(
    svg: &mut String,
    title: &str,
    names: &[String],
    counts: &[Vec<u64>],
) -> Result<(), Box<dyn std::error::Error>> {
    let cell = (640 / names.len().max(1)).clamp(12, 80) as i32;
    let names: Vec<String> = names.iter().map(|name| shortened(name)).collect();
    let names_size = (cell / 3).clamp(9, 16);
    // A letter is about three fifths as wide as it is high.
    let longest =
        names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32 * names_size * 3 / 5;
    let (left, top) = ((longest + 16).max(170), (longest + 70).max(150));
    let side = cell * names.len() as i32;
    let size = ((left + side + 30) as u32, (top + side + 30) as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let font = ("sans-serif", (cell / 3).clamp(9, 18)).into_font();
    let (names_font, middle) = (("sans-serif", names_size).into_font(), VPos::Center);
    root.draw(&Text::new(title.to_owned(), (16, 14), ("sans-serif", 22)))?;
    root.draw(&Text::new("rows: labelled as, columns: detected as", (16, 44), ("sans-serif", 15)))?;
    for (i, name) in names.iter().enumerate() {
        let center = i as i32 * cell + cell / 2;
        let beside = names_font.color(&BLACK).pos(Pos::new(HPos::Right, middle));
        root.draw(&Text::new(name.clone(), (left - 8, top + center), beside))?;
        let upright = names_font.transform(FontTransform::Rotate270).color(&BLACK);
        let above = upright.pos(Pos::new(HPos::Left, middle));
        root.draw(&Text::new(name.clone(), (left + center, top - 8), above))?;
    }
    for (row, values) in counts.iter().enumerate() {
        let sum = values.iter().sum::<u64>().max(1) as f64;
        for (column, &count) in values.iter().enumerate() {
            let (x, y) = (left + column as i32 * cell, top + row as i32 * cell);
            let share = count as f64 / sum;
            let shade = |full: f64| (255.0 - (255.0 - full) * share) as u8;
            // Not quite white, so that empty cells are seen to be cells.
            let color = Rgb([33.0, 102.0, 172.0].map(|full| shade(full).min(246)));
            let [red, green, blue] = color.0;
            let area = [(x, y), (x + cell - 2, y + cell - 2)];
            root.draw(&Rectangle::new(area, RGBColor(red, green, blue).filled()))?;
            if count > 0 && cell >= 20 {
                let [red, green, blue] = text_color(color).0;
                let style = font.color(&RGBColor(red, green, blue)).pos(Pos::new(HPos::Center, middle));
                root.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), style))?;
            }
        }
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_hold_their_titles_names_and_counts() {
        let folder = tempfile::tempdir().unwrap();
        let chart = folder.path().join("pr.svg");
        let line = Line { name: "cat".into(), points: vec![(0.0, 1.0), (0.5, 0.8), (1.0, 0.2)], color: INK };
        save_unit_chart(&chart, "Precision", "recall", "precision", &[line]).unwrap();
        let svg = std::fs::read_to_string(chart).unwrap();
        assert!(svg.contains("Precision") && svg.contains("cat") && svg.contains("polyline"));
        let matrix = folder.path().join("matrix.svg");
        save_matrix(&matrix, "Confusion", &["cat".into(), "background".into()], &[vec![7, 3], vec![2, 0]])
            .unwrap();
        let svg = std::fs::read_to_string(matrix).unwrap();
        assert!(svg.contains("background") && svg.contains("\n7\n"));
    }

    #[test]
    fn a_matrix_has_room_for_the_names_of_its_classes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("matrix.svg");
        let width = |name: &str| -> u32 {
            save_matrix(&path, "Confusion", &[name.to_owned()], &[vec![1]]).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            let (_, from) = svg.split_once("<svg width=\"").unwrap();
            from.split_once('"').unwrap().0.parse().unwrap()
        };
        let long = "a class whose name is a sentence of its own";
        assert!(width(&long[..26]) > width("cat") + 50);
        assert_eq!(width(long), width(&format!("{long} and more")));
        assert!(std::fs::read_to_string(&path).unwrap().contains("a class whose name is a se\u{2026}"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = save_matrix("/no/such/folder/m.svg", "t", &[], &[]).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/m.svg"));
    }
}
