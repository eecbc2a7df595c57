//! The compute device, chosen by name at run time.
//!
//! There is no fallback: an unavailable device is an error, because a run that silently moved to another device would be
//! slow or give different results, and nobody would know why.

pub(crate) use burn_tensor::Device;

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

/// Opens the device called `name`: `cpu` or `cuda:N` (`cuda` means `cuda:0`).
///
/// # Errors
/// If the name is unknown, the backend is not compiled in, or the driver is absent.
pub fn open_device(name: &str) -> Result<Device, DeviceError> {
    match name.split_once(':') {
        None if name == "cpu" => open_cpu(name),
        None if name == "cuda" => open_cuda(name, 0),
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

#[cfg(feature = "cuda")]
fn open_cuda(name: &str, index: u32) -> Result<Device, DeviceError> {
    // Look for the driver first: without it the backend panics in its own thread, where the panic cannot be caught.
    const DRIVERS: [&str; 6] = [
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "/usr/lib/aarch64-linux-gnu/libcuda.so.1",
        "/usr/lib64/libcuda.so.1",
        "/usr/lib/libcuda.so.1",
        "/usr/local/nvidia/lib64/libcuda.so.1",
        "/usr/local/cuda/compat/libcuda.so.1",
    ];
    let unavailable = |reason: String| DeviceError::Unavailable { name: name.into(), reason };
    let searched = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let named = std::env::split_paths(&searched).any(|dir| dir.join("libcuda.so.1").exists());
    if !named && !DRIVERS.iter().any(|file| std::path::Path::new(file).exists()) {
        return Err(unavailable("`libcuda.so.1` was not found (is the NVIDIA driver installed?)".into()));
    }
    let node = format!("/dev/nvidia{index}");
    if std::path::Path::new("/dev/nvidia0").exists() && !std::path::Path::new(&node).exists() {
        return Err(unavailable(format!("there is no `{node}`")));
    }
    Ok(Device::cuda(index as usize))
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
