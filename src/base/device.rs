//! Where a training runs: CPU cores, or a CUDA GPU; and what a process may see of them.

use std::{env, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What says in which order the CUDA driver numbers GPUs.
pub const ORDER: &str = "CUDA_DEVICE_ORDER";
/// The order of `nvidia-smi`.
pub const BUS_ORDER: &str = "PCI_BUS_ID";
/// What says which GPUs the CUDA driver shows a process, separated by commas.
pub const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// A device by its name: `cpu`, `cuda:0`, `cuda:1` … in the order of their PCI bus ids, as `nvidia-smi` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    #[default]
    Cpu,
    Cuda(usize),
}

/// Why a text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a device is cpu or cuda:N, as in cuda:0 for the first GPU that nvidia-smi lists")]
pub struct PlaceError;

/// A GPU that this process is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no {place}: CUDA_VISIBLE_DEVICES={visible} shows this program {count}; name one of these, or unset it"
)]
pub struct Hidden {
    place: Place,
    visible: String,
    /// In words.
    count: String,
}

impl Place {
    pub fn is_cpu(self) -> bool {
        self == Place::Cpu
    }

    /// What a process has in its environment that is to see this device and no other GPU: to it, its GPU is `cuda:0`.
    pub fn environment(self) -> Result<[(&'static str, String); 2], Hidden> {
        let order = env::var(ORDER).unwrap_or_else(|_| BUS_ORDER.into());
        Ok([(ORDER, order), (VISIBLE, self.visible(env::var(VISIBLE).ok().as_deref())?)])
    }

    /// The value of `CUDA_VISIBLE_DEVICES` for such a process, where that of this one is `own`.
    fn visible(self, own: Option<&str>) -> Result<String, Hidden> {
        let Place::Cuda(number) = self else { return Ok(String::new()) };
        let Some(own) = own else { return Ok(number.to_string()) };
        // The driver shows those before the first that names none.
        let shown: Vec<&str> = own.split(',').map(str::trim).take_while(|of| !of.is_empty() && *of != "-1").collect();
        let count = match shown.len() {
            0 => "no GPU".into(),
            1 => "one GPU, cuda:0".into(),
            count => format!("{count} GPUs, cuda:0 to cuda:{}", count - 1),
        };
        let hidden = || Hidden { place: self, visible: own.into(), count };
        shown.get(number).map(|of| of.to_string()).ok_or_else(hidden)
    }

    /// What it is called in a process that sees no other GPU.
    pub fn alone(self) -> Place {
        match self {
            Place::Cpu => Place::Cpu,
            Place::Cuda(_) => Place::Cuda(0),
        }
    }
}

/// A GPU, as a program that computes on it sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    pub name: String,
    /// As `nvidia-smi -L` has it.
    pub uuid: String,
    /// Major and minor number of its compute capability.
    pub capability: [u32; 2],
    pub memory_bytes: u64,
    /// Of its memory, what nobody had when it was looked at.
    pub free_bytes: u64,
    /// The version of its driver, or of the CUDA that this driver is for.
    pub driver: Option<String>,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Place, PlaceError> {
        match text.trim() {
            "cpu" => Ok(Place::Cpu),
            "cuda" => Ok(Place::Cuda(0)),
            text => {
                let number = text.strip_prefix("cuda:").ok_or(PlaceError)?;
                // No machine has a thousand; `parse` alone would take a sign too.
                let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
                if is_number { number.parse().map(Place::Cuda).map_err(|_| PlaceError) } else { Err(PlaceError) }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Cpu => f.write_str("cpu"),
            Place::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_the_gpu_that_its_parent_calls_by_the_number() {
        let visible = |number, own| Place::Cuda(number).visible(own).map_err(|error| error.to_string());
        assert_eq!(visible(1, None), Ok("1".into()));
        assert_eq!(visible(1, Some("3, GPU-5ebe,0")), Ok("GPU-5ebe".into()));
        assert!(visible(2, Some("0,1")).unwrap_err().contains("shows this program 2 GPUs, cuda:0 to cuda:1"));
        assert!(visible(1, Some("4,-1,5")).unwrap_err().contains("one GPU, cuda:0"));
        assert!(visible(0, Some("")).unwrap_err().contains("no GPU"));
        for own in [None, Some("0,1"), Some("")] {
            assert_eq!(Place::Cpu.visible(own), Ok(String::new()));
        }
    }

    #[test]
    fn devices_are_named_as_candle_and_pytorch_name_them() {
        for place in [Place::Cpu, Place::Cuda(0), Place::Cuda(12)] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert_eq!("cuda".parse(), Ok(Place::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:+1", "cuda:0x1", "cuda:1000", "cpu:0"] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError), "{text}");
        }
    }
}
