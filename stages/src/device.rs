//! The compute device, chosen by name at run time.
//!
//! There is no fallback: an unavailable device is an error, because a run that silently moved to another device would be
//! slow or give different results, and nobody would know why.

pub use burn_tensor::Device;

/// Why a device cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The name is not one of the known forms.
    #[error("unknown device `{0}`; write `cpu` or `cuda:N`")]
    Unknown(String),
    /// The device is known, but this program was built without it.
    #[error("device `{name}` needs a build with the feature `{feature}`")]
    NotBuilt {
        /// The requested device.
        name: String,
        /// The cargo feature that adds it.
        feature: &'static str,
    },
    /// The driver or the hardware is absent.
    #[error("device `{name}` is not available: {reason}")]
    Unavailable {
        /// The requested device.
        name: String,
        /// What is missing on this machine.
        reason: String,
    },
}

/// Opens the device called `name`: `cpu` or `cuda:N` (`cuda` means `cuda:0`). A build with the feature `cube-cpu` also knows the
/// device of that name, which runs the kernels of GPUs on the processor; only tests want it.
///
/// # Errors
/// If the name is unknown, the backend is not compiled in, or the driver is absent.
pub fn open_device(name: &str) -> Result<Device, DeviceError> {
    match name.split_once(':') {
        None if name == "cpu" => open_cpu(name),
        None if name == "cuda" => open_cuda(name, 0),
        #[cfg(feature = "cube-cpu")]
        None if name == "cube-cpu" => Ok(Device::cpu()),
        Some(("cuda", index)) => match index.parse() {
            Ok(index) => open_cuda(name, index),
            Err(_) => Err(DeviceError::Unknown(name.into())),
        },
        _ => Err(DeviceError::Unknown(name.into())),
    }
}

#[cfg(feature = "cpu")]
#[expect(clippy::unnecessary_wraps, reason = "the build without the feature has an error here")]
fn open_cpu(_name: &str) -> Result<Device, DeviceError> {
    Ok(Device::flex())
}

#[cfg(not(feature = "cpu"))]
fn open_cpu(name: &str) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { name: name.into(), feature: "cpu" })
}

/// Asks the driver first: without it the backend panics in its own thread, where the panic cannot be caught.
#[cfg(feature = "cuda")]
fn open_cuda(name: &str, index: u32) -> Result<Device, DeviceError> {
    let unavailable = |reason: String| DeviceError::Unavailable { name: name.into(), reason };
    let count = count_cuda_devices().map_err(unavailable)?;
    if index >= count {
        return Err(unavailable(format!("the driver has {count}, from `cuda:0` on")));
    }
    Ok(Device::cuda(index as usize))
}

/// GPUs that the driver offers.
///
/// # Errors
/// What is missing, in words.
#[cfg(feature = "cuda")]
fn count_cuda_devices() -> Result<u32, String> {
    use cudarc::driver::{result, sys};
    #[expect(
        unsafe_code,
        reason = "loads the driver as the backend will; its constructors have no preconditions"
    )]
    let present = unsafe { sys::is_culib_present() };
    if !present {
        return Err("the loader does not find `libcuda.so` (is the NVIDIA driver installed?)".into());
    }
    let refused = |error: result::DriverError| format!("the NVIDIA driver says {error:?}");
    result::init().map_err(refused)?;
    let count = result::device::get_count().map_err(refused)?;
    u32::try_from(count).map_err(|_| format!("the NVIDIA driver counts {count} devices"))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(name: &str, _index: u32) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { name: name.into(), feature: "cuda" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_honored_or_refused() {
        for name in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert_eq!(open_device(name).err(), Some(DeviceError::Unknown(name.into())));
        }
        #[cfg(feature = "cpu")]
        assert!(open_device("cpu").is_ok());
        #[cfg(not(feature = "cuda"))]
        assert!(open_device("cuda:0").err().unwrap().to_string().contains("feature `cuda`"));
    }
}
