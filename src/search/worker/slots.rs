//! Slots: how many trials run at once, with how many threads each, on which cores or which GPU.

use std::{fmt, str::FromStr};

use crate::base::device::Place;

/// A place where one trial runs at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub threads: usize,
    /// Cores the trial is pinned to; empty where it is not pinned.
    pub cores: Vec<usize>,
    pub place: Place,
    /// Slots that share its GPU, this one counted; 1 on CPU cores.
    pub share: usize,
    /// Name of its GPU, where it is one that is known.
    pub gpu: Option<String>,
}

impl Slot {
    /// Its device in words, as in `cpu` or `cuda:0 NVIDIA H100 80GB HBM3`.
    pub fn device(&self) -> String {
        match &self.gpu {
            Some(name) => format!("{} {name}", self.place),
            None => self.place.to_string(),
        }
    }
}

/// The slots of a sweep, as `--slots` declares them: `2x1,cuda:0x3` is two trials at once on CPU cores, with one thread each, and
/// three that share the first GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(Vec<Group>);

/// Slots of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    place: Place,
    count: usize,
    /// Of each trial: 1 on a GPU.
    threads: usize,
}

/// Why a text declares no slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error(
        "slots are (count)x(threads), as in 2x1: two trials at once, one thread each; cuda:(number)x(count), as in cuda:0x2: two \
         trials that share the first GPU (cuda:0: one); or several of these, as in 2x1,cuda:0,cuda:1x2"
    )]
    Form,
    #[error("both numbers must be at least 1, as in 2x1: two trials at once, one thread each")]
    Zero,
    #[error("at least one trial must share {0}, as in {0}x1")]
    NoShare(Place),
    #[error("at most 4096 slots and 4096 threads are allowed")]
    TooMany,
    #[error("{0} stands there twice: say how many trials share it, as in {0}x2")]
    Twice(Place),
    #[error("slots on CPU cores stand there twice: all of them have as many threads, as in 2x1,cuda:0")]
    CoresTwice,
}

/// The most slots of a device, and threads of a trial.
const MOST: usize = 4096;

impl FromStr for Slots {
    type Err = SlotError;

    fn from_str(text: &str) -> Result<Slots, SlotError> {
        let mut groups: Vec<Group> = Vec::new();
        for part in text.split(',') {
            let group = Group::read(part.trim())?;
            if groups.iter().any(|known| known.place == group.place) {
                return Err(if group.place.is_cpu() { SlotError::CoresTwice } else { SlotError::Twice(group.place) });
            }
            groups.push(group);
        }
        Ok(Slots(groups))
    }
}

impl Group {
    fn read(text: &str) -> Result<Group, SlotError> {
        let number = |part: &str| match part.trim() {
            part if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) => Err(SlotError::Form),
            // More digits than a number has are too many.
            part => Ok(part.parse::<usize>().unwrap_or(usize::MAX)),
        };
        let parts = text.split_once(['x', '×']);
        let is_cpu = text.starts_with(|c: char| c.is_ascii_digit());
        let (place, count, threads) = match parts {
            Some((count, threads)) if is_cpu => (Place::Cpu, number(count)?, number(threads)?),
            _ => {
                let (name, count) = parts.map_or((text, Ok(1)), |(name, count)| (name, number(count)));
                let place: Place = name.parse().map_err(|_| SlotError::Form)?;
                if place.is_cpu() {
                    return Err(SlotError::Form);
                }
                (place, count?, 1)
            }
        };
        match (count, threads) {
            (0, _) if !place.is_cpu() => Err(SlotError::NoShare(place)),
            (0, _) | (_, 0) => Err(SlotError::Zero),
            (count, threads) if count > MOST || threads > MOST => Err(SlotError::TooMany),
            _ => Ok(Group { place, count, threads }),
        }
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Group { place, count, threads }) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            match (place, count) {
                (Place::Cpu, _) => write!(f, "{count}x{threads}")?,
                (_, 1) => write!(f, "{place}")?,
                _ => write!(f, "{place}x{count}")?,
            }
        }
        Ok(())
    }
}

impl Slots {
    /// Slots on CPU cores alone.
    pub fn on_cores(count: usize, threads: usize) -> Slots {
        Slots(vec![Group { place: Place::Cpu, count: count.max(1), threads: threads.max(1) }])
    }

    /// One slot per core with one thread each: a sweep of many trials is fastest that way.
    pub fn one_per_core(cores: usize) -> Slots {
        Slots::on_cores(cores, 1)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|group| group.count).sum()
    }

    /// Threads of a trial on CPU cores; 1 where all are on GPUs.
    pub fn threads(&self) -> usize {
        self.0.iter().map(|group| group.threads).max().unwrap_or(1)
    }

    /// Threads of all slots together, on the host.
    pub fn total_threads(&self) -> usize {
        self.0.iter().map(|group| group.count * group.threads).sum()
    }

    /// The devices, in the order in which they were named.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.0.iter().map(|group| group.place)
    }

    /// The device that was named first.
    pub fn first_place(&self) -> Place {
        self.places().next().unwrap_or_default()
    }

    /// Whether trials run on CPU cores.
    pub fn has_cpu(&self) -> bool {
        self.places().any(Place::is_cpu)
    }

    /// The GPUs, in the order in which they were named.
    pub fn gpus(&self) -> impl Iterator<Item = Place> {
        self.places().filter(|place| !place.is_cpu())
    }

    /// The slots, in the order in which they were named. Those on CPU cores have cores of their own out of `cores`, and are
    /// unpinned where there are not enough for all; those on GPUs share what cores are left, and are unpinned where none are.
    pub fn place(&self, cores: &[usize]) -> Vec<Slot> {
        let of_cpu: usize = self.0.iter().filter(|group| group.place.is_cpu()).map(|of| of.count * of.threads).sum();
        let (mut free, rest) = if cores.len() >= of_cpu { cores.split_at(of_cpu) } else { (&[][..], &[][..]) };
        let rest = if of_cpu == 0 { &[] } else { rest };
        let slots = self.0.iter().flat_map(|group| std::iter::repeat_n(group, group.count));
        let slot = |group: &Group| {
            let Group { place, count, threads } = *group;
            let (cores, share) = match place {
                Place::Cuda(_) => (rest, count),
                Place::Cpu => {
                    let (own, others) = free.split_at(threads.min(free.len()));
                    free = others;
                    (own, 1)
                }
            };
            Slot { threads, cores: cores.to_vec(), place, share, gpu: None }
        };
        slots.map(slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(text: &str) -> Slots {
        text.parse().unwrap()
    }

    fn cores(text: &str, cores: &[usize]) -> Vec<Vec<usize>> {
        slots(text).place(cores).into_iter().map(|slot| slot.cores).collect()
    }

    #[test]
    fn slots_get_cores_of_their_own_in_order() {
        assert_eq!(cores("2x2", &[0, 1, 4, 5, 6]), [[0, 1], [4, 5]]);
    }

    #[test]
    fn slots_are_unpinned_where_cores_do_not_suffice() {
        assert_eq!(cores("3x1", &[0, 1]), vec![Vec::<usize>::new(); 3]);
        assert_eq!(cores("3x1,cuda:0", &[0, 1]), vec![Vec::<usize>::new(); 4]);
    }

    #[test]
    fn slots_on_gpus_have_a_thread_each_on_the_cores_that_are_left() {
        assert_eq!(cores("cuda:1x2,2x1", &[0, 1, 2, 3]), [vec![2, 3], vec![2, 3], vec![0], vec![1]]);
        assert_eq!(cores("2x1,cuda:0", &[0, 1]), [vec![0], vec![1], vec![]]);
        assert_eq!(cores("cuda:0,cuda:1", &[0, 1]), vec![Vec::<usize>::new(); 2]);
        let placed = slots("1x4,cuda:1x2").place(&[]);
        let told: Vec<_> = placed.iter().map(|slot| (slot.place, slot.threads, slot.share)).collect();
        assert_eq!(told, [(Place::Cpu, 4, 1), (Place::Cuda(1), 1, 2), (Place::Cuda(1), 1, 2)]);
    }

    #[test]
    fn slots_are_written_as_they_are_read() {
        for text in ["2x1", "2x1,cuda:0,cuda:1x2", "cuda:0x3", "cuda:3,4x2"] {
            assert_eq!(slots(text).to_string(), text);
        }
        assert_eq!(slots(" 2 × 1, cuda ").to_string(), "2x1,cuda:0");
        let of = |text: &str| (slots(text).count(), slots(text).threads(), slots(text).total_threads());
        assert_eq!([of("2x3"), of("cuda:0x2"), of("cuda:0x2,2x3")], [(2, 3, 6), (2, 1, 2), (4, 3, 8)]);
        assert_eq!(slots("cuda:1,2x1").first_place(), Place::Cuda(1));
        assert!(slots("cuda:1,2x1").has_cpu() && !slots("cuda:1").has_cpu());
    }

    #[test]
    fn zero_and_nonsense_are_refused() {
        let refused = |text: &str| text.parse::<Slots>().unwrap_err();
        assert_eq!(refused("0x1"), SlotError::Zero);
        assert_eq!(refused("2x0"), SlotError::Zero);
        assert_eq!(refused("cuda:0x0"), SlotError::NoShare(Place::Cuda(0)));
        assert_eq!(refused("99999x1"), SlotError::TooMany);
        assert_eq!(refused("cuda:0x99999999999999999999999"), SlotError::TooMany);
        assert_eq!(refused("cuda:0,cuda"), SlotError::Twice(Place::Cuda(0)));
        assert_eq!(refused("2x1,cuda:0,1x1"), SlotError::CoresTwice);
        for text in
            ["2", "x", "", "2x1,", ",cuda:0", "cpu", "cpux2", "cuda:", "cuda:0x", "gpu:0", "+2x1", "2x-1", "cuda:0x1x2"]
        {
            assert_eq!(refused(text), SlotError::Form, "{text}");
        }
        assert!(refused("gpu:0").to_string().contains("as in 2x1,cuda:0,cuda:1x2"));
    }
}
