//! What jobs of a cluster have in common: beginnings of trainings, and data that is brought to them.

use std::{fs, path::Path};

use super::{EMPTY_QUEUE, SBATCH, SQUEUE, SSH, Site, behind_ssh};
use crate::data::own::idx;

/// Three trainings, of which two are beginnings of the first.
const SHARING: &str = "
[base]
data = { name = 'glyphs', train_samples = 80, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
schedule = { lr = { policy = 'fixed', rate = 1e-3 }, batch = { policy = 'fixed', size = 8 } }
[axes]
'train.epochs' = [3, 1, 2]
";

fn sharing(site: Site) -> Site {
    fs::write(site.path("space.toml"), SHARING).unwrap();
    // The connection does not break off: others look at that.
    fs::write(site.path("steady"), "").unwrap();
    let local = site.run(&["explore", "space.toml", "--out", "local", "--quiet", "--slots", "1x1", "--no-confirm"]);
    assert!(local.status.success(), "{local:?}");
    site
}

fn near(sbatch: &str) -> Site {
    let [_, scontrol] = EMPTY_QUEUE;
    Site::new(&[("sbatch", sbatch), ("squeue", SQUEUE), ("scancel", "exit 0"), scontrol])
}

fn explore(site: &Site) {
    let explored = site.explore(&["--no-confirm"]);
    assert!(explored.status.success(), "{explored:?}");
    assert_eq!(site.figures("study"), site.figures("local"));
}

/// Files below a folder whose names end so.
fn below(folder: &Path, end: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let names = paths.flat_map(|path| if path.is_dir() { below(&path, end) } else { vec![path.display().to_string()] });
    names.filter(|name| name.ends_with(end)).collect()
}

#[test]
fn jobs_go_on_from_what_another_left_in_the_folder_of_work_also_behind_ssh() {
    for (site, work) in [(near(SBATCH), "study/.slurm"), (behind_ssh(), "cluster")] {
        let site = sharing(site);
        explore(&site);
        assert_eq!(site.column("local", "shared_epochs"), ["", "1", "2"]);
        assert_eq!(site.column("study", "shared_epochs"), ["", "1", "2"], "{work}");
        assert_eq!(below(&site.path(work), ".safetensors"), [""; 0], "nobody waits for them any more");
    }
}

#[test]
fn a_beginning_that_a_job_finds_damaged_or_gone_is_trained_again() {
    let spoil = r#"[ -e "$SITE/jobs" ] && for file in "$SITE"/study/.slurm/beginnings/*.safetensors; do
    [ -z "$kept" ] || { rm -f "$file"; continue; }
    kept=1
    printf spoilt | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc 2>>"$SITE/dd"
done"#;
    let site = sharing(near(&format!("{spoil}\n{SBATCH}")));
    explore(&site);
    let logs: String =
        below(&site.path("study"), "log.txt").iter().map(|log| fs::read_to_string(log).unwrap()).collect();
    assert!(logs.contains("cannot be used: it is damaged"), "{logs}");
}

/// A cluster that finds no data, and a space of images that lie here; they are gone once jobs begin.
fn of_own_images() -> Site {
    let site = behind_ssh();
    fs::write(site.path("steady"), "").unwrap();
    let asked = "case \"$*\" in *has-data*) echo 'no such folder'; exit ;; esac";
    let ssh = SSH.replacen("shift 2\n", &format!("shift 2\n{asked}\n"), 1);
    fs::write(site.path("bin/ssh"), format!("#!/bin/sh\n{ssh}\n")).unwrap();
    let sbatch =
        format!("#!/bin/sh\n[ ! -d \"$SITE/my letters\" ] || mv \"$SITE/my letters\" \"$SITE/gone\"\n{SBATCH}\n");
    fs::write(site.path("bin/sbatch"), sbatch).unwrap();
    let pixels: Vec<u8> = (0..40 * 144).map(|at| (at * 97 % 251) as u8).collect();
    let labels: Vec<u8> = (0..40).map(|at| at % 4).collect();
    fs::create_dir(site.path("my letters")).unwrap();
    fs::write(site.path("my letters/train-images-idx3-ubyte"), idx(&[40, 12, 12], &pixels)).unwrap();
    fs::write(site.path("my letters/train-labels-idx1-ubyte"), idx(&[40], &labels)).unwrap();
    let space = "[base]\ndata = { name = 'idx', path = 'my letters', validation_fraction = 0.25 }\n\
                 model = { preset = 'tiny', conv1_kernel = 3, primary_kernel = 3 }\ntrain = { epochs = 1 }\n[axes]\n\
                 'model.routing_iterations' = [1, 3]\n";
    fs::write(site.path("space.toml"), space).unwrap();
    site
}

#[test]
fn images_that_a_cluster_behind_ssh_does_not_find_are_brought_there() {
    let site = of_own_images();
    let local = site.run(&["explore", "space.toml", "--out", "local", "--quiet", "--no-confirm"]);
    assert!(local.status.success(), "{local:?}");
    explore(&site);
    assert!(site.path("gone").is_dir(), "they were gone when jobs began");
    assert_eq!(below(&site.path("cluster/data"), "idx3-ubyte").len(), 1);
}

#[test]
fn images_that_cannot_be_brought_to_a_cluster_are_an_error_before_anything_is_submitted() {
    let site = of_own_images();
    fs::create_dir(site.path("cluster")).unwrap();
    fs::write(site.path("cluster/data"), "a file in the way").unwrap();
    let explored = site.explore(&["--no-confirm"]);
    let said = String::from_utf8_lossy(&explored.stderr).into_owned();
    assert!(!explored.status.success() && said.contains("data_dir") && said.contains("no such folder"), "{said}");
    assert!(!site.path("jobs").exists());
}
