//! Golden fixtures, tolerances and synthetic weights for the tests of the EfficientDet crates
