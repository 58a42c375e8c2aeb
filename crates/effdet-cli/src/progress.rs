//! The progress bar.

use std::io::{IsTerminal, stderr};

use effdet::core::with_causes;
use effdet::weights::FetchEvent;
use indicatif::{ProgressBar, ProgressStyle};

use crate::logging::{self, note};

/// Pictures from which a bar is worth its line.
const WORTH_IT: usize = 5;

/// A bar on standard error, hidden for a few pictures or where nobody looks.
pub fn bar(pictures: usize) -> ProgressBar {
    if pictures < WORTH_IT || !is_shown() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(pictures as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// A bar for the frames of a video, and how many there are each second.
pub fn frames(total: Option<u64>) -> ProgressBar {
    if !is_shown() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:40} {pos}/{len} frames, {per_sec}, {eta} left"),
        None => (ProgressBar::no_length(), "{spinner} {pos} frames, {per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Whether somebody looks at standard error, and wants to.
pub fn is_shown() -> bool {
    stderr().is_terminal() && !logging::is_quiet()
}

/// A bar for bytes that arrive, and a line for what goes wrong.
pub struct Transfers {
    name: String,
    bar: Option<ProgressBar>,
}

impl Transfers {
    /// For the weights of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), bar: None }
    }

    /// Shows what happens.
    pub fn show(&mut self, event: &FetchEvent<'_>) {
        match event {
            FetchEvent::Waiting => note!("{}: another process is fetching it, waiting", self.name),
            FetchEvent::Transfer { url, done, total } => {
                let bar = self.bar.get_or_insert_with(|| {
                    note!("{}: fetching {}", self.name, url.split('?').next().unwrap_or(url));
                    transfer_bar()
                });
                if let Some(total) = total {
                    bar.set_length(*total);
                }
                bar.set_position(*done);
                if *total == Some(*done) {
                    bar.finish_and_clear();
                }
            }
            FetchEvent::Retry { error, wait } => {
                let told = with_causes(error);
                note!("{}: {told}; trying again in {:.0} s", self.name, wait.as_secs_f64());
            }
            _ => {}
        }
    }
}

fn transfer_bar() -> ProgressBar {
    if !is_shown() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
