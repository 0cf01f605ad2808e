//! Slots: how many trials run at once, with how many threads each, on which cores.

use std::str::FromStr;

/// A place where one trial runs at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub threads: usize,
    /// Cores the trial is pinned to; empty where it is not pinned.
    pub cores: Vec<usize>,
}

/// The slots of a sweep, as `--slots` declares them: `2x1` is two trials at once with one thread each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub count: usize,
    pub threads: usize,
}

/// Why a text declares no slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error("slots are (count)x(threads), as in 2x1: two trials at once, one thread each")]
    Form,
    #[error("both numbers must be at least 1, as in 2x1: two trials at once, one thread each")]
    Zero,
    #[error("at most 4096 slots and 4096 threads are allowed")]
    TooMany,
}

impl FromStr for Slots {
    type Err = SlotError;

    fn from_str(text: &str) -> Result<Slots, SlotError> {
        let (count, threads) = text.split_once(['x', '×']).ok_or(SlotError::Form)?;
        let number = |part: &str| part.trim().parse::<usize>().map_err(|_| SlotError::Form);
        let (count, threads) = (number(count)?, number(threads)?);
        match (count, threads) {
            (0, _) | (_, 0) => Err(SlotError::Zero),
            (4097.., _) | (_, 4097..) => Err(SlotError::TooMany),
            _ => Ok(Slots { count, threads }),
        }
    }
}

impl std::fmt::Display for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.count, self.threads)
    }
}

impl Slots {
    /// One slot per core with one thread each: a sweep of many trials is fastest that way.
    pub fn one_per_core(cores: usize) -> Slots {
        Slots { count: cores.max(1), threads: 1 }
    }

    /// Threads of all slots together.
    pub fn total_threads(&self) -> usize {
        self.count * self.threads
    }

    /// The slots, each on cores of its own out of `cores`; unpinned where there are not enough for all.
    pub fn place(&self, cores: &[usize]) -> Vec<Slot> {
        let mut free = if cores.len() >= self.total_threads() { cores } else { &[] };
        (0..self.count)
            .map(|_| {
                let (own, rest) = free.split_at(self.threads.min(free.len()));
                free = rest;
                Slot { threads: self.threads, cores: own.to_vec() }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_get_cores_of_their_own_in_order() {
        let slots: Slots = "2x2".parse().unwrap();
        let placed = slots.place(&[0, 1, 4, 5, 6]);
        assert_eq!(placed[0], Slot { threads: 2, cores: vec![0, 1] });
        assert_eq!(placed[1], Slot { threads: 2, cores: vec![4, 5] });
    }

    #[test]
    fn slots_are_unpinned_where_cores_do_not_suffice() {
        assert!("3x1".parse::<Slots>().unwrap().place(&[0, 1]).iter().all(|slot| slot.cores.is_empty()));
    }

    #[test]
    fn zero_and_nonsense_are_refused() {
        assert_eq!("0x1".parse::<Slots>(), Err(SlotError::Zero));
        assert_eq!("2x0".parse::<Slots>(), Err(SlotError::Zero));
        assert_eq!("2".parse::<Slots>(), Err(SlotError::Form));
        assert_eq!("x".parse::<Slots>(), Err(SlotError::Form));
        assert_eq!("99999x1".parse::<Slots>(), Err(SlotError::TooMany));
    }
}
