//! Memory that trials on this machine share: a trial is started where what it is expected to take is free.

use std::{collections::BTreeMap, fmt, rc::Rc};

use super::{Admission, GpuMemory};
use crate::{base::device::Place, learn::config::TrialConfig};

/// One trial that took far more than expected is no reason to let all others run one by one.
const LARGEST_CORRECTION: f64 = 2.0;

/// Bytes that a training is expected to take at its peak.
pub type Expected = Rc<dyn Fn(&TrialConfig) -> u64>;

/// Memory that trials share, and what each is expected to take of it at its peak.
#[derive(Clone)]
pub struct Memory {
    pub bytes: u64,
    /// Of a trial on CPU cores.
    on_cpu: Expected,
    /// Of a trial on a GPU, whose memory is another.
    beside_gpu: Expected,
    /// The largest ratio of measured to expected so far, at least 1: what takes less than expected is no reason to expect
    /// less of others.
    correction: f64,
}

/// What memory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The most trials that run at once: at least 1, as what runs alone always may.
    pub at_once: usize,
    /// Trials that are expected to take more than all of it.
    pub too_large: usize,
    /// Bytes that the largest trial is expected to take.
    pub largest: u64,
}

impl Memory {
    pub fn new(bytes: u64, on_cpu: Expected, beside_gpu: Expected) -> Memory {
        Memory { bytes, on_cpu, beside_gpu, correction: 1.0 }
    }

    /// How many of `trials` fit at once at most, where they run on devices like `places`; each on that which takes least of
    /// this memory.
    pub fn fit<'a>(&self, trials: impl Iterator<Item = &'a TrialConfig>, places: &[Place]) -> Fit {
        let least = |config| places.iter().map(|place| self.of(config, *place)).fold(f64::INFINITY, f64::min);
        let mut expected: Vec<f64> = trials.map(least).collect();
        expected.sort_by(f64::total_cmp);
        let together = expected.iter().scan(0.0, |sum, bytes| {
            *sum += bytes;
            Some(*sum)
        });
        let at_once = together.take_while(|sum| *sum <= self.bytes as f64).count().max(1);
        let too_large = expected.iter().filter(|bytes| **bytes > self.bytes as f64).count();
        Fit { at_once, too_large, largest: expected.last().map_or(0, |bytes| *bytes as u64) }
    }

    fn of(&self, config: &TrialConfig, place: Place) -> f64 {
        match place {
            Place::Cpu => (self.on_cpu)(config) as f64 * self.correction,
            Place::Cuda(_) => (self.beside_gpu)(config) as f64,
        }
    }

    /// Takes up what a trial on CPU cores really took at its peak.
    fn learn(&mut self, config: &TrialConfig, peak_bytes: u64) {
        let ratio = peak_bytes as f64 / (self.on_cpu)(config).max(1) as f64;
        self.correction = self.correction.max(ratio.min(LARGEST_CORRECTION));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("bytes", &self.bytes).field("correction", &self.correction).finish()
    }
}

/// Says which trials may start beside those that run.
#[derive(Clone, Debug, Default)]
pub struct Admissions {
    memory: Option<Memory>,
    gpus: Option<GpuMemory>,
    /// What runs, by slot.
    running: BTreeMap<usize, (TrialConfig, Place)>,
}

impl Admissions {
    /// By the memory of the machine and that of its GPUs, where these are known.
    pub fn new(memory: Option<Memory>, gpus: Option<GpuMemory>) -> Admissions {
        Admissions { memory, gpus, running: BTreeMap::new() }
    }

    /// Whether `config` may start on a device beside what runs. What runs alone always may: it could not have more.
    pub fn ask(&mut self, config: &TrialConfig, place: Place) -> Admission {
        if let Some(why) = self.gpus.as_ref().and_then(|gpus| gpus.too_large(place, config)) {
            return Admission::Never(why);
        }
        if let Some(memory) = &self.memory {
            let taken: Vec<f64> = self.running.values().map(|(config, place)| memory.of(config, *place)).collect();
            let wanted = taken.iter().sum::<f64>() + memory.of(config, place);
            if !taken.is_empty() && wanted > memory.bytes as f64 {
                return Admission::Later(None);
            }
        }
        let beside: Vec<&TrialConfig> =
            self.running.values().filter(|(_, on)| *on == place).map(|(config, _)| config).collect();
        match self.gpus.as_mut().and_then(|gpus| gpus.refusal(place, &beside, config)) {
            Some(why) => Admission::Later(Some(why)),
            None => Admission::Now,
        }
    }

    pub fn started(&mut self, slot: usize, config: &TrialConfig, place: Place) {
        self.running.insert(slot, (config.clone(), place));
    }

    /// `peak_bytes` is what it took at its peak, where that is known.
    pub fn ended(&mut self, slot: usize, peak_bytes: Option<u64>) {
        if let (Some((config, Place::Cpu)), Some(peak), Some(memory)) =
            (self.running.remove(&slot), peak_bytes, &mut self.memory)
        {
            memory.learn(&config, peak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration that stands for so many bytes.
    fn config(bytes: usize) -> TrialConfig {
        let table = format!("[model]\npreset = 'tiny'\n[train]\nepochs = {bytes}\n");
        TrialConfig::resolve(table.parse().unwrap()).unwrap()
    }

    fn memory(bytes: u64) -> Memory {
        Memory::new(bytes, Rc::new(|config| config.train.epochs as u64), Rc::new(|_| 5))
    }

    #[test]
    fn memory_has_room_for_the_smallest_trials_at_once_and_always_for_one() {
        let gpu = Place::Cuda(0);
        let fit = |bytes: &[usize], places: &[Place]| {
            let configs: Vec<TrialConfig> = bytes.iter().map(|bytes| config(*bytes)).collect();
            let Fit { at_once, too_large, largest } = memory(100).fit(configs.iter(), places);
            (at_once, too_large, largest)
        };
        assert_eq!(fit(&[60, 30, 50, 120], &[Place::Cpu]), (2, 1, 120));
        assert_eq!(fit(&[60, 50], &[Place::Cpu]), (1, 0, 60));
        assert_eq!(fit(&[120], &[Place::Cpu]), (1, 1, 120));
        assert_eq!(fit(&[60, 30, 50, 120], &[Place::Cpu, gpu]), (4, 0, 5));
    }

    #[test]
    fn what_took_less_than_expected_lowers_no_prediction_and_what_took_more_raises_all() {
        let beside = |peak: Option<u64>| {
            let mut admissions = Admissions::new(Some(memory(100)), None);
            admissions.started(0, &config(40), Place::Cpu);
            admissions.ended(0, peak);
            admissions.started(0, &config(40), Place::Cpu);
            [40, 60, 61].map(|bytes| admissions.ask(&config(bytes), Place::Cpu) == Admission::Now)
        };
        assert_eq!(beside(None), [true, true, false]);
        assert_eq!(beside(Some(4)), [true, true, false]);
        assert_eq!(beside(Some(50)), [true, false, false]);
        assert_eq!(beside(Some(4000)), [false, false, false]);
    }
}
