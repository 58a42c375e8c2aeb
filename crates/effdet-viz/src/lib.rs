//! Boxes and labels drawn on pictures

mod annotate;
mod color;
mod error;
mod plot;
mod save;

pub use annotate::{Style, annotate};
pub use color::{class_color, text_color};
pub use error::Error;
pub use plot::{Line, save_matrix, save_unit_chart};
pub use save::{save_jpeg, save_png};
