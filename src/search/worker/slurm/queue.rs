//! What `squeue` says, and what Slurm's words mean.

use crate::learn::record::Fault;
use crate::search::worker::End;

/// What is asked of `squeue`: array's number in the study, job, tasks, state, reason.
pub(super) const FORMAT: &str = "%k|%F|%K|%T|%r";

/// A line of the queue: tasks of an array that are in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub number: u64,
    pub job: String,
    /// Ranges of tasks, both ends included.
    pub tasks: Vec<(usize, usize)>,
    pub state: State,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Pending,
    Running,
    /// On its way out; what follows is not known yet.
    Ending,
    Over(Over),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Over {
    Completed,
    Cancelled,
    Failed,
    NodeFail,
    OutOfMemory,
    Preempted,
    Timeout,
    Other,
}

/// The lines of jobs called `name`; lines that are not understood are none of ours.
pub(super) fn read(text: &str, name: &str) -> Vec<Line> {
    text.lines().filter_map(|line| read_line(line, name)).collect()
}

fn read_line(line: &str, name: &str) -> Option<Line> {
    let mut fields = line.trim().splitn(5, '|');
    let number = fields.next()?.strip_prefix(name)?.strip_prefix('/')?.parse().ok()?;
    let job = fields.next()?.to_string();
    let tasks = ranges(fields.next()?)?;
    let state = State::named(fields.next()?);
    Some(Line { number, job, tasks, state, reason: fields.next().unwrap_or_default().to_string() })
}

/// Tasks as Slurm writes them: `5`, `4-9%4`, `1,3,5-7%2`, `0-8:2`.
fn ranges(text: &str) -> Option<Vec<(usize, usize)>> {
    let text = text.split('%').next()?;
    let mut all = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once(':').map_or((part, 1), |(range, step)| (range, step.parse().unwrap_or(1)));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        match step {
            0 | 1 => all.push((first, last)),
            step => all.extend((first..=last).step_by(step).map(|task| (task, task))),
        }
    }
    Some(all)
}

impl State {
    fn named(word: &str) -> State {
        match word {
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" => State::Pending,
            "RUNNING" | "SUSPENDED" | "CONFIGURING" | "RESIZING" | "SIGNALING" | "STAGE_OUT" | "STOPPED" => {
                State::Running
            }
            "COMPLETING" => State::Ending,
            "COMPLETED" => State::Over(Over::Completed),
            "FAILED" => State::Over(Over::Failed),
            "NODE_FAIL" => State::Over(Over::NodeFail),
            "OUT_OF_MEMORY" => State::Over(Over::OutOfMemory),
            "PREEMPTED" => State::Over(Over::Preempted),
            "TIMEOUT" | "DEADLINE" => State::Over(Over::Timeout),
            word if word.starts_with("CANCELLED") => State::Over(Over::Cancelled),
            _ => State::Over(Over::Other),
        }
    }
}

/// What accounting says of a job, as in `OUT_OF_MEMORY|0:125`: how it ended, and its exit code.
pub(super) fn accounted(text: &str) -> (Option<Over>, Option<String>) {
    // Of a job that was requeued the last line is the last start's.
    let Some((state, exit)) = text.lines().last().and_then(|line| line.trim().split_once('|')) else {
        return (None, None);
    };
    match State::named(state) {
        State::Over(over) => (Some(over), Some(exit.to_string())),
        _ => (None, None),
    }
}

/// How a trial ended whose job is over without having left a word. `exit` is what `scontrol` tells of it, as in `0:53`.
pub(super) fn end(over: Over, reason: &str, exit: Option<&str>) -> End {
    let machine = |words: String| End::Broken(Fault::Machine, words);
    match over {
        Over::Completed => machine("its job is over, and left no result".into()),
        Over::Cancelled => machine("its job was cancelled, but not by its explorer".into()),
        // It goes on from its checkpoint, and it was no failure.
        Over::Preempted => End::Stopped,
        Over::NodeFail => machine("its node was lost (NODE_FAIL)".into()),
        Over::OutOfMemory => {
            End::Broken(Fault::Memory, "killed by Slurm for more memory than its job had (OUT_OF_MEMORY)".into())
        }
        Over::Timeout => machine(
            "its job's time was over before it had written a checkpoint (TIMEOUT): give more `time` or `checkpoint_before`"
                .into(),
        ),
        Over::Failed | Over::Other => machine(match exit {
            Some("0:53") => {
                "Slurm could not start its job (0:53): the work folder is missing on that node, or cannot be written there"
                    .into()
            }
            Some(exit) => format!("its job failed with exit code {exit} ({reason}) and no result"),
            None => format!("its job failed ({reason}) and left no result"),
        }),
    }
}

/// Why a job that waits will never begin, where that is so.
pub(super) fn never_begins(reason: &str) -> Option<&'static str> {
    let known = [
        ("BadConstraints", "no node has what the job asks for: look at constraint, gres, memory and cpus"),
        ("PartitionTimeLimit", "the job asks for more time than its partition allows: give less `time`"),
        ("PartitionNodeLimit", "the job asks for more nodes than its partition allows"),
        ("PartitionConfig", "the partition has no node that is large enough for the job: give less cpus or memory"),
        ("PartitionDown", "the partition is down"),
        ("PartitionInactive", "the partition is inactive"),
        ("InvalidAccount", "the account may not be used: look at `account`"),
        ("InvalidQOS", "the QOS may not be used: look at `qos`"),
        ("AccountNotAllowed", "the partition does not take jobs of this account"),
        ("QOSNotAllowed", "the partition does not take jobs of this QOS"),
        ("JobHeldAdmin", "the job is held by an administrator"),
        ("JobHeldUser", "the job is held: `scontrol release` lets it go"),
        ("QOSMaxWallDurationPerJobLimit", "the QOS allows less time for a job: give less `time`"),
        ("AssocMaxWallDurationPerJobLimit", "the account allows less time for a job: give less `time`"),
    ];
    known.into_iter().find(|(word, _)| reason == *word).map(|(_, why)| why)
}

/// Whether Slurm holds a job that it could not start on a node, and could not place again.
pub(super) fn is_launch_failure(reason: &str) -> bool {
    reason.eq_ignore_ascii_case("launch failed requeued held")
}

/// What a refusal of `sbatch` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may be otherwise in a while; nobody knows whether the job was taken.
    Passing(String),
    /// It would be refused again.
    Lasting(String),
}

/// Reads what `sbatch` complained of.
pub(super) fn refusal(complaint: &str) -> Refusal {
    let said = complaint.lines().last().unwrap_or_default().trim();
    let said = said
        .trim_start_matches("sbatch: ")
        .trim_start_matches("error: ")
        .trim_start_matches("Batch job submission failed: ");
    let lower = complaint.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let passing = [
        super::reach::NO_CONNECTION,
        "unable to contact",
        "connect failure",
        "connection refused",
        "timed out",
        "standby mode",
        "temporarily",
        "try again",
        "too many jobs",
        "job submit limit",
        "submitjobs",
        "maxsubmit",
        "maxjobcount",
        "job limit",
        "resource temporarily unavailable",
        "communication connection failure",
        "zero bytes were transmitted",
        "transport endpoint",
        "no response",
    ];
    if has(&passing) {
        return Refusal::Passing(said.into());
    }
    let mend = [
        (&["partition"][..], "`partition` in the profile; `sinfo` lists them"),
        (&["account"], "`account` in the profile; `sacctmgr show assoc user=$USER` lists yours"),
        (&["qos"], "`qos` in the profile"),
        (&["feature"], "`constraint` in the profile; `sinfo -o %f` lists features"),
        (&["gres", "generic resource"], "`gres` in the profile; `sinfo -o %G` lists them"),
        (&["time limit", "--time"], "`time` in the profile: the partition allows less"),
        (
            &["memory", "node configuration"],
            "`memory`, `cpus`, `gres` and `constraint` in the profile: no node has all of it",
        ),
        (&["array"], "`array_limit` and `jobs` in the profile"),
        (&["option", "invalid"], "`extra` in the profile"),
    ];
    let mend = mend.iter().find(|(words, _)| has(words)).map(|(_, mend)| format!("; look at {mend}"));
    Refusal::Lasting(format!("{said}{}", mend.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_read_line_by_line() {
        let text = "fc-a/3|1|4-9%4|PENDING|JobArrayTaskLimit\nfc-a/3|1|0|RUNNING|None\nother|7|1|RUNNING|None\n\
                    fc-a/4|2|0,2,5-6|CANCELLED by 0|None\nfc-a/x|2|1|RUNNING|None\n";
        let lines = read(text, "fc-a");
        let told: Vec<_> =
            lines.iter().map(|line| (line.number, line.job.as_str(), line.tasks.clone(), line.state)).collect();
        assert_eq!(
            told,
            [
                (3, "1", vec![(4, 9)], State::Pending),
                (3, "1", vec![(0, 0)], State::Running),
                (4, "2", vec![(0, 0), (2, 2), (5, 6)], State::Over(Over::Cancelled)),
            ]
        );
        assert_eq!(ranges("0-6:3"), Some(vec![(0, 0), (3, 3), (6, 6)]));
        assert_eq!(ranges("N/A"), None);
    }

    #[test]
    fn refusals_that_may_pass_are_told_from_those_that_last() {
        let passing =
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)";
        assert_eq!(refusal(passing), Refusal::Passing("Unable to contact slurm controller (connect failure)".into()));
        let lasting = "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid \
                       partition name specified";
        let Refusal::Lasting(said) = refusal(lasting) else { panic!("it may pass") };
        assert_eq!(said, "Invalid partition name specified; look at `partition` in the profile; `sinfo` lists them");
        let Refusal::Lasting(said) = refusal("sbatch: error: Requested node configuration is not available") else {
            panic!("it may pass")
        };
        assert!(said.contains("no node has all of it"), "{said}");
    }
}
