//! What times are only comparable within.

use serde::{Deserialize, Serialize};

use crate::base::{device::Gpu, machine};

/// Machine, build and how it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub processor: Option<String>,
    /// Cores that this process could have used.
    pub cores: usize,
    /// Threads that a step was computed with.
    pub threads: usize,
    /// `cpu`, or the name of a GPU.
    pub device: String,
    /// The driver of the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// How the clock of the cores is governed, where that can be read.
    pub governor: Option<String>,
    pub fastrcaps_version: String,
    pub git_revision: Option<String>,
    /// What the build was compiled with, as in `cuda`.
    pub features: Vec<String>,
    /// `release`, or `debug` for a build that is not optimised.
    #[serde(default = "release")]
    pub profile: String,
}

const CPU: &str = "cpu";

fn release() -> String {
    "release".into()
}

impl Fingerprint {
    /// Of this machine and build, on so many threads.
    pub fn this(threads: usize) -> Fingerprint {
        Fingerprint {
            processor: machine::processor(),
            cores: machine::usable_cores(),
            threads,
            device: CPU.into(),
            driver: None,
            governor: machine::load::governor(),
            fastrcaps_version: machine::VERSION.into(),
            git_revision: machine::git_revision(),
            features: if cfg!(feature = "cuda") { vec!["cuda".into()] } else { Vec::new() },
            profile: if cfg!(debug_assertions) { "debug".into() } else { release() },
        }
    }

    /// Of a GPU of this machine.
    pub fn of_gpu(gpu: &Gpu) -> Fingerprint {
        Fingerprint { device: gpu.name.clone(), driver: gpu.driver.clone(), ..Fingerprint::this(1) }
    }

    pub fn is_of_gpu(&self) -> bool {
        self.device != CPU
    }
}
