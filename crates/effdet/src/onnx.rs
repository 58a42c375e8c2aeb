//! A detector as an ONNX file.

use std::collections::BTreeMap;
use std::path::Path;

use effdet_export::{OnnxFile, OnnxOptions, to_onnx};

use crate::{Detector, Error};

impl Detector {
    /// The detector as an ONNX model, whose metadata holds what a checkpoint's does
    /// ([`metadata`](Self::metadata)), and `effdet.fill_color` (red, green, blue) for a fill of `mean` too. How outputs
    /// become detections is that of [`set_decode`](Self::set_decode).
    ///
    /// # Errors
    /// What [`to_onnx`] gives.
    pub fn to_onnx(&self, options: &OnnxOptions) -> Result<OnnxFile, Error> {
        let predictor = self.predictor();
        Ok(to_onnx(predictor.model(), predictor.config(), options, &self.onnx_metadata())?)
    }

    /// Writes the detector as an ONNX file, whole or not at all.
    ///
    /// # Errors
    /// As [`to_onnx`](Self::to_onnx), and if the file cannot be written.
    pub fn export_onnx(&self, path: impl AsRef<Path>, options: &OnnxOptions) -> Result<(), Error> {
        Ok(self.to_onnx(options)?.save(path)?)
    }

    fn onnx_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.metadata().to_map();
        metadata.insert("effdet.fill_color".into(), format!("{:?}", self.preprocess().fill_color()));
        metadata
    }
}
