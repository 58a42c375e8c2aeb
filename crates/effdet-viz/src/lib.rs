//! Boxes and labels drawn on pictures

mod annotate;
mod chart;
mod color;
mod error;
mod grid;
mod lines;
mod plot;
mod save;

pub use annotate::{Style, annotate};
pub use chart::{Points, save_bars, save_histogram, save_page, save_scatter};
pub use color::{class_color, text_color};
pub use error::Error;
pub use grid::grid;
pub use lines::{Axis, save_lines};
pub use plot::{Line, save_matrix, save_unit_chart};
pub use save::{save_jpeg, save_png};
