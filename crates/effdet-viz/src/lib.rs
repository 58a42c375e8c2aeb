//! Boxes and labels drawn on pictures, charts, and pages that show them.
//!
//! Use it alone to draw any detections; the font is compiled in.
//!
//! ```
//! use effdet_core::{ClassMap, Detection, XyxyBox};
//! use effdet_viz::{Style, annotate, class_color};
//! use image::RgbImage;
//!
//! let mut picture = RgbImage::new(320, 240);
//! let found = Detection { bbox: XyxyBox::new(40.0, 60.0, 200.0, 180.0), score: 0.87, class_id: 1 };
//! annotate(&mut picture, &[found], &ClassMap::from_names(["cat"])?, &Style::default());
//! assert_eq!(picture.get_pixel(40, 120), &class_color(1));
//! # Ok::<(), effdet_core::Error>(())
//! ```

mod annotate;
mod chart;
mod color;
mod error;
mod grid;
mod lines;
mod page;
mod plot;
mod save;

pub use annotate::{Style, annotate};
pub use chart::{Points, save_bars, save_histogram, save_scatter};
pub use color::{class_color, text_color};
pub use error::Error;
pub use grid::grid;
pub use lines::{Axis, save_lines};
pub use page::Page;
pub use plot::{INK, Line, save_matrix, save_unit_chart};
pub use save::{save_jpeg, save_png};
