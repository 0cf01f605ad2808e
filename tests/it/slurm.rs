//! Trials as jobs of Slurm, as far as that can be told without a cluster; on one, `workers` and `tests/slurm/` tell.

mod sharing;
mod trouble;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use fastrcaps::search::worker::slurm::{Array, Need, Profile, script};

const SITE: &str = "\
partition = 'main'
account = 'project'
qos = 'normal'
constraint = 'icelake'
gres = 'gpu:1'
device = 'cuda:0'
cpus = 4
memory = '4G'
time = '1h 30m'
checkpoint_before = '5m'
array_limit = 7
extra = ['--exclude=n3']
prologue = ['module load cuda/12']
work = '/scratch/me'
program = \"/home/me/it's/fastrcaps\"
";

fn profile(text: &str) -> anyhow::Result<Profile> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("site.toml");
    fs::write(&path, text)?;
    Profile::read(&path)
}

fn text_of(profile: &Profile, need: Need) -> String {
    let program = profile.program.clone().unwrap_or("/bin/fastrcaps".into());
    script(&Array {
        profile,
        name: "fastrcaps-x1",
        work: Path::new("/scratch/me/fastrcaps-x1"),
        number: 3,
        tasks: 48,
        need,
        exclude: &["n9".into()],
        program: &program,
        arguments: &["--data-dir".into(), "/home/me/my data".into()],
    })
}

#[test]
fn the_script_of_an_array_asks_for_what_the_profile_says() {
    let profile = profile(SITE).unwrap();
    let predicted = Need { mebibytes: Some(300), time: Some(Duration::from_secs(60)) };
    let text = text_of(&profile, profile.asked(predicted, None));
    for line in [
        "#SBATCH --job-name=fastrcaps-x1",
        "#SBATCH --comment=fastrcaps-x1/3",
        "#SBATCH --array=0-47%7",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=4096M",
        "#SBATCH --time=0-01:30:00",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --requeue",
        "#SBATCH --partition=main",
        "#SBATCH --account=project",
        "#SBATCH --qos=normal",
        "#SBATCH --constraint=icelake",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --exclude=n3,n9",
        "#SBATCH --output=/scratch/me/fastrcaps-x1/batches/3/output.log",
        "module load cuda/12",
        "program='/home/me/it'\\''s/fastrcaps'",
        "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "arguments=('--threads' '4' '--device' 'cuda:0' '--data-dir' '/home/me/my data')",
    ] {
        assert!(text.lines().any(|of| of == line), "no line {line} in:\n{text}");
    }
    let options = text.lines().take_while(|line| line.starts_with('#')).count();
    let all = text.lines().filter(|line| line.starts_with("#SBATCH")).count();
    assert_eq!(options, all + 1, "an option after the first command is none");
}

#[test]
fn what_a_profile_leaves_open_is_as_predicted_or_the_sites_own() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let text = text_of(&Profile::default(), Need { mebibytes: Some(300), time: Some(minutes(15)) });
    assert!(text.contains("#SBATCH --mem=300M\n") && text.contains("#SBATCH --time=0-00:15:00\n"), "{text}");
    assert!(text.contains("#SBATCH --array=0-47\n") && !text.contains("--partition"), "{text}");
    let open = text_of(&Profile::default(), Need { mebibytes: None, time: None });
    assert!(!open.contains("--mem") && !open.contains("--time") && !open.contains("--signal"), "{open}");
    // A checkpoint has its time, and a partition its limit.
    let slow = profile("checkpoint_before = '20m'").unwrap();
    let need = Need { mebibytes: None, time: Some(minutes(15)) };
    assert_eq!(slow.asked(need, None).time, Some(minutes(40)));
    assert_eq!(slow.asked(need, Some(minutes(30))).time, Some(minutes(30)));
    let short = text_of(&slow, slow.asked(need, Some(minutes(10))));
    assert!(!short.contains("USR1@1200"), "{short}");
}

#[test]
fn a_shell_understands_every_script() {
    for profile in [Profile::default(), profile(SITE).unwrap()] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.sh");
        fs::write(&path, text_of(&profile, Need { mebibytes: None, time: None })).unwrap();
        let checked = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    }
}

#[test]
fn a_profile_that_cannot_be_used_is_refused_with_what_is_wrong() {
    for (text, said) in [
        ("partitoin = 'main'", "unknown field `partitoin`"),
        ("cpus = 0", "cpus = 0: give from 1 to 4096"),
        ("memory = '4'", "write it as Slurm does"),
        ("memory = '99999999999999999999G'", "is no memory"),
        ("time = 'soon'", "is no duration"),
        ("time = '1m'", "longer than checkpoint_before"),
        ("device = 'cuda:1'\ngres = 'gpu:1'", "a job has one GPU"),
        ("device = 'cuda:0'", "needs gres"),
        ("jobs = 0", "at least one job"),
        ("array_limit = 0", "at least one task"),
        ("extra = ['exclude=n3']", "is no option"),
        ("extra = ['--nice --mail-type=FAIL']", "each as one word"),
        ("extra = ['--comment=project']", "knows its jobs by that"),
        ("extra = ['-Jx']", "knows its jobs by that"),
        ("extra = ['--job=x']", "knows its jobs by that"),
        ("extra = ['--mem-per-cpu=2G']", "give memory"),
        ("qos = \"a\\nb\"", "give one line"),
        ("work = 'scratch'", "must be an absolute path"),
        ("data_dir = 'data'", "must be an absolute path"),
        ("ssh = '-oProxyCommand=x'\nwork = '/w'\nprogram = '/p'", "is no destination"),
        ("ssh = 'login'\nprogram = '/p'", "needs work"),
        ("ssh = 'login'\nwork = '/w'", "needs program"),
    ] {
        let error = format!("{:#}", profile(text).unwrap_err());
        assert!(error.contains(said) && error.contains("site.toml"), "{text}: {error}");
    }
}

/// A folder with programs in the place of Slurm's, and a space.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(programs: &[(&str, &str)]) -> Site {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        let site = Site { folder };
        for (name, text) in programs {
            let path = site.path("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let space = "[base]\nmodel = { preset = 'tiny' }\ntrain = { epochs = 1 }\n[base.data]\nname = 'glyphs'\n\
                     train_samples = 60\ntest_samples = 20\nvalidation_fraction = 0.2\n[axes]\n\
                     'model.routing_iterations' = [1, 3]\n";
        fs::write(site.path("space.toml"), space).unwrap();
        fs::write(site.path("site.toml"), "time = '1h'\njobs = 2\n").unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn explore(&self, arguments: &[&str]) -> Output {
        let given = ["explore", "space.toml", "--executor", "slurm", "--executor-file", "site.toml", "--out", "study"];
        self.run(&[&given[..], &["--quiet"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastrcaps"));
        command.args(arguments).current_dir(self.folder.path()).env("PATH", path).env("SITE", self.folder.path());
        command
    }

    /// A column of a study's trials, in grid order.
    fn column(&self, study: &str, name: &str) -> Vec<String> {
        crate::cli::table(self.path(study).join("trials.csv"))
            .into_iter()
            .map(|mut row| row.remove(name).unwrap())
            .collect()
    }

    /// What of a study's trials does not depend on where they were trained.
    fn figures(&self, study: &str) -> Vec<String> {
        let table = fs::read(self.path(study).join("trials.csv")).unwrap();
        let mut reader = csv::Reader::from_reader(&table[..]);
        let header = reader.headers().unwrap().clone();
        let wanted = ["key", "status", "epochs", "validation_accuracy", "test_accuracy", "weights_sha256", "attempts"];
        let at = wanted.map(|name| header.iter().position(|of| of == name).unwrap());
        let row = |row: csv::StringRecord| at.map(|at| row[at].to_string()).join(" ");
        let mut rows: Vec<String> = reader.records().map(|of| row(of.unwrap())).collect();
        rows.sort();
        rows
    }
}

/// Slurm's other programs where only `sbatch` matters.
const EMPTY_QUEUE: [(&str, &str); 2] = [("squeue", "exit 0"), ("scontrol", "echo 'MaxArraySize            = 1001'")];

#[test]
fn a_dry_run_shows_the_script_and_needs_no_cluster() {
    let site = Site::new(&[]);
    let shown = site.explore(&["--dry-run"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success(), "{shown:?}");
    assert!(text.starts_with("#!/bin/bash\n#SBATCH --job-name=") && text.contains("--array=0-1\n"), "{text}");
    assert!(!site.path("study").exists());
}

#[test]
fn what_is_done_before_each_trial_is_done_before_other_tasks_on_nodes_too() {
    let srun = "while case $1 in -*) : ;; *) false ;; esac; do shift; done\nexec \"$@\"";
    let gpu = r#"{"name":"a GPU","uuid":"GPU-1","capability":[9,0],"memory_bytes":5,"free_bytes":4,"driver":null}"#;
    let program = format!("[ \"$1 $DONE\" = 'probe-device before' ] && echo '{gpu}'");
    let refuse = "echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2; exit 1";
    let programs = [("srun", srun), ("sbatch", refuse), ("program", &program[..])];
    let site = Site::new(&[&EMPTY_QUEUE[..], &programs].concat());
    let profile = format!(
        "time = '1h'\ngres = 'gpu:1'\ndevice = 'cuda:0'\nprogram = {:?}\nprologue = [\"echo 'a greeting'\", 'export DONE=before']\n",
        site.path("bin/program")
    );
    fs::write(site.path("site.toml"), profile).unwrap();
    site.explore(&["--retries", "0", "--no-confirm"]);
    // It was asked what its GPU is, and was submitted.
    let rows = fs::read_to_string(site.path("study/trials.csv")).unwrap();
    assert_eq!(rows.matches("Slurm refused its job").count(), 2, "{rows}");
}

#[test]
fn what_slurm_refuses_for_good_is_a_row_with_the_field_to_change() {
    let refuse = "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2; exit 1";
    let site = Site::new(&[&EMPTY_QUEUE[..], &[("sbatch", refuse)]].concat());
    let explored = site.explore(&["--retries", "0"]);
    assert!(!explored.status.success());
    let rows = fs::read_to_string(site.path("study/trials.csv")).unwrap();
    assert_eq!(
        rows.matches("Slurm refused its job: Invalid partition name specified; look at `partition`").count(),
        2,
        "{rows}"
    );
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_before_anything_is_trained() {
    let site = Site::new(&[("scontrol", "exit 127"), ("squeue", "exit 127")]);
    fs::remove_file(site.path("bin/scontrol")).unwrap();
    if Command::new("scontrol").output().is_ok() {
        crate::skipped::skipped("Slurm is installed here");
        return;
    }
    let explored = site.explore(&[]);
    let said = String::from_utf8_lossy(&explored.stderr).into_owned();
    assert!(!explored.status.success() && said.contains("cannot start scontrol"), "{said}");
}

/// A login node behind a connection that now refuses, now breaks off: `ssh` runs its command here, and what Slurm's programs do
/// for arrays is done.
const SSH: &str = r#"
while [ "$1" != -- ]; do shift; done
shift 2
calls=$(cat "$SITE/calls" 2>/dev/null || echo 0)
echo $((calls + 1)) >"$SITE/calls"
[ -e "$SITE/steady" ] || case $((calls % 8)) in
3) echo 'ssh: connect to host login: Connection refused' >&2; exit 255 ;;
6) sh -c "$*" 2>/dev/null | head -c 700; echo 'Connection to login closed by remote host.' >&2; exit 255 ;;
esac
exec sh -c "$*"
"#;
const SBATCH: &str = r#"
job=$(($(cat "$SITE/jobs" 2>/dev/null | wc -l) + 1))
comment=$(sed -n 's/^#SBATCH --comment=//p' "$2")
last=$(sed -n 's/^#SBATCH --array=0-//p' "$2")
echo "$comment|$job|0-$last|RUNNING|None" >>"$SITE/jobs"
export SLURM_ARRAY_JOB_ID=$job SLURM_JOB_ID=$job SLURM_ARRAY_TASK_ID
for SLURM_ARRAY_TASK_ID in $(seq 0 "$last"); do
    bash "$2" </dev/null >/dev/null 2>&1 &
done
echo $job
"#;
const SQUEUE: &str = r#"cat "$SITE/jobs" 2>/dev/null || true"#;

fn behind_ssh() -> Site {
    let [_, scontrol] = EMPTY_QUEUE;
    let site = Site::new(&[("ssh", SSH), ("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", "exit 0"), scontrol]);
    let program = env!("CARGO_BIN_EXE_fastrcaps");
    let work = site.path("cluster");
    let text = format!("ssh = 'login'\ntime = '1h'\njobs = 2\nwork = {work:?}\nprogram = {program:?}\n");
    fs::write(site.path("site.toml"), text).unwrap();
    site
}

#[test]
fn a_sweep_through_ssh_that_breaks_off_now_and_then_ends_as_one_on_this_machine() {
    let site = behind_ssh();
    let explored = site.explore(&[]);
    assert!(explored.status.success(), "{explored:?}");
    let local = site.run(&["explore", "space.toml", "--out", "local", "--quiet"]);
    assert!(local.status.success(), "{local:?}");
    assert_eq!(site.figures("study"), site.figures("local"));
    assert_eq!(fs::read_to_string(site.path("jobs")).unwrap().lines().count(), 1, "no array was submitted twice");
    let calls: usize = fs::read_to_string(site.path("calls")).unwrap().trim().parse().unwrap();
    assert!(calls > 7, "the connection broke off");
    // What jobs do not need any more is gone, where the last words got through.
    fs::write(site.path("steady"), "").unwrap();
    assert!(site.explore(&[]).status.success());
    for folder in ["attempts", "batches"] {
        assert_eq!(on_cluster(&site, folder), 0, "{folder}");
    }
}

/// Entries of a folder of the study's folder of work on the cluster.
fn on_cluster(site: &Site, folder: &str) -> usize {
    let work = fs::read_dir(site.path("cluster")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(work.join(folder))
        .unwrap()
        .filter(|of| !of.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b"."))
        .count()
}

#[test]
fn what_is_left_of_jobs_that_ended_while_no_explorer_looked_is_removed_though_the_queue_has_them_yet() {
    let site = behind_ssh();
    fs::write(site.path("steady"), "").unwrap();
    let detached = site.explore(&["--detach"]);
    assert!(detached.status.success(), "{detached:?}");
    let begun = std::time::Instant::now();
    while on_cluster(&site, "ended") < 2 {
        assert!(begun.elapsed().as_secs() < 60, "the jobs did not end");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(fs::read_to_string(site.path("jobs")).unwrap().contains("RUNNING"));
    let explored = site.explore(&[]);
    assert!(explored.status.success(), "{explored:?}");
    assert!(site.column("study", "status").iter().all(|status| status == "done"));
    for folder in ["attempts", "batches", "ended"] {
        assert_eq!(on_cluster(&site, folder), 0, "{folder}");
    }
}

#[test]
fn an_explorer_that_fails_at_its_beginning_leaves_the_jobs_of_an_earlier_one_alone() {
    let site = behind_ssh();
    fs::write(site.path("steady"), "").unwrap();
    // Its jobs stay in the queue.
    let waits = SBATCH.replace("    bash \"$2\" </dev/null >/dev/null 2>&1 &\n", "    :\n");
    assert_ne!(waits, SBATCH);
    fs::write(site.path("bin/sbatch"), format!("#!/bin/sh\n{waits}\n")).unwrap();
    assert!(site.explore(&["--detach"]).status.success());
    let wanted = ["attempts", "batches"].map(|folder| on_cluster(&site, folder));
    assert_eq!(wanted, [2, 1]);
    // What is read once the cluster has answered.
    let journal = rusqlite::Connection::open(site.path("study/journal.sqlite")).unwrap();
    assert!(journal.execute("UPDATE trials SET checksum = ''", ()).unwrap() > 0);
    drop(journal);
    let explored = site.explore(&[]);
    assert!(!explored.status.success(), "{explored:?}");
    assert_eq!(["attempts", "batches"].map(|folder| on_cluster(&site, folder)), wanted);
}

#[test]
fn what_a_login_node_lacks_is_an_error_before_anything_is_submitted() {
    let site = behind_ssh();
    let text = fs::read_to_string(site.path("site.toml")).unwrap();
    fs::write(site.path("site.toml"), text.replace(env!("CARGO_BIN_EXE_fastrcaps"), "/nowhere/fastrcaps")).unwrap();
    let refuse = "#!/bin/sh\necho 'me@login: Permission denied (publickey).' >&2\nexit 255\n";
    for (ssh, said) in [(None, "there is no program /nowhere/fastrcaps"), (Some(refuse), "Permission denied")] {
        ssh.into_iter().for_each(|ssh| fs::write(site.path("bin/ssh"), ssh).unwrap());
        let explored = site.explore(&[]);
        let errors = String::from_utf8_lossy(&explored.stderr).into_owned();
        assert!(!explored.status.success() && errors.contains(said), "{errors}");
    }
    assert!(!site.path("jobs").exists());
}

/// Slurm's `sbatch` whose jobs do not begin, but end at once as `end` says; those of later arrays run. Notes what memory they ask for.
fn ends_at_once(end: &str, then: &str) -> String {
    let first = format!("echo \"$comment|$job|0-$last|{end}|None\" >>\"$SITE/jobs\"; echo $job; exit");
    let noted = "sed -n 's/^#SBATCH --mem=\\(.*\\)M/\\1/p' \"$2\" >>\"$SITE/memory\"";
    SBATCH.replacen("echo \"$comment", &format!("{noted}\n{then}{first}\necho \"$comment"), 1)
}

#[test]
fn a_job_out_of_memory_is_submitted_once_more_with_twice_as_much_and_its_row_says_so() {
    let [_, scontrol] = EMPTY_QUEUE;
    let at_once = ends_at_once("OUT_OF_MEMORY", "");
    let forgets = "[ \"$2\" = config ] && echo 'MaxArraySize = 1001'";
    // As the queue shows it, and as only accounting still knows it.
    let known = [("squeue", SQUEUE), scontrol, ("sacct", "exit 1")];
    let forgotten = [("squeue", "exit 0"), ("scontrol", forgets), ("sacct", "echo 'OUT_OF_MEMORY|0:125'")];
    for programs in [known, forgotten] {
        let site = Site::new(&[&programs[..], &[("sbatch", &at_once[..]), ("scancel", "exit 0")]].concat());
        assert!(!site.explore(&["--backoff", "0s"]).status.success());
        let rows = fs::read_to_string(site.path("study/trials.csv")).unwrap();
        assert_eq!(rows.matches("OUT_OF_MEMORY").count(), 2, "{rows}");
        let memory = fs::read_to_string(site.path("memory")).unwrap();
        let memory: Vec<u64> = memory.lines().map(|line| line.parse().unwrap()).collect();
        assert!(memory.len() > 1 && memory[1..].iter().all(|more| *more == 2 * memory[0]), "{memory:?}");
    }
}

#[test]
fn a_preempted_job_is_no_failure_and_its_trial_goes_on() {
    let [_, scontrol] = EMPTY_QUEUE;
    let at_once = ends_at_once("PREEMPTED", "[ $job -gt 1 ] || { ").replacen("; exit", "; exit; }", 1);
    let site = Site::new(&[("sbatch", &at_once[..]), ("squeue", SQUEUE), ("scancel", "exit 0"), scontrol]);
    let explored = site.explore(&["--retries", "0"]);
    assert!(explored.status.success(), "{explored:?}");
    assert!(site.figures("study").iter().all(|row| row.contains(" done ")));
}
