//! Successive halving by the program: what is given up, what is kept, and that it does not depend on how it was run.

use std::{collections::BTreeMap, path::Path};

use crate::cli::{explore_until, figures, folder_with, succeed, table};

/// Six configurations, the baseline among them, whose accuracies differ.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 500, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 9 }
schedule.batch = { policy = 'fixed', size = 8 }
[axes]
\"schedule.lr.rate\" = [1e-6, 2e-6, 3e-4, 1e-3, 2e-3, 4e-3]
[baseline]
\"schedule.lr.rate\" = 1e-6
";

const EXPLORE: [&str; 5] = ["explore", "space.toml", "--strategy", "halving", "--quiet"];

fn rows(folder: &Path) -> Vec<BTreeMap<String, String>> {
    table(folder.join("results/space/trials.csv"))
}

/// Every configuration's status and epochs.
fn ends(folder: &Path) -> Vec<(String, String)> {
    rows(folder).iter().map(|row| (row["status"].clone(), row["epochs"].clone())).collect()
}

#[test]
fn what_is_not_among_the_best_is_given_up_and_its_epochs_are_kept() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &EXPLORE);
    let ends = ends(folder.path());
    // All to 1 epoch; the best two and the baseline to 3; the best one of these and the baseline to 9.
    let count = |status: &str, epochs: &str| ends.iter().filter(|end| **end == (status.into(), epochs.into())).count();
    assert_eq!((count("stopped", "1"), count("stopped", "3"), count("done", "9")), (3, 1, 2), "{ends:?}");
    assert_eq!(ends[0], ("done".into(), "9".into()), "the baseline goes on");
    let reasons: Vec<String> = rows(folder.path()).iter().map(|row| row["error"].clone()).collect();
    assert!(reasons.iter().filter(|reason| reason.contains("is not among the best")).count() == 4, "{reasons:?}");
    let epochs = table(folder.path().join("results/space/epochs.csv"));
    assert_eq!(epochs.len(), 3 + 3 + 2 * 9);
    let checked = succeed(folder.path(), &["study", "check", "results/space"]);
    assert!(checked.contains("2 done, 0 diverged, 0 failed, 4 given up"), "{checked}");
    // Again, it has nothing to do.
    succeed(folder.path(), &EXPLORE);
    assert_eq!(self::ends(folder.path()), ends);
    let rebuilt = succeed(folder.path(), &["study", "rebuild", "results/space"]);
    assert!(rebuilt.contains("2 done, 0 diverged, 0 failed, 4 given up"), "{rebuilt}");
}

#[test]
fn serial_parallel_and_interrupted_sweeps_give_the_same_up() {
    let serial = folder_with(SPACE);
    succeed(serial.path(), &[&EXPLORE[..], &["--slots", "1x1"]].concat());
    let wanted = figures(&serial.path().join("results/space"));
    let parallel = folder_with(SPACE);
    succeed(parallel.path(), &[&EXPLORE[..], &["--slots", "3x1"]].concat());
    assert_eq!(figures(&parallel.path().join("results/space")), wanted);
    let stopped = folder_with(SPACE);
    for finished in [2, 5] {
        let arguments = [&EXPLORE[..], &["--no-confirm", "--slots", "1x1"]].concat();
        explore_until(stopped.path(), &arguments, finished, "-TERM");
    }
    succeed(stopped.path(), &[&EXPLORE[..], &["--slots", "1x1"]].concat());
    assert_eq!(figures(&stopped.path().join("results/space")), wanted);
}

#[test]
fn another_strategy_trains_on_what_halving_gave_up_to_the_same_bits() {
    let halved = folder_with(SPACE);
    succeed(halved.path(), &EXPLORE);
    succeed(halved.path(), &["explore", "space.toml", "--quiet"]);
    assert!(ends(halved.path()).iter().all(|end| *end == ("done".into(), "9".into())));
    let whole = folder_with(SPACE);
    succeed(whole.path(), &["explore", "space.toml", "--quiet"]);
    let of = |folder: &Path| figures(&folder.join("results/space"));
    assert_eq!(of(halved.path()), of(whole.path()));
}
