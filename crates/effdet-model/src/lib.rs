//! The assembled EfficientDet detector and the table of its 47 configurations
