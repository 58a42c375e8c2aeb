//! Devices by name.

use burn::tensor::Device;

use crate::Error;

/// The device of this name: `cpu`, `cuda` or `cuda:1`, `wgpu`, `tch`.
///
/// A device other than the processor is tried with a small computation, so that a missing driver shows here.
///
/// # Errors
/// [`Error::UnknownDevice`], [`Error::DeviceNotCompiled`] naming the cargo feature, [`Error::DeviceUnavailable`].
pub fn device(name: &str) -> Result<Device, Error> {
    let unknown = || Error::UnknownDevice { name: name.to_owned() };
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, Some(index.parse::<u16>().map_err(|_| unknown())?)),
        None => (name, None),
    };
    match (kind, index) {
        ("cpu", None) => cpu(name),
        ("cuda", index) => cuda(name, index.unwrap_or(0).into()),
        ("wgpu", None) => wgpu(name),
        ("tch", None) => tch(name),
        _ => Err(unknown()),
    }
}

#[cfg(feature = "flex")]
fn cpu(_name: &str) -> Result<Device, Error> {
    Ok(Device::flex())
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, index: usize) -> Result<Device, Error> {
    usable(name, Device::cuda(index))
}

#[cfg(feature = "wgpu")]
fn wgpu(name: &str) -> Result<Device, Error> {
    usable(name, Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(feature = "tch")]
#[expect(deprecated, reason = "supported here for as long as Burn 0.22 has it")]
fn tch(name: &str) -> Result<Device, Error> {
    usable(name, Device::libtorch())
}

#[cfg(not(feature = "flex"))]
fn cpu(name: &str) -> Result<Device, Error> {
    not_compiled(name, "flex")
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _index: usize) -> Result<Device, Error> {
    not_compiled(name, "cuda")
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(name: &str) -> Result<Device, Error> {
    not_compiled(name, "wgpu")
}

#[cfg(not(feature = "tch"))]
fn tch(name: &str) -> Result<Device, Error> {
    not_compiled(name, "tch")
}

#[cfg(not(all(feature = "flex", feature = "cuda", feature = "wgpu", feature = "tch")))]
fn not_compiled(name: &str, feature: &'static str) -> Result<Device, Error> {
    Err(Error::DeviceNotCompiled { name: name.to_owned(), feature })
}

/// Backends start on first use, and panic where there is no driver or no such device.
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "tch"))]
fn usable(name: &str, device: Device) -> Result<Device, Error> {
    use burn::tensor::Tensor;
    let unavailable = |reason| Error::DeviceUnavailable { name: name.to_owned(), reason };
    let attempt = || Tensor::<1>::ones([4], &device).add_scalar(1.0).try_into_data();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)) {
        Ok(Ok(_)) => Ok(device),
        Ok(Err(error)) => Err(unavailable(format!("{error:?}"))),
        Err(panic) => {
            let text =
                panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            Err(unavailable(text.unwrap_or("the backend panicked").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_device_is_refused() {
        for name in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(matches!(device(name), Err(Error::UnknownDevice { .. })), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_names_its_feature() {
        let error = device("cuda:1").unwrap_err().to_string();
        assert!(error.contains("`cuda:1`") && error.contains("--features cuda"), "{error}");
    }
}
