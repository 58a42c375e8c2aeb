//! Devices by name, and running out of their memory.
//!
//! The only place that names Burn's backends: a backend that Burn drops is a few lines here.

mod memory;

use burn::tensor::{Device, FloatDType};

pub use memory::{OutOfMemory, catch_out_of_memory, is_out_of_memory};

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No device has this name.
    #[error("unknown device `{name}`: expected cpu, cuda:0 (or another number), wgpu or tch")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The device's backend is not part of this build.
    #[error(
        "this build has no device `{name}`: build with the cargo feature `{feature}` (--features {feature})"
    )]
    NotCompiled {
        /// The device asked for.
        name: String,
        /// The feature that adds it.
        feature: &'static str,
    },
    /// The device's backend is there, the device is not.
    #[error("device `{name}` cannot be used: {reason}")]
    Unavailable {
        /// The device asked for.
        name: String,
        /// What was looked for, or what the backend said.
        reason: String,
    },
    /// Not a float type, or one that the device does not compute in.
    #[error("device `{name}` cannot compute in {float}: {reason}")]
    Float {
        /// The device.
        name: String,
        /// The type asked for.
        float: String,
        /// What is wrong.
        reason: String,
    },
}

/// The device of this name: `cpu`, `cuda` or `cuda:1`, `wgpu`, `tch`.
///
/// Whether there is one is looked up first; then it is tried with a small computation, so that a broken driver shows
/// here.
///
/// # Errors
/// [`DeviceError::Unknown`], [`DeviceError::NotCompiled`] naming the cargo feature, [`DeviceError::Unavailable`].
pub fn device(name: &str) -> Result<Device, DeviceError> {
    let device = named(name)?;
    tried(name, device)
}

/// The device of this name, with the type that its floats are from now on: `f32`, `f16` or `bf16`.
///
/// A device takes its float type once in a process, before its first tensor.
///
/// # Errors
/// As [`device`], and [`DeviceError::Float`].
pub fn device_with_float(name: &str, float: &str) -> Result<Device, DeviceError> {
    let refuse =
        |reason: String| DeviceError::Float { name: name.to_owned(), float: float.to_owned(), reason };
    let dtype = match float {
        "f32" => FloatDType::F32,
        "f16" => FloatDType::F16,
        "bf16" => FloatDType::BF16,
        _ => return Err(refuse("expected f32, f16 or bf16".to_owned())),
    };
    let mut device = named(name)?;
    let configured = quietly(name, || {
        if !device.supports_dtype(dtype) {
            return Err(refuse("the device has no such type".to_owned()));
        }
        device.configure(dtype).map_err(|error| refuse(error.to_string()))
    })?;
    configured?;
    tried(name, device)
}

fn named(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown { name: name.to_owned() };
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
fn cpu(_name: &str) -> Result<Device, DeviceError> {
    Ok(Device::flex())
}

#[cfg(feature = "unfused-cuda")]
fn cuda(name: &str, index: usize) -> Result<Device, DeviceError> {
    let found = quietly(name, || Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len())?;
    let reason = match found {
        0 => "no NVIDIA driver with a CUDA device was found".to_owned(),
        _ if index < found => return Ok(Device::cuda(index)),
        1 => "there is one CUDA device, cuda:0".to_owned(),
        _ => format!("there are {found} CUDA devices, cuda:0 to cuda:{}", found - 1),
    };
    Err(unavailable(name, reason))
}

#[cfg(feature = "unfused-wgpu")]
fn wgpu(name: &str) -> Result<Device, DeviceError> {
    match quietly(name, || Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec().len())? {
        0 => Err(unavailable(name, "no graphics adapter (Vulkan, Metal or DirectX 12) was found".to_owned())),
        _ => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
    }
}

#[cfg(feature = "tch")]
#[expect(deprecated, reason = "supported here for as long as Burn 0.22 has it")]
fn tch(_name: &str) -> Result<Device, DeviceError> {
    Ok(Device::libtorch())
}

#[cfg(not(feature = "flex"))]
fn cpu(name: &str) -> Result<Device, DeviceError> {
    not_compiled(name, "flex")
}

#[cfg(not(feature = "unfused-cuda"))]
fn cuda(name: &str, _index: usize) -> Result<Device, DeviceError> {
    not_compiled(name, "cuda")
}

#[cfg(not(feature = "unfused-wgpu"))]
fn wgpu(name: &str) -> Result<Device, DeviceError> {
    not_compiled(name, "wgpu")
}

#[cfg(not(feature = "tch"))]
fn tch(name: &str) -> Result<Device, DeviceError> {
    not_compiled(name, "tch")
}

#[cfg(not(all(feature = "flex", feature = "unfused-cuda", feature = "unfused-wgpu", feature = "tch")))]
fn not_compiled(name: &str, feature: &'static str) -> Result<Device, DeviceError> {
    Err(DeviceError::NotCompiled { name: name.to_owned(), feature })
}

fn unavailable(name: &str, reason: String) -> DeviceError {
    DeviceError::Unavailable { name: name.to_owned(), reason }
}

/// Backends start on first use, and panic where something is amiss with the driver.
fn tried(name: &str, device: Device) -> Result<Device, DeviceError> {
    use burn::tensor::Tensor;
    let attempt = || Tensor::<1>::ones([4], &device).add_scalar(1.0).try_into_data();
    match quietly(name, attempt)? {
        Ok(_) => Ok(device),
        Err(error) => Err(unavailable(name, first_line(&error.to_string()))),
    }
}

/// Runs `work`; a panic in it is an error and is not reported on standard error.
fn quietly<T>(name: &str, work: impl FnOnce() -> T) -> Result<T, DeviceError> {
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::sync::{Mutex, PoisonError};
    // One at a time, so that the hook that is put back is the one that was there.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    result.map_err(|panic| unavailable(name, first_line(memory::panic_text(panic.as_ref()))))
}

/// Backends add the trace of the call.
fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("the backend failed").trim().to_owned()
}

/// Whether tensors on the device lie in the memory of the host, so that reading them costs a copy and no transfer.
pub fn is_on_host(device: &Device) -> bool {
    let device = device.clone().inner();
    let _ = &device;
    #[cfg(feature = "flex")]
    if device == Device::flex() {
        return true;
    }
    #[cfg(feature = "tch")]
    #[expect(deprecated, reason = "supported here for as long as Burn 0.22 has it")]
    if device == Device::libtorch() {
        return true;
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_device_is_refused() {
        for name in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CPU", "tch:0"] {
            assert!(matches!(device(name), Err(DeviceError::Unknown { .. })), "{name}");
        }
    }

    #[cfg(not(feature = "unfused-cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_names_its_feature() {
        let error = device("cuda:1").unwrap_err().to_string();
        assert!(error.contains("`cuda:1`") && error.contains("--features cuda"), "{error}");
    }

    #[test]
    fn a_panic_of_a_backend_is_an_error_of_one_line() {
        let error = quietly("cuda:0", || -> () { panic!("no driver\n   0: backtrace") }).unwrap_err();
        assert_eq!(error.to_string(), "device `cuda:0` cannot be used: no driver");
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_float_type_that_is_none_is_refused_by_name() {
        for name in ["f8", "F32", ""] {
            let error = device_with_float("cpu", name).unwrap_err();
            assert!(matches!(error, DeviceError::Float { .. }), "{error}");
        }
    }
}
