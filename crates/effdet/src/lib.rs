//! EfficientDet for Rust: load a checkpoint, detect objects in pictures
