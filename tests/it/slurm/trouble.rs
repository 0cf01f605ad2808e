//! What goes wrong between an explorer and a cluster, by programs in the place of Slurm's.

use std::{fs, process::Command, time::Duration};

use fastrcaps::{
    base::files,
    search::{
        study::Study,
        worker::slurm::{Array, Need, Profile, script},
    },
};

use super::{EMPTY_QUEUE, SBATCH, SQUEUE, Site, ends_at_once};

/// How [`SBATCH`] runs a task.
const RUN: &str = r#"bash "$2" </dev/null >/dev/null 2>&1 &"#;
/// What it knows of a task before that.
const TASK: &str = r#"work=$(dirname "$2")/../..; attempt=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$(dirname "$2")/tasks" | cut -d' ' -f1)"#;

/// A cluster whose `sbatch` is [`SBATCH`] but for how it runs a task.
fn cluster(run: &str) -> Site {
    let sbatch = SBATCH.replacen(RUN, &format!("{TASK}\n{run}"), 1);
    assert!(sbatch.contains(TASK));
    of(&sbatch)
}

fn of(sbatch: &str) -> Site {
    let [_, scontrol] = EMPTY_QUEUE;
    Site::new(&[("sbatch", sbatch), ("squeue", SQUEUE), ("scancel", "echo \"$@\" >>\"$SITE/cancelled\""), scontrol])
}

fn explore(site: &Site, arguments: &[&str]) {
    let explored = site.explore(&[&["--no-confirm"], arguments].concat());
    assert!(explored.status.success(), "{explored:?}");
}

fn read(site: &Site, name: &str) -> String {
    fs::read_to_string(site.path(name)).unwrap_or_default()
}

/// Asserts that all trials are done, each by its first attempt.
fn at_once(site: &Site) {
    assert_eq!(site.column("study", "status"), ["done"; 2]);
    assert_eq!(site.column("study", "attempts"), ["1"; 2]);
}

#[test]
fn the_word_of_a_start_whose_node_was_cut_off_does_not_end_the_one_after_it() {
    let site = cluster(
        r#"mkdir "$work/attempts/$attempt/r0"
        SLURM_RESTART_COUNT=1 bash "$2" </dev/null >/dev/null 2>&1 &
        until [ -d "$work/attempts/$attempt/r1" ] || [ ! -d "$work/attempts/$attempt" ]; do sleep 0.01; done
        echo 1 >"$work/ended/$attempt.r0""#,
    );
    explore(&site, &["--retries", "0"]);
    at_once(&site);
}

#[test]
fn a_word_that_comes_before_what_its_start_left_is_heard_when_that_shows() {
    let site = cluster(
        r#"echo 0 >"$work/ended/$attempt.r0"
        (sleep 0.5; bash "$2") </dev/null >/dev/null 2>&1 &"#,
    );
    explore(&site, &["--retries", "0"]);
    at_once(&site);
}

#[test]
fn memory_of_the_site_file_is_doubled_too() {
    let [_, scontrol] = EMPTY_QUEUE;
    let at_once = ends_at_once("OUT_OF_MEMORY", "");
    let site =
        Site::new(&[("squeue", SQUEUE), scontrol, ("sbatch", &at_once), ("scancel", "exit 0"), ("sacct", "exit 1")]);
    fs::write(site.path("site.toml"), "time = '1h'\nmemory = '1G'\njobs = 2\n").unwrap();
    assert!(!site.explore(&["--backoff", "0s"]).status.success());
    let memory = read(&site, "memory");
    let mut memory: Vec<&str> = memory.lines().collect();
    memory.dedup();
    assert_eq!(memory, ["1024", "2048"]);
}

#[test]
fn an_explorer_that_detaches_stays_until_all_is_submitted() {
    let site = of(SBATCH);
    fs::write(site.path("site.toml"), "time = '1h'\njobs = 1\n").unwrap();
    explore(&site, &["--detach", "--replicates", "2"]);
    assert_eq!(read(&site, "jobs").lines().count(), 4);
}

#[test]
fn an_array_of_more_jobs_than_the_site_takes_is_submitted_in_smaller_ones() {
    let limit = "echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user'\\''s \
                 size and/or time limits)' >&2; exit 1";
    let site =
        of(&SBATCH.replacen("echo \"$comment", &format!("[ \"$last\" = 0 ] || {{ {limit}; }}\necho \"$comment"), 1));
    explore(&site, &[]);
    at_once(&site);
    assert_eq!(read(&site, "jobs").lines().count(), 2);
}

#[test]
fn what_an_explorer_inherits_from_a_job_in_which_it_runs_is_not_its_jobs() {
    let seen = "env | grep -E '^(SLURM|SBATCH)_' | grep -v BITSTR >>\"$SITE/seen\"\n";
    let site = of(&format!("{seen}{SBATCH}"));
    let given =
        ["explore", "space.toml", "--executor", "slurm", "--executor-file", "site.toml", "--out", "study", "--quiet"];
    let explored = site
        .command(&[&given[..], &["--no-confirm"]].concat())
        .envs([("SLURM_RESTART_COUNT", "1"), ("SBATCH_PARTITION", "other"), ("SLURM_CONF", "/etc/slurm.conf")])
        .output();
    assert!(explored.as_ref().unwrap().status.success(), "{explored:?}");
    assert_eq!(read(&site, "seen").trim(), "SLURM_CONF=/etc/slurm.conf");
    at_once(&site);
}

#[test]
fn no_number_of_an_attempt_comes_twice_though_nothing_is_left_of_the_first() {
    let site = cluster(
        r#"mkdir "$work/attempts/$attempt/r0"
        echo 1 >"$work/ended/$attempt.r0"
        echo "$attempt" >>"$SITE/tasks""#,
    );
    assert!(!site.explore(&["--retries", "0"]).status.success());
    assert!(!site.explore(&["--retries", "0", "--retry-failed"]).status.success());
    let tasks = read(&site, "tasks");
    let mut tasks: Vec<&str> = tasks.lines().collect();
    assert_eq!(tasks.len(), 4);
    tasks.sort();
    tasks.dedup();
    assert_eq!(tasks.len(), 4, "{tasks:?}");
}

#[test]
fn a_job_that_nobody_wants_any_more_is_ended() {
    let stray = r#"job=$(head -1 "$SITE/jobs" 2>/dev/null) && echo "${job%%/*}/77|99|3|RUNNING|None"; true"#;
    let site =
        cluster("(until [ -s \"$SITE/cancelled\" ]; do sleep 0.05; done; bash \"$2\") </dev/null >/dev/null 2>&1 &");
    fs::write(site.path("bin/squeue"), format!("#!/bin/sh\n{SQUEUE}\n{stray}\n")).unwrap();
    explore(&site, &[]);
    let cancelled = read(&site, "cancelled");
    assert!(cancelled.lines().any(|line| line == "99_3"), "{cancelled}");
    at_once(&site);
}

#[test]
fn a_node_on_which_no_trial_can_begin_gets_no_more_of_them() {
    let site = cluster(
        r#"if [ "$job$SLURM_ARRAY_TASK_ID" = 10 ] || grep -q -- '--exclude=.*n1' "$2"; then SLURMD_NODENAME=n2 bash "$2" </dev/null >/dev/null 2>&1
        else mkdir "$work/attempts/$attempt/r0"; echo '66 n1' >"$work/ended/$attempt.r0"; echo "$attempt" >>"$SITE/lost"; fi"#,
    );
    fs::write(site.path("site.toml"), "time = '1h'\njobs = 4\nextra = ['--exclude=n7']\n").unwrap();
    explore(&site, &["--replicates", "2", "--retries", "3", "--backoff", "1s"]);
    assert_eq!(site.column("study", "status"), ["done"; 4]);
    let lost = read(&site, "lost");
    let mut trials: Vec<&str> = lost.lines().map(|attempt| attempt.split('.').next().unwrap()).collect();
    trials.sort();
    trials.dedup();
    assert_eq!(trials.len(), 3, "one trial's failures say nothing of a node: {lost}");
    let errors = read(&site, "study/sweep.log");
    assert!(errors.contains("that node gets no more of this sweep"), "{errors}");
}

/// A cluster of GPUs whose jobs wait, and which says in `looks` that one was looked at.
fn of_gpus() -> Site {
    let gpu = r#"{"name":"a GPU","uuid":"GPU-1","capability":[9,0],"memory_bytes":5,"free_bytes":4,"driver":null}"#;
    let srun = "while case $1 in -*) : ;; *) false ;; esac; do shift; done\nexec \"$@\"";
    let [_, scontrol] = EMPTY_QUEUE;
    let waits = SBATCH.replacen(RUN, ":", 1);
    let program = format!("[ \"$1\" = probe-device ] && echo $1 >>\"$SITE/looks\" && echo '{gpu}'");
    let cancel = "rm -f \"$SITE/jobs\"";
    let programs =
        [("sbatch", &waits[..]), ("squeue", SQUEUE), ("scancel", cancel), ("srun", srun), ("program", &program)];
    let site = Site::new(&[&programs[..], &[scontrol]].concat());
    ask_for_gpus(&site, "time = '1h'\n");
    site
}

/// Writes a site file that asks for GPUs, and has these lines too.
fn ask_for_gpus(site: &Site, lines: &str) {
    let program = site.path("bin/program");
    let profile = format!("{lines}jobs = 4\ngres = 'gpu:1'\ndevice = 'cuda:0'\nprogram = {program:?}\n");
    fs::write(site.path("site.toml"), profile).unwrap();
}

#[test]
fn jobs_that_have_all_gpus_are_taken_up_without_a_look_at_one() {
    let site = of_gpus();
    explore(&site, &["--detach"]);
    // No GPU is free any more, not to time steps either.
    fs::write(site.path("bin/srun"), "#!/bin/sh\necho asked >>\"$SITE/asked\"; exit 1\n").unwrap();
    ask_for_gpus(&site, "");
    explore(&site, &["--detach", "--replicates", "2"]);
    assert_eq!((read(&site, "asked"), read(&site, "jobs").lines().count()), (String::new(), 2));
    let machine = Study::new(site.path("study")).machine().unwrap();
    assert_eq!(machine.gpus, ["cuda:0 a GPU"], "what an explorer did not look at is what the one before saw");
    let script = fs::read_to_string(site.path("study/.slurm/batches/2/job.sh")).unwrap();
    assert!(script.contains("#SBATCH --time=0-04:00:00"), "{script}");
}

#[test]
fn a_gpu_is_looked_at_once_the_jobs_of_before_are_cancelled() {
    let site = of_gpus();
    explore(&site, &["--detach"]);
    assert!(site.run(&["cancel", "study"]).status.success());
    explore(&site, &["--detach"]);
    assert_eq!(read(&site, "looks").lines().count(), 2);
}

#[test]
fn a_look_at_a_gpu_waits_for_a_node_up_to_the_deadline() {
    let site = of_gpus();
    fs::write(site.path("bin/srun"), "#!/bin/sh\nexec sleep 30\n").unwrap();
    let explored = site.explore(&["--budget", "2s"]);
    let said = String::from_utf8_lossy(&explored.stderr).into_owned();
    assert!(!explored.status.success() && said.contains("the deadline passed while it waited for a node"), "{said}");
}

/// A cluster whose `squeue` is asked in turn: `look` says what it does once jobs are there, and `call` is its number then.
fn queued(look: &str, run: &str) -> Site {
    let site = cluster(&format!("({run}) </dev/null >/dev/null 2>&1 &"));
    let counted = format!(
        "[ -e \"$SITE/jobs\" ] || exit 0\ncall=$(($(cat \"$SITE/call\" 2>/dev/null) + 1))\n{look}\necho $call >\"$SITE/call\"\n\
         state=RUNNING; [ \"$(wc -l 2>/dev/null <\"$SITE/told\")\" != 2 ] || state=COMPLETED"
    );
    let shown = "sed \"s/RUNNING/$state/\" \"$SITE/jobs\"";
    fs::write(site.path("bin/squeue"), format!("#!/bin/bash\n{counted}\n{shown}\n")).unwrap();
    site
}

/// Of a task: waits until so many looks at the queue were answered.
const LOOKS: &str =
    r#"looks() { until [ "$(cat "$SITE/call" 2>/dev/null || echo 0)" -ge "$1" ]; do sleep 0.05; done; }"#;

#[test]
fn the_word_of_a_start_is_heard_though_the_queue_was_asked_before_it_began() {
    // The second look finds them waiting, and is answered when both have begun.
    let late = r#"if [ $call = 2 ]; then
        echo >"$SITE/asked"
        until [ "$(wc -l 2>/dev/null <"$SITE/made")" = 2 ]; do sleep 0.05; done
        echo 2 >"$SITE/call"
        sed 's/RUNNING/PENDING/' "$SITE/jobs"
        exit
    fi"#;
    let task = r#"until [ -e "$SITE/asked" ]; do sleep 0.05; done
        mkdir "$work/attempts/$attempt/r0"
        echo >>"$SITE/made"
        looks 3
        echo '7 n1' >"$work/ended/$attempt.r0"
        echo >>"$SITE/told""#;
    let site = queued(late, &format!("{LOOKS}\n{task}"));
    assert!(!site.explore(&["--no-confirm", "--retries", "0"]).status.success());
    let rows = fs::read_to_string(site.path("study/trials.csv")).unwrap();
    assert_eq!(rows.matches("exit code 7").count(), 2, "{rows}");
}

#[test]
fn the_word_of_a_start_that_a_requeue_ended_does_not_end_its_trial() {
    let waits = r#"if [ $call = 3 ] || [ $call = 4 ]; then
        echo $call >"$SITE/call"
        sed 's/RUNNING/PENDING/' "$SITE/jobs"
        exit
    fi"#;
    let task = r#"mkdir "$work/attempts/$attempt/r0"
        looks 5
        echo '7 n1' >"$work/ended/$attempt.r0"
        while [ -e "$work/ended/$attempt.r0" ]; do sleep 0.05; done
        SLURM_RESTART_COUNT=1 bash "$2""#;
    let site = queued(waits, &format!("{LOOKS}\n{task}"));
    explore(&site, &["--retries", "0"]);
    at_once(&site);
}

#[test]
fn a_sweep_ends_with_its_last_trial_though_the_controller_does_not_answer_any_more() {
    let site = of(SBATCH);
    let silent =
        "[ ! -e \"$SITE/jobs\" ] || { echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }";
    fs::write(site.path("bin/squeue"), format!("#!/bin/sh\n{silent}\n")).unwrap();
    explore(&site, &[]);
    at_once(&site);
}

#[test]
fn what_a_job_is_writing_stays_while_jobs_are_left() {
    let site = of(&SBATCH.replacen(RUN, ":", 1));
    explore(&site, &["--detach"]);
    let half = site.path("study/.slurm/ended/.half");
    fs::write(&half, "").unwrap();
    explore(&site, &["--detach"]);
    assert!(half.exists());
}

#[test]
fn nothing_is_left_in_the_folder_that_nodes_share_once_a_study_is_done() {
    let site = of(SBATCH);
    let work = site.path("work");
    fs::write(site.path("site.toml"), format!("time = '1h'\njobs = 2\nwork = {work:?}\n")).unwrap();
    explore(&site, &[]);
    assert_eq!(fs::read_dir(work).unwrap().count(), 0);
}

#[test]
fn jobs_are_not_cancelled_under_an_explorer_which_would_submit_them_again() {
    let site = of(SBATCH);
    explore(&site, &[]);
    let lock = Study::new(site.path("study")).hold("explored").unwrap();
    let refused = site.run(&["cancel", "study"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is explored by"), "{said}");
    drop(lock);
    assert!(site.run(&["cancel", "study"]).status.success());
    assert!(read(&site, "cancelled").contains("--name=fastrcaps-"));
}

#[test]
fn a_dry_run_shows_all_arrays_within_what_the_site_takes() {
    let site = Site::new(&[("scontrol", "echo 'MaxArraySize = 3'")]);
    fs::write(site.path("site.toml"), "time = '1h'\njobs = 3\n").unwrap();
    let shown = site.explore(&["--dry-run", "--replicates", "2"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(text.matches("#!/bin/bash").count(), 1, "{text}");
    for line in ["#SBATCH --array=0-1", "# #SBATCH --array=0-0", "# 1 more, each when one of these has ended."] {
        assert!(text.lines().any(|of| of == line), "no line {line} in:\n{text}");
    }
}

#[test]
fn a_start_that_cannot_make_its_folder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    ["batches/1", "attempts/a", "ended", "bin"].iter().for_each(|name| fs::create_dir_all(work.join(name)).unwrap());
    fs::write(work.join("batches/1/tasks"), "a\n").unwrap();
    let profile = Profile::default();
    let text = script(&Array {
        profile: &profile,
        name: "x",
        work,
        number: 1,
        tasks: 1,
        need: Need { mebibytes: None, time: Some(Duration::from_secs(600)) },
        exclude: &[],
        program: work,
        arguments: &[],
    });
    fs::write(work.join("job.sh"), text).unwrap();
    let run = |mkdir: &str| {
        fs::write(work.join("bin/mkdir"), format!("#!/bin/sh\n{mkdir}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(work.join("bin/mkdir")).status().unwrap().success());
        let path = format!("{}:{}", work.join("bin").display(), std::env::var("PATH").unwrap());
        let of_task = [("SLURM_ARRAY_TASK_ID", "0"), ("SLURMD_NODENAME", "n5"), ("PATH", &path)];
        Command::new("bash").arg(work.join("job.sh")).envs(of_task).output().unwrap().status.code()
    };
    assert_eq!(run("echo 'Disk quota exceeded' >&2; exit 1"), Some(66));
    assert_eq!(fs::read_to_string(work.join("ended/a.r0")).unwrap(), "66 n5\n");
    // Another job of the same attempt has made it.
    fs::create_dir(work.join("attempts/a/r0")).unwrap();
    assert_eq!(run("exit 1"), Some(0));
}

#[test]
fn file_systems_over_a_network_are_known() {
    assert_eq!(files::network_named(0x6969), Some("NFS"));
    assert_eq!(files::network_named(0x0BD0_0BD0), Some("Lustre"));
    assert_eq!(files::network_named(0xEF53), None);
    assert!(files::network_file_system(std::path::Path::new("/proc")).is_none());
}
