//! Ctrl-C as a request to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

/// Exit status of what a signal ended, as shells have it.
pub const INTERRUPTED: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks to stop, and ends the program the second time.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    })?;
    Ok(())
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
