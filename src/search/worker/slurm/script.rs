//! The script of an array of jobs, as a text.

use std::{fmt::Write, path::Path, time::Duration};

use super::profile::{Need, Profile};
use crate::base::device::{BUS_ORDER, ORDER};

/// An array of jobs.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    pub profile: &'a Profile,
    /// Name of the jobs: the study's.
    pub name: &'a str,
    /// The study's folder of work that is shared with the nodes.
    pub work: &'a Path,
    /// Of the array, within the study.
    pub number: u64,
    pub tasks: usize,
    pub need: Need,
    /// Nodes that are to have none of them, beside those that the profile excludes.
    pub exclude: &'a [String],
    pub program: &'a Path,
    /// Passed on to every trial.
    pub arguments: &'a [String],
}

/// What an array does, after its options and paths. Its tasks stand in a file, a line each: the attempt's folder, and arguments
/// of its trial. An attempt whose folder is gone is not wanted any more.
///
/// Each start of a task has a folder of its own, whose making is the lock on it: a node that was cut off may still train in the
/// one before. `ended/` tells who follows that a start is over, with its exit code, so that nobody has to look at every attempt.
const BODY: &str = r#"
read -r attempt more <<<"$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$work/batches/$batch/tasks")"
[ -n "$attempt" ] || exit 66
base=$work/attempts/$attempt
restart=${SLURM_RESTART_COUNT:-0}
here=$base/r$restart

over() { # code
    printf '%s\n' "$1 ${SLURMD_NODENAME:-$(hostname)}" >"$work/ended/.$attempt.r$restart" && mv "$work/ended/.$attempt.r$restart" "$work/ended/$attempt.r$restart"
    [ "$1" = 75 ] && exit 0
    exit "$1"
}

[ -d "$base" ] || exit 0
if ! said=$(mkdir "$here" 2>&1); then
    { [ -d "$here" ] || [ ! -d "$base" ]; } && exit 0
    # No room for it, or no right to it.
    printf '%s\n' "$said"
    over 66
fi
[ -e "$base/stop" ] && over 75
from=$base
for before in $(seq $((restart - 1)) -1 0); do
    grep -qE '"status": *"(done|diverged)"' "$base/r$before/trial.json" 2>/dev/null && over 0
    [ "$from" = "$base" ] && [ -e "$base/r$before/checkpoint.safetensors" ] && from=$base/r$before
done
cp "$base/config.toml" "$base/trial.json" "$here/" || over 66
for file in checkpoint.safetensors checkpoint-previous.safetensors; do
    [ ! -e "$from/$file" ] || ln "$from/$file" "$here/" 2>/dev/null || cp "$from/$file" "$here/" || over 66
done
exec >>"$here/log.txt" 2>&1 </dev/null
echo "=== attempt of $(date -u +%Y-%m-%dT%H:%M:%SZ): job $SLURM_ARRAY_JOB_ID, task $SLURM_ARRAY_TASK_ID, restart $restart, on $(hostname)"

warned=
trap 'kill -TERM "$child" 2>/dev/null' TERM
trap 'warned=1; kill -TERM "$child" 2>/dev/null' USR1
# Words of the line are not patterns.
set -f
# shellcheck disable=SC2086
"$program" run-trial "$here" --tell-begin "${arguments[@]}" $more &
child=$!
while wait "$child"; code=$?; [ $code -gt 128 ] && kill -0 "$child" 2>/dev/null; do :; done
wait "$child"
code=$?
# It was warned of the end of its time, and nobody asked it to stop: it goes on in another start. Slurm ends this one meanwhile, also
# the command that asks for that.
if [ $code = 75 ] && [ -n "$warned" ] && [ ! -e "$base/stop" ] && [ -d "$here" ]; then
    trap '' TERM
    # Asked twice on its way, Slurm says of a job that it has requeued that it waits.
    if said=$(scontrol requeue "$SLURM_JOB_ID" 2>&1) || [[ $said == *'pending execution'* ]]; then
        trap - TERM
        exec sleep 60
    fi
    printf '%s\n' "$said"
fi
over $code
"#;

/// The script that `sbatch` is given.
pub fn script(array: &Array) -> String {
    let Array { profile, name, work, number, tasks, need, exclude, program, arguments } = array;
    let mut text = String::from("#!/bin/bash\n");
    let mut option = |option: &str| text += &format!("#SBATCH {option}\n");
    option(&format!("--job-name={name}"));
    option(&format!("--comment={name}/{number}"));
    let limit = profile.array_limit.map_or(String::new(), |limit| format!("%{limit}"));
    option(&format!("--array=0-{}{limit}", tasks.saturating_sub(1)));
    option("--nodes=1");
    option("--ntasks=1");
    option(&format!("--cpus-per-task={}", profile.cpus));
    if let Some(mebibytes) = need.mebibytes {
        option(&format!("--mem={mebibytes}M"));
    }
    if let Some(time) = need.time {
        option(&format!("--time={}", clock(time)));
        // Where a partition gives no more than that, half of it is for training.
        let before = if profile.checkpoint_before < time { profile.checkpoint_before } else { time / 2 };
        option(&format!("--signal=B:USR1@{}", before.as_secs().clamp(1, 65535)));
    }
    option("--requeue");
    option("--open-mode=append");
    option(&format!("--output={}/batches/{number}/output.log", work.display()));
    profile.options(profile.constraint.as_ref(), exclude).iter().for_each(|line| option(line));
    for line in &profile.prologue {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "\nwork={}", quoted(&work.display().to_string()));
    let _ = writeln!(text, "batch={number}");
    let _ = writeln!(text, "program={}", quoted(&program.display().to_string()));
    let given = ["--threads".into(), profile.cpus.to_string(), "--device".into(), profile.device.to_string()];
    let words: Vec<String> = given.iter().chain(*arguments).map(|word| quoted(word)).collect();
    let _ = writeln!(text, "arguments=({})", words.join(" "));
    let _ = writeln!(text, "export RAYON_NUM_THREADS={}", profile.cpus);
    if !profile.device.is_cpu() {
        // In which Slurm numbers the GPUs that it gives a job.
        let _ = writeln!(text, "export {ORDER}={BUS_ORDER}");
    }
    text + BODY
}

/// A duration as Slurm writes it, in whole minutes or more exactly where it is short.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs().max(1);
    format!("{}-{:02}:{:02}:{:02}", seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// A word that a shell takes as it stands.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
