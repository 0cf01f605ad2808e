//! Trials as jobs of Slurm, as far as that can be told without a cluster; on one, `workers` and `tests/slurm/` tell.

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
        program: &program,
        arguments: &["--data-dir".into(), "/home/me/my data".into()],
    })
}

#[test]
fn the_script_of_an_array_asks_for_what_the_profile_says() {
    let profile = profile(SITE).unwrap();
    let text = text_of(&profile, Need { mebibytes: Some(300), time: Some(Duration::from_secs(60)) });
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
        "#SBATCH --exclude=n3",
        "#SBATCH --output=/scratch/me/fastrcaps-x1/batches/3/output.log",
        "module load cuda/12",
        "program='/home/me/it'\\''s/fastrcaps'",
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
    let text = text_of(&Profile::default(), Need { mebibytes: Some(300), time: Some(Duration::from_secs(900)) });
    assert!(text.contains("#SBATCH --mem=300M\n") && text.contains("#SBATCH --time=0-00:15:00\n"), "{text}");
    assert!(text.contains("#SBATCH --array=0-47\n") && !text.contains("--partition"), "{text}");
    let open = text_of(&Profile::default(), Need { mebibytes: None, time: None });
    assert!(!open.contains("--mem") && !open.contains("--time") && !open.contains("--signal"), "{open}");
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
        ("qos = \"a\\nb\"", "give one line"),
        ("work = 'scratch'", "must be an absolute path"),
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
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let given = ["--executor", "slurm", "--executor-file", "site.toml", "--out", "study", "--quiet"];
        Command::new(env!("CARGO_BIN_EXE_fastrcaps"))
            .args(["explore", "space.toml"])
            .args(given)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path)
            .output()
            .unwrap()
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
