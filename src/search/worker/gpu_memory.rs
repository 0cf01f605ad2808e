//! Memory of GPUs that trials share: a trial is started where what it is expected to take is free.

use std::{
    collections::BTreeMap,
    fmt,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    base::device::{Gpu, Place},
    learn::config::TrialConfig,
};

/// How long a look at a GPU holds, unless told otherwise.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes that a training is expected to take of a GPU at its peak, where that is known.
pub type ExpectedOnGpu = Rc<dyn Fn(&TrialConfig) -> Option<u64>>;

/// The GPUs of a worker, and what a training is expected to take of one at its peak.
#[derive(Clone)]
pub struct GpuMemory {
    expected: ExpectedOnGpu,
    gpus: BTreeMap<Place, Known>,
    /// Bytes that are free on a GPU now; absent where nobody says.
    look: fn(&Gpu) -> Option<u64>,
    /// How long such a look holds.
    holds: Duration,
}

#[derive(Clone, Debug)]
struct Known {
    gpu: Gpu,
    /// Free bytes when no trial of this worker ran on it.
    quiet: u64,
    /// Free bytes when it was last looked at.
    last: Option<(Instant, Option<u64>)>,
}

impl GpuMemory {
    /// GPUs on which nothing of ours runs yet.
    pub fn new(gpus: BTreeMap<Place, Gpu>, expected: ExpectedOnGpu, look: fn(&Gpu) -> Option<u64>) -> GpuMemory {
        let known = |(place, gpu): (Place, Gpu)| (place, Known { quiet: gpu.free_bytes, gpu, last: None });
        GpuMemory { expected, gpus: gpus.into_iter().map(known).collect(), look, holds: LOOK }
    }

    /// Looks anew once a look is that old.
    pub fn looking_every(self, holds: Duration) -> GpuMemory {
        GpuMemory { holds, ..self }
    }

    /// Why `config` cannot start on the GPU at `place` now, beside the trainings `running` there; nothing where it can, or where
    /// it is not known what it takes.
    pub(super) fn refusal(&mut self, place: Place, running: &[&TrialConfig], config: &TrialConfig) -> Option<String> {
        let bytes = (self.expected)(config)?;
        let (look, holds) = (self.look, self.holds);
        let known = self.gpus.get_mut(&place)?;
        let free = known.free(look, holds);
        if let Some(free) = free.filter(|_| running.is_empty()) {
            known.quiet = free;
        }
        // Those that run may not have taken yet what they will.
        let ours: u64 = running.iter().filter_map(|config| (self.expected)(config)).sum();
        let left = known.quiet.saturating_sub(ours).min(free.unwrap_or(u64::MAX));
        (bytes > left).then(|| {
            format!(
                "{place} ({}) has {} of memory left, the next trial wants about {}",
                known.gpu.name,
                size(left),
                size(bytes)
            )
        })
    }

    /// Why `config` cannot run on the GPU at `place`, whatever else runs there; nothing where it may.
    pub(super) fn too_large(&self, place: Place, config: &TrialConfig) -> Option<String> {
        let bytes = (self.expected)(config)?;
        let gpu = &self.gpus.get(&place)?.gpu;
        (bytes > gpu.memory_bytes).then(|| {
            format!(
                "it wants about {} of GPU memory, and {} has {}: a smaller batch or network, or a larger GPU",
                size(bytes),
                gpu.name,
                size(gpu.memory_bytes)
            )
        })
    }
}

impl fmt::Debug for GpuMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuMemory").field("gpus", &self.gpus).finish()
    }
}

impl Known {
    fn free(&mut self, look: fn(&Gpu) -> Option<u64>, holds: Duration) -> Option<u64> {
        if self.last.is_none_or(|(at, _)| at.elapsed() >= holds) {
            self.last = Some((Instant::now(), look(&self.gpu)));
        }
        self.last?.1
    }
}

fn size(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place::Cuda(0);

    /// A configuration that stands for so many gigabytes; of 9 it is not known what it takes.
    fn config(gigabytes: usize) -> TrialConfig {
        let table = format!("[model]\npreset = 'tiny'\n[train]\nepochs = {gigabytes}\n");
        TrialConfig::resolve(table.parse().unwrap()).unwrap()
    }

    fn memory(look: fn(&Gpu) -> Option<u64>) -> GpuMemory {
        let gpu = Gpu {
            name: "one".into(),
            uuid: "GPU-1".into(),
            capability: [8, 0],
            memory_bytes: 10_000_000_000,
            free_bytes: 8_000_000_000,
            driver: None,
        };
        let expected = |config: &TrialConfig| match config.train.epochs as u64 {
            9 => None,
            gigabytes => Some(1_000_000_000 * gigabytes),
        };
        GpuMemory::new(BTreeMap::from([(PLACE, gpu)]), Rc::new(expected), look)
    }

    #[test]
    fn a_trial_starts_where_what_it_takes_is_free_beside_those_that_run() {
        let [small, large, unknown] = [3, 5, 9].map(config);
        let mut of = memory(|_| None);
        assert_eq!(of.refusal(PLACE, &[], &small), None);
        assert_eq!(of.refusal(PLACE, &[&small], &large), None);
        let why = of.refusal(PLACE, &[&small, &small], &large).unwrap();
        assert_eq!(why, "cuda:0 (one) has 2.00 GB of memory left, the next trial wants about 5.00 GB");
        // What is not known is let in.
        assert_eq!(of.refusal(PLACE, &[&small, &large], &unknown), None);
        assert_eq!(of.refusal(Place::Cuda(7), &[], &large), None);
    }

    #[test]
    fn what_others_take_of_it_counts_from_when_they_do() {
        let [small, large] = [3, 5].map(config);
        // Ours runs and has taken nothing yet, somebody else has come.
        let mut of = memory(|_| Some(4_000_000_000));
        assert!(of.refusal(PLACE, &[&small], &large).unwrap().contains("has 4.00 GB"));
        // Nothing of ours runs: what is free now is all there is, from now on.
        assert!(of.refusal(PLACE, &[], &large).is_some());
        assert_eq!(of.refusal(PLACE, &[], &small), None);
        assert!(of.refusal(PLACE, &[&small], &small).unwrap().contains("has 1.00 GB"));
    }

    #[test]
    fn what_is_larger_than_a_gpu_is_known_at_once() {
        let [small, unknown, huge] = [3, 9, 11].map(config);
        let of = memory(|_| None);
        assert_eq!((of.too_large(PLACE, &small), of.too_large(PLACE, &unknown)), (None, None));
        let why = of.too_large(PLACE, &huge).unwrap();
        assert!(why.starts_with("it wants about 11.00 GB of GPU memory, and one has 10.00 GB"), "{why}");
        // It may fit on one of which nothing is known.
        assert_eq!(of.too_large(Place::Cuda(1), &huge), None);
    }
}
