//! What a file is to be like.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use effdet_heads::{DecodeConfig, NmsMethod};

use crate::Error;

/// Versions of the operator set that can be written. The first has every operator that is used; in the later ones these
/// mean the same.
pub const OPSETS: RangeInclusive<u32> = 14..=23;

/// How many pictures a file takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// This many.
    Fixed(usize),
    /// Any number.
    Dynamic,
}

impl FromStr for BatchSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match (text, text.parse()) {
            ("dynamic", _) => Ok(Self::Dynamic),
            (_, Ok(pictures)) if pictures > 0 => Ok(Self::Fixed(pictures)),
            _ => Err(Error::Batch { value: text.to_owned() }),
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(pictures) => pictures.fmt(f),
            Self::Dynamic => f.write_str("dynamic"),
        }
    }
}

/// What a file is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Version of the operator set, one of [`OPSETS`].
    pub opset: u32,
    /// How many pictures it takes at a time.
    pub batch: BatchSize,
    /// Whether it takes pictures of any height and width; only without `nms`, because anchors are constants.
    pub dynamic_size: bool,
    /// Whether it ends in detections instead of logits and box codes.
    pub nms: bool,
}

impl Default for OnnxOptions {
    /// Operator set 17, one picture of the configuration's size, logits and box codes.
    fn default() -> Self {
        Self { opset: 17, batch: BatchSize::Fixed(1), dynamic_size: false, nms: false }
    }
}

impl OnnxOptions {
    /// Checks what can be checked before a network is looked at.
    ///
    /// # Errors
    /// An operator set out of range, a batch of none, `dynamic_size` together with `nms`, and with `nms` settings of
    /// `decode` that are out of range or that ONNX has no operator for.
    pub fn validate(&self, decode: &DecodeConfig) -> Result<(), Error> {
        if !OPSETS.contains(&self.opset) {
            return Err(Error::Opset { opset: self.opset });
        }
        if self.batch == BatchSize::Fixed(0) {
            return Err(Error::Batch { value: self.batch.to_string() });
        }
        if !self.nms {
            return Ok(());
        }
        if self.dynamic_size {
            return Err(Error::DynamicSizeWithNms);
        }
        decode.validate()?;
        for (name, value) in
            [("max_candidates", decode.max_candidates), ("max_detections", decode.max_detections)]
        {
            if value == 0 {
                let expected = "at least 1 is needed";
                return Err(effdet_heads::Error::Setting { name, value: "0".into(), expected }.into());
            }
        }
        match decode.nms.method {
            NmsMethod::Hard => Ok(()),
            method => Err(Error::Suppression { method }),
        }
    }

    /// Version of the file format that came with the operator set.
    pub(crate) fn ir_version(&self) -> i64 {
        match self.opset {
            ..=14 => 7,
            15..=18 => 8,
            19..=20 => 9,
            21..=22 => 10,
            _ => 11,
        }
    }
}

#[cfg(test)]
mod tests {
    use effdet_heads::NmsConfig;

    use super::*;

    #[test]
    fn a_batch_size_reads_back() {
        for batch in [BatchSize::Fixed(1), BatchSize::Fixed(16), BatchSize::Dynamic] {
            assert_eq!(batch.to_string().parse::<BatchSize>().unwrap(), batch);
        }
        for bad in ["0", "-1", "any", ""] {
            let error = bad.parse::<BatchSize>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn what_no_file_can_be_is_refused_by_name() {
        let (options, decode) = (OnnxOptions::default(), DecodeConfig::default());
        let nms = OnnxOptions { nms: true, ..options };
        let soft = NmsConfig { method: NmsMethod::SoftGaussian { sigma: 0.5 }, ..NmsConfig::default() };
        for (options, decode, reason) in [
            (OnnxOptions { opset: 13, ..options }, decode, "operator set 13"),
            (OnnxOptions { opset: 24, ..options }, decode, "14 to 23"),
            (OnnxOptions { batch: BatchSize::Fixed(0), ..options }, decode, "batch"),
            (OnnxOptions { dynamic_size: true, ..nms }, decode, "fixed picture size"),
            (nms, DecodeConfig { nms: soft, ..decode }, "SoftGaussian"),
            (nms, DecodeConfig { max_detections: 0, ..decode }, "max_detections"),
            (nms, DecodeConfig { score_threshold: f32::NAN, ..decode }, "score_threshold"),
        ] {
            let error = options.validate(&decode).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let decode = DecodeConfig { nms: soft, ..decode };
        assert!(options.validate(&decode).is_ok(), "logits know nothing of suppression");
    }
}
