//! The error type of this crate.

use std::io;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken, not this machine's, or no address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A setting out of its range.
    #[error("{name} is {value}: expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The thread of the detector could not be started.
    #[error("cannot start the detector's thread")]
    Thread(#[source] io::Error),
    /// The system does not let the process wait for its signals.
    #[error("cannot listen for the signals to stop")]
    Signal(#[source] io::Error),
}
