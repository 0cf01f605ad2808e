//! Where a training runs: CPU cores, or a CUDA GPU.

use std::{fmt, str::FromStr};

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

impl Place {
    pub fn is_cpu(self) -> bool {
        self == Place::Cpu
    }
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
