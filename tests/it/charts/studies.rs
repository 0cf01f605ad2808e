//! Studies that nobody trained: records and epochs by arithmetic.

use std::path::Path;

use fastrcaps::{
    learn::record::{EpochRow, Status, TrialRecord},
    present::report::view::StudyView,
};

use crate::study::declare_space;

/// Twelve configurations with two replicates, of which some were given up, diverged or failed.
pub const SMALL: &str = "
replicates = 2
[base]
model = { preset = 'tiny' }
train = { epochs = 4 }
[axes]
\"model.routing_iterations\" = [3, 1]
\"schedule.lr\" = [{ policy = 'fixed' }, { policy = 'one-cycle' }, { policy = 'warm-restarts', period = 1.0 }]
\"schedule.batch\" = [{ policy = 'fixed', size = 32 }, { policy = 'adabatch', phases = [{ epochs = 1, size = 8 }, { size = 64 }] }]
";

/// Ten thousand trials.
pub const LARGE: &str = "
replicates = 2
[base]
model = { preset = 'tiny' }
train = { epochs = 6 }
[axes]
\"model.routing_iterations\" = [3, 1, 2, 4, 5]
\"model.class_sharing\" = ['none', 'by-type']
\"train.beta1\" = [0.9, 0.8, 0.85, 0.95, 0.7]
\"train.beta2\" = [0.999, 0.99, 0.98, 0.95, 0.9]
\"schedule.lr.rate\" = [1e-3, 2e-3, 5e-3, 5e-4, 2e-4]
\"schedule.batch.size\" = [32, 16, 64, 128]
";

/// A number in 0..1 that looks drawn, and is the same every time.
fn noise(at: usize, purpose: usize) -> f64 {
    let mut bits =
        (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (purpose as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    for shift in [30, 27, 31] {
        bits = (bits ^ (bits >> shift)).wrapping_mul(0x94d0_49bb_1331_11eb);
    }
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

fn moment(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}Z",
        1 + seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The study of a space, as if its trials had been trained on two slots with a break in the middle.
pub fn trained(folder: &Path, space: &str) -> StudyView {
    let study = declare_space(folder, space, "the data");
    let mut view = StudyView::blank(&study).unwrap();
    let count = view.trials.len();
    let (mut free, mut ends) = ([0.0_f64; 2], Vec::new());
    for at in 0..count {
        let (candidate, replicate) = (view.trials[at].candidate, view.trials[at].replicate);
        let config = &view.trials[at].config;
        let status = match candidate % 12 {
            5 => Status::Stopped,
            7 if replicate == 1 => Status::Diverged,
            10 if replicate == 1 => Status::Failed,
            _ => Status::Done,
        };
        let epochs = if status == Status::Done { config.train.epochs } else { config.train.epochs / 2 };
        let each = 2.0 + 30.0 * noise(candidate, 1).powi(3) + 0.3 * noise(at, 2);
        let best = 0.9 + 0.09 * noise(candidate, 3).powf(0.3) - 0.004 * noise(at, 4);
        let rows: Vec<EpochRow> = (1..=epochs)
            .map(|epoch| EpochRow {
                validation_accuracy: best - 0.3 * (-1.2 * epoch as f64).exp() * noise(candidate, 5),
                train_seconds_screen: each * epoch as f64,
                ..crate::study::row(epoch, 0)
            })
            .collect();
        let slot = usize::from(free[1] < free[0]);
        if at == count / 2 {
            free = free.map(|free| free + 7200.0);
        }
        let (start, end) = (free[slot], free[slot] + each * epochs.max(1) as f64);
        free[slot] = end;
        ends.push(end);
        let accuracy = rows.iter().map(|row| row.validation_accuracy).reduce(f64::max);
        let is_done = status == Status::Done;
        view.records[at] = Some(TrialRecord {
            status,
            attempts: 1,
            epochs,
            best_epoch: is_done.then_some(epochs),
            validation_accuracy: accuracy.filter(|_| is_done),
            test_accuracy: accuracy.filter(|_| is_done).map(|of| of - 0.001),
            train_seconds_screen: Some(each * epochs as f64),
            co_runners: Some(1),
            threads: Some(1),
            started: Some(moment(start)),
            ended: Some(moment(end)),
            processor: Some("a processor".into()),
            device: Some("cpu".into()),
            error: (!is_done).then(|| format!("{status:?}, as it had to, \"quoted\"\nin two lines")),
            ..TrialRecord::pending(view.keys[at].clone(), replicate, config)
        });
        view.epochs[at] = rows;
    }
    view
}
