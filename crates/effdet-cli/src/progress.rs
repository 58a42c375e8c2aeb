//! The progress bar.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

/// Pictures from which a bar is worth its line.
const WORTH_IT: usize = 5;

/// A bar on standard error, hidden for a few pictures or where nobody looks.
pub fn bar(pictures: usize) -> ProgressBar {
    if pictures < WORTH_IT || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(pictures as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left") {
        bar.set_style(style);
    }
    bar
}
