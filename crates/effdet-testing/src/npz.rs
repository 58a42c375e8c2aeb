//! Reading numpy's `.npz` archives of half and single precision arrays.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

/// All arrays of an archive, widened to single precision, by name.
///
/// # Errors
/// If the archive is damaged or holds other types.
pub fn read(path: &Path) -> Result<HashMap<String, Vec<f32>>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut archive = ZipArchive::new(file)?;
    let mut arrays = HashMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.strip_suffix(".npy").context("an entry is no .npy file")?.to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        arrays.insert(name.clone(), array(&bytes).with_context(|| name)?);
    }
    Ok(arrays)
}

fn array(bytes: &[u8]) -> Result<Vec<f32>> {
    ensure!(bytes.len() > 10 && &bytes[..6] == b"\x93NUMPY", "not an .npy file");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(bytes.get(10..10 + length).context("truncated header")?)?;
    let data = &bytes[10 + length..];
    if header.contains("'<f2'") {
        Ok(data.chunks_exact(2).map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]]))).collect())
    } else if header.contains("'<f4'") {
        Ok(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    } else {
        bail!("unsupported array type: {header}")
    }
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1F), f32::from(bits & 0x3FF));
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + mantissa) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::half_to_f32;

    #[test]
    fn halves_widen_exactly() {
        for (bits, value) in [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
            (0x7BFF, 65504.0),
        ] {
            assert_eq!(half_to_f32(bits), value);
        }
    }
}
