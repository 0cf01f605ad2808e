//! GPUs as their driver tells of them, by NVML: without a context on any, so that a process may ask all night and hold none of
//! their memory. What cannot be found out (no driver, or a build without CUDA) is absent.

/// A GPU at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub memory_bytes: u64,
    pub free_bytes: u64,
    /// Processes that compute on it, ours among them; absent where the driver does not say.
    pub processes: Option<usize>,
}

/// The GPU of this UUID, as `nvidia-smi -L` has it.
pub fn now(uuid: &str) -> Option<Now> {
    nvml::now(uuid)
}

/// The version of the driver.
pub fn driver() -> Option<String> {
    nvml::driver().or_else(|| driver_in(&super::read("/proc/driver/nvidia/version")?))
}

/// The version that the driver's module in the kernel writes of itself.
fn driver_in(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM"))?;
    let is_version = |word: &&str| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() > 1 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version).map(str::to_string)
}

#[cfg(feature = "cuda")]
mod nvml {
    use std::sync::OnceLock;

    use nvml_wrapper::Nvml;

    use super::Now;

    /// Loaded once; absent where the driver has none.
    fn library() -> Option<&'static Nvml> {
        static LIBRARY: OnceLock<Option<Nvml>> = OnceLock::new();
        LIBRARY.get_or_init(|| Nvml::init().ok()).as_ref()
    }

    pub fn now(uuid: &str) -> Option<Now> {
        let device = library()?.device_by_uuid(uuid).ok()?;
        let memory = device.memory_info().ok()?;
        let processes = device.running_compute_processes().ok().map(|processes| processes.len());
        Some(Now { memory_bytes: memory.total, free_bytes: memory.free, processes })
    }

    pub fn driver() -> Option<String> {
        library()?.sys_driver_version().ok()
    }
}

#[cfg(not(feature = "cuda"))]
mod nvml {
    use super::Now;

    pub fn now(_uuid: &str) -> Option<Now> {
        None
    }

    pub fn driver() -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_is_found_in_what_its_module_says() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root)\nGCC version:  gcc \
                    version 12.2.0";
        assert_eq!(driver_in(open), Some("580.65.06".into()));
        assert_eq!(driver_in("NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.57  Tue"), Some("575.57".into()));
        assert_eq!(driver_in("GCC version: 12.2.0"), None);
    }
}
