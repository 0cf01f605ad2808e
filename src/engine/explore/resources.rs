//! Memory that trials of an exploration may take, and would.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use anyhow::Result;

use crate::{
    base::{
        device::{Gpu, Place},
        machine,
    },
    learn::{
        config::TrialConfig,
        train::memory::{gpu_peak_bytes, peak_bytes, peak_bytes_beside_gpu},
    },
    search::{
        space::Trial,
        worker::{GpuMemory, Memory, Slots},
    },
};

/// Share of the memory that is available now which trials may take: the explorer and the system want some too.
const OF_AVAILABLE: f64 = 0.9;

/// What trials may take of the memory, `bytes` where they are given, and what each would; absent where it is not known how
/// much there is.
///
/// Errors: a configuration whose sizes make no network.
pub fn memory(bytes: Option<u64>, trials: &[Trial], slots: &Slots) -> Result<Option<Memory>> {
    let available = machine::available_memory_bytes().map(|bytes| (OF_AVAILABLE * bytes as f64) as u64);
    let Some(bytes) = bytes.or(available) else { return Ok(None) };
    let threads = slots.threads();
    for trial in trials.iter().filter(|trial| trial.replicate == 0) {
        peak_bytes(&trial.config, threads)?;
    }
    // What makes no network was an error above.
    let on_cpu = by_configuration(move |config| peak_bytes(config, threads).unwrap_or(0));
    Ok(Some(Memory::new(bytes, on_cpu, by_configuration(peak_bytes_beside_gpu))))
}

/// A figure of configurations that takes some time to find: found once for each, whatever its seed.
fn by_configuration<T: Copy + 'static>(find: impl Fn(&TrialConfig) -> T + 'static) -> Rc<dyn Fn(&TrialConfig) -> T> {
    let known: RefCell<HashMap<String, T>> = RefCell::default();
    Rc::new(move |config| {
        let key = TrialConfig { seed: 0, ..config.clone() }.key("");
        *known.borrow_mut().entry(key).or_insert_with(|| find(config))
    })
}

/// The memory of the GPUs that trials run on.
pub(super) fn gpu_memory(gpus: &BTreeMap<Place, Gpu>) -> Option<GpuMemory> {
    (!gpus.is_empty()).then(|| GpuMemory::new(gpus.clone(), by_configuration(gpu_peak_bytes), free_bytes))
}

/// Of a GPU, now. What is a part of one (MIG) may go by the name of the whole: that says nothing.
fn free_bytes(gpu: &Gpu) -> Option<u64> {
    let now = machine::gpu::now(&gpu.uuid)?;
    let is_the_same = now.memory_bytes.abs_diff(gpu.memory_bytes) < gpu.memory_bytes / 10;
    is_the_same.then_some(now.free_bytes)
}
