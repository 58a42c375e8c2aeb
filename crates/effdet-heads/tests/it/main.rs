//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::unwrap_used, reason = "tests")]

mod decode_robustness;
mod device_cut;
mod loss;
mod merging;
mod nms_properties;
mod reference;
mod targets;
