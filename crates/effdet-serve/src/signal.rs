//! The signals that stop a server.

use std::future::Future;

use crate::Error;

/// Completes at the first SIGINT (Ctrl-C) or SIGTERM. From the call on neither ends the process by itself.
///
/// # Errors
/// [`Error::Signal`] if the system refuses.
#[cfg(unix)]
pub fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes at the first Ctrl-C.
///
/// # Errors
/// None here.
#[cfg(not(unix))]
pub fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    Ok(async {
        // Without a handler the signal ends the process, so waiting on is all that is left.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
