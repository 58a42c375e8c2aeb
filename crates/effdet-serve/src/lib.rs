//! A detector behind HTTP: `POST /v1/detect` takes a picture and answers with what is in it.
//!
//! ```no_run
//! use effdet::prelude::*;
//! use effdet_serve::{ServeConfig, Server, stop_signal};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let detector = Detector::from_pretrained("tf_efficientdet_lite0")?;
//! let server = Server::bind("127.0.0.1:8080", detector, ServeConfig::default()).await?;
//! println!("http://{}", server.local_addr());
//! let served = server.run(stop_signal()?).await;
//! println!("{} requests", served.accepted);
//! # Ok(())
//! # }
//! ```
//!
//! [`from_pretrained`](effdet::Detector::from_pretrained) fetches weights with the cargo feature `hub`, here or of `effdet`;
//! [`from_checkpoint`](effdet::Detector::from_checkpoint) needs none.
//!
//! One thread owns the detector. Concurrent requests are decoded beside each other and go through the network together
//! ([`ServeConfig::batch`]). What may be sent, how long it may take and how much may wait is limited; a request beyond a
//! limit is answered with a status that says so and `{"error": {"status", "code", "message"}}`. Once told to stop, the
//! server takes no new connections, answers every request it has, and returns.
//!
//! The endpoints are described in the page on serving of the project's documentation. Only HTTP/1.1 is spoken, which is
//! what reverse proxies speak to the servers behind them.

mod app;
mod batcher;
mod body;
mod config;
mod detect;
mod error;
mod metrics;
mod options;
mod refusal;
mod report;
mod server;
mod signal;

pub use config::ServeConfig;
pub use error::Error;
pub use server::{Served, Server};
pub use signal::stop_signal;
