//! What else the machine does: who takes its cores.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use super::read;

/// Seconds of a tick, in which the system counts processor time for its users: 100 a second on every Linux of ours.
pub const TICK: f64 = 0.01;

/// Load average over the last minute.
pub fn average() -> Option<f64> {
    read("/proc/loadavg")?.split_whitespace().next()?.parse().ok()
}

/// How the clock of the cores is governed, where that can be read.
pub fn governor() -> Option<String> {
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")?;
    Some(governor.trim().to_string()).filter(|governor| !governor.is_empty())
}

/// What others took of the machine over a span of time, in cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Others {
    pub seconds: f64,
    /// Other processes, and the system.
    pub processes: f64,
    /// The host of a virtual machine, which ran something else while there was work here.
    pub stolen: f64,
}

impl Others {
    pub fn cores(&self) -> f64 {
        self.processes + self.stolen
    }
}

/// The beginning of a span over which [`Others`] are measured.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: Instant,
    /// Ticks of all processes, of this one, and those stolen; absent where the system does not say.
    ticks: Option<[u64; 3]>,
}

impl Mark {
    pub fn now() -> Mark {
        Mark { at: Instant::now(), ticks: ticks() }
    }

    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// What others took from then until now; absent where the system does not say.
    pub fn others(&self) -> Option<Others> {
        let (before, now) = (self.ticks?, ticks()?);
        let seconds = self.at.elapsed().as_secs_f64();
        let [all, own, stolen] = [0, 1, 2].map(|of| TICK * now[of].saturating_sub(before[of]) as f64);
        // All are counted by samples, ours exactly: the difference may come out below 0.
        Some(Others { seconds, processes: (all - own).max(0.0) / seconds, stolen: stolen / seconds })
    }
}

fn ticks() -> Option<[u64; 3]> {
    let [all, stolen] = of_machine(&read("/proc/stat")?)?;
    let (_, own) = of_process(&read("/proc/self/stat")?)?;
    Some([all, own, stolen])
}

/// Ticks of all processes and of interrupts, and those stolen, from `/proc/stat`.
fn of_machine(text: &str) -> Option<[u64; 2]> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(|field| field.parse().ok());
    let [user, nice, system, _idle, _waiting, irq, softirq, stolen]: [Option<u64>; 8] =
        std::array::from_fn(|_| fields.next().flatten());
    Some([user? + nice? + system? + irq? + softirq?, stolen?])
}

/// A process's name and its ticks, from `/proc/PID/stat`.
fn of_process(text: &str) -> Option<(String, u64)> {
    // A name may hold blanks and brackets; what follows the last one does not.
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some((name.to_string(), fields.next()?? + fields.next()??))
}

/// A process that takes processor time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    pub process: u32,
    pub name: String,
}

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, process {}", self.name, self.process)
    }
}

/// The other process that takes most processor time over the next `span`; none where nobody is seen to.
pub fn busiest(span: Duration) -> Option<Busy> {
    let before = processes();
    thread::sleep(span);
    let took = |(process, (name, ticks)): (u32, (String, u64))| {
        // One that is new has taken all of its time since.
        let took = ticks.saturating_sub(before.get(&process).map_or(0, |(_, ticks)| *ticks));
        (took, Busy { process, name })
    };
    let taken = processes().into_iter().map(took).filter(|(took, _)| *took > 0);
    taken.max_by_key(|(took, busy)| (*took, busy.process)).map(|(_, busy)| busy)
}

/// Name and ticks of every other process that can be seen.
fn processes() -> HashMap<u32, (String, u64)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    let of = |entry: std::fs::DirEntry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        // One may be gone by now.
        let stat = read(&format!("/proc/{process}/stat")).filter(|_| process != std::process::id())?;
        Some((process, of_process(&stat)?))
    };
    entries.filter_map(|entry| of(entry.ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_what_the_system_writes() {
        let stat = "cpu  10 2 3 900 50 1 4 7 0 0\ncpu0 10 2 3 900 50 1 4 7 0 0\n";
        assert_eq!(of_machine(stat), Some([20, 7]));
        let process = "71 (a (b) c) R 1 71 71 0 -1 4194304 104 0 0 0 30 12 0 0 20 0 1 0 35 1 2";
        assert_eq!(of_process(process), Some(("a (b) c".into(), 42)));
        for damaged in ["", "cpu", "cpu  1 2", "71 (a", "71 (a) R 1"] {
            assert_eq!((of_machine(damaged), of_process(damaged)), (None, None), "{damaged:?}");
        }
    }
}
