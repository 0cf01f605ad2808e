//! Memory of GPUs that trials share: a trial is started where what it is expected to take is free.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::base::device::{Gpu, Place};

/// How long a look at a GPU holds.
const LOOK: Duration = Duration::from_secs(1);

/// The GPUs of a sweep, and what each of its trials is expected to take of one at its peak.
#[derive(Clone, Debug)]
pub struct GpuMemory {
    /// Bytes of each trial, where they are known.
    expected: Vec<Option<u64>>,
    gpus: BTreeMap<Place, Known>,
    /// Bytes that are free on a GPU now; absent where nobody says.
    look: fn(&Gpu) -> Option<u64>,
}

#[derive(Clone, Debug)]
struct Known {
    gpu: Gpu,
    /// Free bytes when no trial of this sweep ran on it.
    quiet: u64,
    /// Free bytes when it was last looked at.
    last: Option<(Instant, Option<u64>)>,
}

impl GpuMemory {
    /// GPUs on which nothing of ours runs yet.
    pub fn new(gpus: BTreeMap<Place, Gpu>, expected: Vec<Option<u64>>, look: fn(&Gpu) -> Option<u64>) -> GpuMemory {
        let known = |(place, gpu): (Place, Gpu)| (place, Known { quiet: gpu.free_bytes, gpu, last: None });
        GpuMemory { expected, gpus: gpus.into_iter().map(known).collect(), look }
    }

    /// Why `trial` cannot start on the GPU at `place` now, beside the trials `running` there; nothing where it can, or where it
    /// is not known what it takes.
    pub(super) fn refusal(&mut self, place: Place, running: &[usize], trial: usize) -> Option<String> {
        let bytes = self.expected[trial]?;
        let look = self.look;
        let known = self.gpus.get_mut(&place)?;
        let free = known.free(look);
        if let Some(free) = free.filter(|_| running.is_empty()) {
            known.quiet = free;
        }
        // Those that run may not have taken yet what they will.
        let ours: u64 = running.iter().filter_map(|trial| self.expected[*trial]).sum();
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

    /// Why `trial` can run on none of the GPUs at `places`, whatever else runs there; nothing where it may.
    pub(super) fn too_large(&self, places: &[Place], trial: usize) -> Option<String> {
        let bytes = self.expected[trial]?;
        let whole: Vec<&Gpu> = places.iter().map(|place| Some(&self.gpus.get(place)?.gpu)).collect::<Option<_>>()?;
        let largest = whole.into_iter().max_by_key(|gpu| gpu.memory_bytes)?;
        (bytes > largest.memory_bytes).then(|| {
            format!(
                "it wants about {} of GPU memory, and {} has {}: a smaller batch or network, or a larger GPU",
                size(bytes),
                largest.name,
                size(largest.memory_bytes)
            )
        })
    }
}

impl Known {
    fn free(&mut self, look: fn(&Gpu) -> Option<u64>) -> Option<u64> {
        if self.last.is_none_or(|(at, _)| at.elapsed() >= LOOK) {
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

    fn memory(look: fn(&Gpu) -> Option<u64>) -> GpuMemory {
        let gpu = Gpu {
            name: "one".into(),
            uuid: "GPU-1".into(),
            capability: [8, 0],
            memory_bytes: 10_000_000_000,
            free_bytes: 8_000_000_000,
            driver: None,
        };
        let expected = [Some(3_000_000_000), Some(5_000_000_000), Some(11_000_000_000), None];
        GpuMemory::new(BTreeMap::from([(PLACE, gpu)]), expected.to_vec(), look)
    }

    #[test]
    fn a_trial_starts_where_what_it_takes_is_free_beside_those_that_run() {
        let mut of = memory(|_| None);
        assert_eq!(of.refusal(PLACE, &[], 0), None);
        assert_eq!(of.refusal(PLACE, &[0], 1), None);
        let why = of.refusal(PLACE, &[0, 0], 1).unwrap();
        assert_eq!(why, "cuda:0 (one) has 2.00 GB of memory left, the next trial wants about 5.00 GB");
        // What is not known is let in.
        assert_eq!(of.refusal(PLACE, &[0, 1], 3), None);
        assert_eq!(of.refusal(Place::Cuda(7), &[], 1), None);
    }

    #[test]
    fn what_others_take_of_it_counts_from_when_they_do() {
        // Ours runs and has taken nothing yet, somebody else has come.
        let mut of = memory(|_| Some(4_000_000_000));
        assert!(of.refusal(PLACE, &[0], 1).unwrap().contains("has 4.00 GB"));
        // Nothing of ours runs: what is free now is all there is, from now on.
        assert!(of.refusal(PLACE, &[], 1).is_some());
        assert_eq!(of.refusal(PLACE, &[], 0), None);
        assert!(of.refusal(PLACE, &[0], 0).unwrap().contains("has 1.00 GB"));
    }

    #[test]
    fn what_is_larger_than_every_gpu_is_known_at_once() {
        let of = memory(|_| None);
        assert_eq!((of.too_large(&[PLACE], 1), of.too_large(&[PLACE], 3)), (None, None));
        assert!(
            of.too_large(&[PLACE], 2)
                .unwrap()
                .starts_with("it wants about 11.00 GB of GPU memory, and one has 10.00 GB")
        );
        // It may fit on one of which nothing is known.
        assert_eq!(of.too_large(&[PLACE, Place::Cuda(1)], 2), None);
        assert_eq!(of.too_large(&[], 2), None);
    }
}
