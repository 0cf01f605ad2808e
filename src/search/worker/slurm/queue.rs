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

impl Line {
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Pending | State::Running)
    }
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

/// What Slurm tells of a job that left no word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether it is not over at all.
    pub is_alive: bool,
    pub over: Option<Over>,
    /// Exit code and signal, as in `0:53`.
    pub exit: Option<String>,
    pub node: Option<String>,
}

impl Told {
    fn of(state: &str, exit: Option<&str>, node: Option<&str>) -> Told {
        let node = node.filter(|node| !matches!(*node, "" | "(null)" | "None assigned")).map(str::to_string);
        match State::named(state) {
            State::Over(over) => Told { is_alive: false, over: Some(over), exit: exit.map(str::to_string), node },
            _ => Told { is_alive: true, over: None, exit: None, node },
        }
    }
}

/// What `scontrol show job -o` says of a job; nothing where it does not know it any more.
pub(super) fn shown(text: &str) -> Option<Told> {
    let field = |name: &str| text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    Some(Told::of(field("JobState")?, field("ExitCode"), field("NodeList")))
}

/// What accounting says of a job, as in `OUT_OF_MEMORY|0:125|n1`.
pub(super) fn accounted(text: &str) -> Option<Told> {
    // Of a job that was requeued the last line is the last start's.
    let mut fields = text.lines().last()?.trim().split('|');
    let (state, exit) = (fields.next()?, fields.next()?);
    Some(Told::of(state, Some(exit), fields.next()))
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

/// Why none of our jobs can begin, where one waits that never will and no other runs, or waits as usual: those may have more luck.
pub(super) fn stuck<'a>(lines: impl Iterator<Item = &'a Line>) -> Option<String> {
    let mut held = None;
    for line in lines.filter(|line| line.is_alive()) {
        let why = never_begins(&line.reason).filter(|_| line.state == State::Pending)?;
        held.get_or_insert_with(|| format!("job {} waits and cannot begin ({}): {why}", line.job, line.reason));
    }
    held
}

/// Whether Slurm holds a job that it could not start on a node, and could not place again.
pub(super) fn is_launch_failure(reason: &str) -> bool {
    reason.eq_ignore_ascii_case("launch failed requeued held")
}

/// Exit codes of starts that failed before they trained: where Slurm could not open the job's output, or our script could not lay
/// out its folder.
pub(super) fn is_early(exit: &str) -> bool {
    matches!(exit, "0:53" | "66:0")
}

/// What a refusal of `sbatch` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may be otherwise in a while; nobody knows whether the job was taken.
    Passing(String),
    /// Slurm does not take so many jobs, or not in one array: it has taken none of these.
    TooMany(String),
    /// It would be refused again.
    Lasting(String),
}

/// What complaints have that are no answer of the controller's to what was asked.
const UNREACHED: [&str; 17] = [
    super::reach::NO_CONNECTION,
    "unable to contact",
    "connect failure",
    "connection refused",
    "timed out",
    "standby mode",
    "temporarily",
    "try again",
    "authentica",
    "munge",
    "i/o error",
    "communication connection failure",
    "zero bytes were transmitted",
    "transport endpoint",
    "no response",
    "cannot allocate memory",
    "presently disabled",
];
/// What refusals have that pass when jobs of ours, or of others, have ended, or smaller arrays do.
const TOO_MANY: [&str; 7] = [
    "accounting/qos policy",
    "job submit limit",
    "submitjobs",
    "maxsubmit",
    "too many jobs",
    "maxjobcount",
    "job array",
];
/// What refusals have that last, and what is to be looked at. Others may be of the hour (maintenance, a partition that is down): the
/// sweep waits and says so, which costs less than to give up its trials.
const LASTING: [(&[&str], &str); 10] = [
    (
        &["invalid partition", "no partition specified", "not in this partition", "use this partition"],
        "`partition` in the profile; `sinfo` lists them",
    ),
    (&["account"], "`account` in the profile; `sacctmgr show assoc user=$USER` lists yours"),
    (&["qos"], "`qos` in the profile"),
    (&["invalid feature"], "`constraint` in the profile; `sinfo -o %f` lists features"),
    (&["gres", "generic resource", "gpus"], "`gres` in the profile; `sinfo -o %G` lists them"),
    (&["time limit", "--time"], "`time` in the profile: the partition allows less"),
    (
        &["memory", "node configuration", "processors requested", "can not be satisfied", "count specification"],
        "`memory`, `cpus`, `gres` and `constraint` in the profile: no node has all of it",
    ),
    (&["job array"], "`array_limit` and `jobs` in the profile"),
    (&["option", "invalid", "reservation", "license"], "`extra` in the profile"),
    (&["denied", "not permitted"], "`partition`, `account` and `qos` in the profile"),
];

/// Whether a command of Slurm's complains that it reached nobody.
pub(super) fn is_unreached(complaint: &str) -> bool {
    let lower = complaint.to_lowercase();
    UNREACHED.iter().any(|word| lower.contains(word))
}

/// Reads what `sbatch` complained of, which was to submit so many tasks.
pub(super) fn refusal(complaint: &str, tasks: usize) -> Refusal {
    let said = complaint.lines().last().unwrap_or_default().trim();
    let said = said
        .trim_start_matches("sbatch: ")
        .trim_start_matches("error: ")
        .trim_start_matches("Batch job submission failed: ");
    let lower = complaint.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if is_unreached(complaint) {
        return Refusal::Passing(said.into());
    }
    if has(&["perjob"]) {
        return Refusal::Lasting(format!(
            "{}; look at `time`, `cpus` and `memory` in the profile: the QOS or the account allows less for a job",
            complaint.trim().replace('\n', "; ")
        ));
    }
    // An array of one is not too large: its job is.
    if has(&TOO_MANY) && !(tasks == 1 && has(&["job array"])) {
        return Refusal::TooMany(format!(
            "{said}; if no job of yours is left, one asks for more than the account or the QOS allows: look at `time`, `memory` and `cpus`"
        ));
    }
    match LASTING.iter().find(|(words, _)| has(words)) {
        Some((_, mend)) => Refusal::Lasting(format!("{said}; look at {mend}")),
        None => Refusal::Passing(said.into()),
    }
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
        let unable = Refusal::Passing("Unable to contact slurm controller (connect failure)".into());
        assert_eq!(refusal(passing, 1), unable);
        let lasting = "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid \
                       partition name specified";
        let Refusal::Lasting(said) = refusal(lasting, 1) else { panic!("it may pass") };
        assert_eq!(said, "Invalid partition name specified; look at `partition` in the profile; `sinfo` lists them");
        let of_job = "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates \
                      accounting/QOS policy (job submit limit, user's size and/or time limits)";
        assert!(matches!(refusal(of_job, 50), Refusal::Lasting(_)));
        let Refusal::Lasting(said) = refusal("sbatch: error: Requested node configuration is not available", 1) else {
            panic!("it may pass")
        };
        assert!(said.contains("no node has all of it"), "{said}");
    }
    #[test]
    fn refusals_of_the_hour_and_of_limits_are_none_of_the_trials() {
        for said in [
            "Batch job submission failed: Required partition not available (inactive or drain)",
            "Batch job submission failed: Protocol authentication error",
            "Batch job submission failed: I/O error writing script/environment to file",
            "Batch job submission failed: Required node not available (down, drained or reserved)",
            "cannot start sbatch: is Slurm installed here?: Resource temporarily unavailable (os error 11)",
            "something that nobody has heard of",
        ] {
            assert!(matches!(refusal(said, 100), Refusal::Passing(_)), "{said}");
        }
        let limit = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
        for tasks in [1, 100] {
            assert!(matches!(refusal(limit, tasks), Refusal::TooMany(_)), "{tasks}");
        }
        let array = "Batch job submission failed: Invalid job array specification";
        assert!(matches!(refusal(array, 100), Refusal::TooMany(_)));
        for said in
            [array, "sbatch: unrecognized option '--foo'", "Invalid account or account/partition combination specified"]
        {
            assert!(matches!(refusal(said, 1), Refusal::Lasting(_)), "{said}");
        }
        // What `scancel` says of a job that is over is not to be said again.
        assert!(!is_unreached("scancel: error: Kill job error on job id 3_1: Invalid job id specified"));
    }

    #[test]
    fn a_job_that_can_never_begin_keeps_others_only_where_none_can() {
        let told = |text: &str| stuck(read(text, "fc").iter());
        let held = "fc/1|1|0|PENDING|BadConstraints\nfc/1|1|1|COMPLETED|None\n";
        assert!(told(held).unwrap().contains("job 1 waits and cannot begin (BadConstraints)"));
        assert_eq!(told(&format!("{held}fc/2|2|0|RUNNING|None\n")), None);
        assert_eq!(told(&format!("{held}fc/2|2|0|PENDING|Priority\n")), None);
        assert_eq!(told(""), None);
    }

    #[test]
    fn a_job_that_runs_has_not_failed_whatever_its_exit_code_is_so_far() {
        let runs = shown("JobId=7 ArrayTaskId=1 JobState=RUNNING ExitCode=0:0 ReqNodeList=(null) NodeList=n2").unwrap();
        assert!(runs.is_alive && runs.exit.is_none());
        let failed = shown("JobState=FAILED Reason=x ExitCode=0:53 ExcNodeList=n9 NodeList=n2 BatchHost=n2").unwrap();
        let told =
            Told { is_alive: false, over: Some(Over::Failed), exit: Some("0:53".into()), node: Some("n2".into()) };
        assert_eq!(failed, told);
        assert_eq!(shown("slurm_load_jobs error: Invalid job id specified"), None);
        let memory = accounted("FAILED|1:0|n1\nOUT_OF_MEMORY|0:125\n").unwrap();
        assert_eq!((memory.over, memory.node), (Some(Over::OutOfMemory), None));
        assert!(accounted("RUNNING|0:0|n1").unwrap().is_alive);
    }
}
