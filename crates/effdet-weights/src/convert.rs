//! Raw tensor bytes to `f32`.

use burn::tensor::{bf16, f16};

use crate::DType;

/// Reads little-endian elements of type `dtype` as `f32`, or `None` where the type has no such reading.
///
/// Integers and `f64` are rounded to the nearest `f32`, as PyTorch's `.float()` does.
pub(crate) fn to_f32(bytes: &[u8], dtype: DType) -> Option<Vec<f32>> {
    macro_rules! elements {
        ($kind:ty, $convert:expr) => {
            bytes.as_chunks().0.iter().map(|chunk| $convert(<$kind>::from_le_bytes(*chunk))).collect()
        };
    }
    Some(match dtype {
        DType::F32 => elements!(f32, |value| value),
        DType::F64 => elements!(f64, |value| value as f32),
        DType::F16 => elements!(f16, f16::to_f32),
        DType::BF16 => elements!(bf16, bf16::to_f32),
        DType::I64 => elements!(i64, |value| value as f32),
        DType::I32 => elements!(i32, |value| value as f32),
        DType::I16 => elements!(i16, f32::from),
        DType::I8 => elements!(i8, f32::from),
        DType::U64 => elements!(u64, |value| value as f32),
        DType::U32 => elements!(u32, |value| value as f32),
        DType::U16 => elements!(u16, f32::from),
        DType::U8 => elements!(u8, f32::from),
        DType::BOOL => bytes.iter().map(|&byte| f32::from(byte != 0)).collect(),
        _ => return None,
    })
}

/// Whether a type is one that weights come in.
pub(crate) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
}

/// A finite value has no finite counterpart in the narrower type, or the type is none that weights are written in.
pub(crate) struct BeyondRange;

/// Little-endian `f32`, `f16` or `bf16`, rounded to the nearest.
pub(crate) fn from_f32(values: &[f32], dtype: DType) -> Result<Vec<u8>, BeyondRange> {
    let overflows = |finite: fn(f32) -> bool| values.iter().any(|&value| value.is_finite() && !finite(value));
    match dtype {
        DType::F32 => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        DType::F16 if !overflows(|value| f16::from_f32(value).is_finite()) => {
            Ok(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect())
        }
        DType::BF16 if !overflows(|value| bf16::from_f32(value).is_finite()) => {
            Ok(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect())
        }
        _ => Err(BeyondRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_type_reads_its_own_values() {
        let signed: [(DType, Vec<u8>); 8] = [
            (DType::F32, (-2.0f32).to_le_bytes().to_vec()),
            (DType::F64, (-2.0f64).to_le_bytes().to_vec()),
            (DType::F16, f16::from_f32(-2.0).to_le_bytes().to_vec()),
            (DType::BF16, bf16::from_f32(-2.0).to_le_bytes().to_vec()),
            (DType::I64, (-2i64).to_le_bytes().to_vec()),
            (DType::I32, (-2i32).to_le_bytes().to_vec()),
            (DType::I16, (-2i16).to_le_bytes().to_vec()),
            (DType::I8, (-2i8).to_le_bytes().to_vec()),
        ];
        for (dtype, bytes) in signed {
            assert_eq!(to_f32(&bytes, dtype), Some(vec![-2.0]), "{dtype}");
        }
        assert_eq!(to_f32(&u64::MAX.to_le_bytes(), DType::U64), Some(vec![18_446_744_073_709_551_615.0]));
        assert_eq!(to_f32(&[0xff, 0xff], DType::U16), Some(vec![65535.0]));
        assert_eq!(to_f32(&[0, 1, 7], DType::BOOL), Some(vec![0.0, 1.0, 1.0]));
    }

    #[test]
    fn a_type_without_a_reading_is_refused() {
        assert_eq!(to_f32(&[0; 8], DType::C64), None);
        assert_eq!(to_f32(&[0; 8], DType::F8_E4M3), None);
    }

    #[test]
    fn narrower_types_round_and_refuse_what_they_cannot_hold() {
        let half = from_f32(&[1.0, f32::NAN], DType::F16).ok().unwrap();
        assert_eq!(&half[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!(
            from_f32(&[1.0 + 1e-4], DType::BF16).ok(),
            Some(bf16::from_f32(1.0).to_le_bytes().to_vec())
        );
        assert!(from_f32(&[1e6], DType::F16).is_err() && from_f32(&[1e6], DType::BF16).is_ok());
        assert!(from_f32(&[f32::INFINITY], DType::F16).is_ok());
        assert!(from_f32(&[1.0], DType::I64).is_err());
    }
}
