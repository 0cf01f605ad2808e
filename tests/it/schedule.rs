//! Learning-rate and batch policies.

use fastrcaps::learn::schedule::{BatchPolicy, Progress, ScheduleConfig, outline::outline};
use proptest::prelude::*;

use crate::facts::Facts;

fn schedule(toml: &str) -> ScheduleConfig {
    toml::from_str(toml).unwrap()
}

fn rate(schedule: &ScheduleConfig, epoch: f64, epochs: f64) -> f64 {
    schedule.learning_rate(Progress { epoch, epochs })
}

fn assert_close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-12 + 1e-9 * wanted.abs(), "{found} instead of {wanted}");
}

#[test]
fn a_fixed_rate_never_changes() {
    let schedule = schedule("lr = { policy = 'fixed', rate = 2e-3 }");
    for epoch in [0.0, 0.5, 7.0, 10.0] {
        assert_close(rate(&schedule, epoch, 10.0), 2e-3);
    }
}

#[test]
fn exponential_decay_is_smooth_or_a_staircase() {
    let smooth = schedule("lr = { policy = 'exponential', initial = 1.0, decay = 0.5, period = 2 }");
    assert_close(rate(&smooth, 1.0, 10.0), 0.5f64.sqrt());
    let stairs = schedule("lr = { policy = 'exponential', initial = 1.0, decay = 0.5, period = 2, staircase = true }");
    assert_close(rate(&stairs, 1.999, 10.0), 1.0);
    assert_close(rate(&stairs, 2.0, 10.0), 0.5);
    assert_close(rate(&stairs, 5.0, 10.0), 0.25);
}

#[test]
fn steps_fall_at_their_milestones() {
    let schedule = schedule("lr = { policy = 'step', initial = 1.0, factor = 0.1, milestones = [2, 4.5] }");
    assert_close(rate(&schedule, 1.99, 10.0), 1.0);
    assert_close(rate(&schedule, 2.0, 10.0), 0.1);
    assert_close(rate(&schedule, 4.5, 10.0), 0.01);
}

#[test]
fn one_cycle_goes_up_back_and_down_as_the_paper_says() {
    let schedule = schedule("lr = { policy = 'one-cycle' }");
    assert_close(rate(&schedule, 0.0, 20.0), 1e-3);
    assert_close(rate(&schedule, 9.0, 20.0), 1e-2);
    assert_close(rate(&schedule, 4.5, 20.0), 5.5e-3);
    assert_close(rate(&schedule, 18.0, 20.0), 1e-3);
    assert_close(rate(&schedule, 20.0, 20.0), 1e-4);
}

#[test]
fn cosine_ends_at_its_last_rate() {
    let schedule = schedule("lr = { policy = 'cosine', initial = 1e-2, last = 1e-4 }");
    assert_close(rate(&schedule, 0.0, 8.0), 1e-2);
    assert_close(rate(&schedule, 4.0, 8.0), (1e-2 + 1e-4) / 2.0);
    assert_close(rate(&schedule, 8.0, 8.0), 1e-4);
}

#[test]
fn warm_restarts_begin_again_after_periods_that_grow() {
    let schedule = schedule("lr = { policy = 'warm-restarts', peak = 1.0, floor = 0.0, period = 1, multiplier = 2 }");
    for start in [0.0, 1.0, 3.0, 7.0] {
        assert_close(rate(&schedule, start, 15.0), 1.0);
    }
    assert_close(rate(&schedule, 2.0, 15.0), 0.5);
    assert_close(rate(&schedule, 5.0, 15.0), 0.5);
    assert!(rate(&schedule, 6.999, 15.0) < 1e-6);
}

#[test]
fn warm_adabatch_restarts_with_every_batch_phase() {
    let schedule = schedule(
        "lr = { policy = 'warm-restarts', peak = 1.0, floor = 0.0, period = 'batch-phase' }
         batch = { policy = 'adabatch', phases = [{ epochs = 3, size = 1 }, { size = 16 }] }",
    );
    assert_close(rate(&schedule, 0.0, 11.0), 1.0);
    assert_close(rate(&schedule, 1.5, 11.0), 0.5);
    assert_close(rate(&schedule, 3.0, 11.0), 1.0);
    assert_close(rate(&schedule, 7.0, 11.0), 0.5);
    let at = |epoch| schedule.batch_size(Progress { epoch, epochs: 11.0 });
    assert_eq!([at(0.0), at(2.999), at(3.0), at(10.0)], [1, 1, 16, 16]);
}

#[test]
fn adabatch_has_the_papers_phases_by_default() {
    let schedule = schedule("batch = { policy = 'adabatch' }");
    let at = |epoch| schedule.batch_size(Progress { epoch, epochs: 100.0 });
    assert_eq!([at(0.0), at(3.0), at(33.0), at(63.0), at(99.0)], [1, 16, 32, 64, 64]);
}

#[test]
fn a_warm_up_grows_from_zero_to_what_the_policy_says() {
    let schedule = schedule("warmup_epochs = 2\nlr = { policy = 'fixed', rate = 1.0 }");
    assert_close(rate(&schedule, 0.0, 10.0), 0.0);
    assert_close(rate(&schedule, 1.0, 10.0), 0.5);
    assert_close(rate(&schedule, 2.0, 10.0), 1.0);
    assert_close(rate(&schedule, 9.0, 10.0), 1.0);
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (toml, path) in [
        ("lr = { policy = 'fixed', rate = 0 }", "schedule.lr.rate"),
        ("lr = { policy = 'fixed', rate = -1.0 }", "schedule.lr.rate"),
        ("lr = { policy = 'fixed', rate = nan }", "schedule.lr.rate"),
        ("lr = { policy = 'exponential', decay = 1.5 }", "schedule.lr.decay"),
        ("lr = { policy = 'step', milestones = [] }", "schedule.lr.milestones"),
        ("lr = { policy = 'step', milestones = [4, 2] }", "schedule.lr.milestones"),
        ("lr = { policy = 'one-cycle', up = 0.7, down = 0.7 }", "schedule.lr.down"),
        ("lr = { policy = 'cosine', initial = 1e-3, last = 1e-2 }", "schedule.lr.last"),
        ("lr = { policy = 'warm-restarts', period = 0 }", "schedule.lr.period"),
        ("lr = { policy = 'warm-restarts', period = 1e-320 }", "schedule.lr.period"),
        ("lr = { policy = 'exponential', period = 1e-7 }", "schedule.lr.period"),
        ("lr = { policy = 'warm-restarts', multiplier = 1.0000001 }", "schedule.lr.multiplier"),
        ("lr = { policy = 'warm-restarts', multiplier = 0.5 }", "schedule.lr.multiplier"),
        ("batch = { policy = 'fixed', size = 0 }", "schedule.batch.size"),
        ("batch = { policy = 'adabatch', phases = [] }", "schedule.batch.phases"),
        ("batch = { policy = 'adabatch', phases = [{ size = 4 }, { size = 8 }] }", "schedule.batch.phases[0].epochs"),
        ("batch = { policy = 'adabatch', phases = [{ epochs = 0, size = 4 }] }", "schedule.batch.phases[0].epochs"),
        ("warmup_epochs = 11", "schedule.warmup_epochs"),
        ("routing = { policy = 'phases', phases = [] }", "schedule.routing.phases"),
        ("routing = { policy = 'phases', phases = [{}, { iterations = 3 }] }", "schedule.routing.phases[0].until"),
        ("routing = { policy = 'phases', phases = [{ until = 0.0 }, {}] }", "schedule.routing.phases[0].until"),
        ("routing = { policy = 'phases', phases = [{ until = 1.0 }, {}] }", "schedule.routing.phases[0].until"),
        ("routing = { policy = 'phases', phases = [{ until = nan }, {}] }", "schedule.routing.phases[0].until"),
        (
            "routing = { policy = 'phases', phases = [{ until = 0.5 }, { until = 0.5 }, {}] }",
            "schedule.routing.phases[1].until",
        ),
        ("routing = { policy = 'phases', phases = [{ until = 0.5 }] }", "schedule.routing.phases[0].until"),
        (
            "routing = { policy = 'phases', phases = [{ until = 0.5 }, { iterations = 0 }] }",
            "schedule.routing.phases[1].iterations",
        ),
        ("routing = { policy = 'phases', phases = [{ iterations = 11 }] }", "schedule.routing.phases[0].iterations"),
        ("reconstruction = { every = 0 }", "schedule.reconstruction.every"),
        ("reconstruction = { until = 0.0 }", "schedule.reconstruction.until"),
        ("reconstruction = { until = 1.5 }", "schedule.reconstruction.until"),
        ("reconstruction = { until = nan }", "schedule.reconstruction.until"),
        ("freeze = { conv1 = -0.1 }", "schedule.freeze.conv1"),
        ("freeze = { conv1 = 0.5, primary = 1.5 }", "schedule.freeze.primary"),
        ("freeze = { conv1 = nan }", "schedule.freeze.conv1"),
        ("freeze = { conv1 = 0.5, primary = 0.4 }", "schedule.freeze.conv1"),
        ("freeze = { primary = 0.4 }", "schedule.freeze.conv1"),
        ("samples = { share = 0.0 }", "schedule.samples.share"),
        ("samples = { share = 1.1 }", "schedule.samples.share"),
        ("samples = { share = nan }", "schedule.samples.share"),
        ("samples = { after = 0 }", "schedule.samples.after"),
        ("samples = { full_every = 0 }", "schedule.samples.full_every"),
        ("samples = { share = 0.5, full_every = 100001 }", "schedule.samples.full_every"),
    ] {
        let invalid = schedule(toml).validate(10).expect_err(toml);
        assert_eq!(invalid.path, path, "{toml}");
    }
}

/// Epochs and rates of an outline.
fn rows(toml: &str, epochs: usize) -> Vec<(f64, String)> {
    let rows = outline(&schedule(toml), epochs).rows;
    rows.iter().map(|row| (row.epoch, format!("{:.1e}", row.learning_rate))).collect()
}

#[test]
fn an_outline_shows_turns_jumps_and_what_is_between() {
    let shown = |toml, epochs| rows(toml, epochs).iter().map(|(at, rate)| format!("{at} {rate}")).collect::<Vec<_>>();
    assert_eq!(
        shown("lr = { policy = 'warm-restarts' }", 2),
        [
            "0 1.0e-2",
            "0.25 8.7e-3",
            "0.5 5.5e-3",
            "0.75 2.3e-3",
            "1 1.0e-3",
            "1 1.0e-2",
            "1.25 8.7e-3",
            "1.5 5.5e-3",
            "1.75 2.3e-3",
            "2 1.0e-3"
        ]
    );
    assert_eq!(
        shown("lr = { policy = 'one-cycle', last = 2e-4 }", 10),
        [
            "0 1.0e-3",
            "1 3.0e-3",
            "2 5.0e-3",
            "3 7.0e-3",
            "4 9.0e-3",
            "4.5 1.0e-2",
            "5 9.0e-3",
            "6 7.0e-3",
            "7 5.0e-3",
            "8 3.0e-3",
            "9 1.0e-3",
            "9.25 8.0e-4",
            "9.5 6.0e-4",
            "9.75 4.0e-4",
            "10 2.0e-4"
        ]
    );
    assert_eq!(shown("", 7), ["0 1.0e-3", "7 1.0e-3"]);
    assert_eq!(
        shown("lr = { policy = 'step', milestones = [2.5, 90] }", 9),
        ["0 1.0e-3", "2.5 1.0e-3", "2.5 1.0e-4", "9 1.0e-4"]
    );
    // Batch phases and a warm-up turn it as well.
    let phases = "batch = { policy = 'adabatch', phases = [{ epochs = 1.5, size = 8 }, { size = 64 }] }";
    assert_eq!(shown(phases, 3), ["0 1.0e-3", "1.5 1.0e-3", "1.5 1.0e-3", "3 1.0e-3"]);
    assert_eq!(shown("warmup_epochs = 1", 3)[..3], ["0 0.0e0", "0.25 2.5e-4", "0.5 5.0e-4"]);
    // Bounded, whatever a schedule does.
    let policies = ["'cosine'", "'warm-restarts', period = 0.001", "'exponential', staircase = true, period = 0.001"];
    for (policy, is_long) in policies.iter().zip([false, true, true]) {
        let outline = outline(&schedule(&format!("lr = {{ policy = {policy} }}")), 100_000);
        assert!(outline.rows.len() <= 60 && outline.is_cut == is_long, "{policy}");
        assert_eq!(outline.rows.last().unwrap().epoch, 100_000.0);
        assert!(outline.rows.is_sorted_by(|one, other| one.epoch <= other.epoch), "{policy}");
    }
}

#[test]
fn what_a_policy_does_by_odd_values_is_told_and_its_defaults_are_silent() {
    let note = |lr: &str| schedule(&format!("lr = {{ policy = {lr} }}")).note();
    for (lr, facts) in [
        ("'one-cycle', peak = 5e-4", &["peak", "5e-4"][..]),
        ("'one-cycle', initial = 1e-2", &["1e-2"]),
        ("'warm-restarts', peak = 1e-3", &["1e-3", "peak", "floor"]),
        ("'exponential', decay = 1.0", &["decay", "1"]),
        ("'step', factor = 1.0, milestones = [1]", &["factor", "1"]),
        ("'cosine', last = 1e-3", &["initial", "last"]),
    ] {
        note(lr).expect(lr).names(["schedule.lr"]).names(facts);
        assert_eq!(schedule(&format!("lr = {{ policy = {lr} }}")).validate(10), Ok(()), "{lr}");
    }
    for lr in ["'fixed'", "'exponential'", "'step', milestones = [1]", "'one-cycle'", "'cosine'", "'warm-restarts'"] {
        assert_eq!(note(lr), None, "{lr}");
    }
    let below = schedule("lr = { policy = 'warm-restarts', peak = 5e-4 }").validate(10).unwrap_err();
    assert_eq!(below.path, "schedule.lr.floor");
    below.to_string().names(["schedule.lr.floor = 0.001", "0", "peak = 0.0005"]);
}

#[test]
fn a_change_of_batch_size_does_not_move_the_rate() {
    let with = |batch: &str| schedule(&format!("lr = {{ policy = 'cosine' }}\nbatch = {batch}"));
    let fixed = with("{ policy = 'fixed', size = 8 }");
    let phases = with("{ policy = 'adabatch', phases = [{ epochs = 1, size = 1 }, { size = 64 }] }");
    for tenth in 0..100 {
        let epoch = f64::from(tenth) / 10.0;
        assert_close(rate(&phases, epoch, 10.0), rate(&fixed, epoch, 10.0));
    }
}

fn any_batch() -> impl Strategy<Value = BatchPolicy> {
    let phase = (0.05f64..3.0, 1usize..200);
    prop_oneof![
        (1usize..300).prop_map(|size| BatchPolicy::Fixed { size }),
        proptest::collection::vec(phase, 1..5).prop_map(|phases| BatchPolicy::Adabatch {
            phases: (phases.into_iter())
                .map(|(epochs, size)| fastrcaps::learn::schedule::batch::BatchPhase { epochs: Some(epochs), size })
                .collect()
        }),
    ]
}

proptest! {
    #[test]
    fn the_steps_of_an_epoch_cover_every_sample_once(
        batch in any_batch(), samples in 1usize..700, epoch in 0usize..5,
    ) {
        let schedule = ScheduleConfig { batch, ..ScheduleConfig::default() };
        let mut covered = 0;
        for step in schedule.epoch_steps(epoch, 5, samples) {
            prop_assert_eq!(step.samples.start, covered);
            prop_assert!(!step.samples.is_empty() && step.samples.len() <= step.batch_size);
            prop_assert!(step.progress.epoch >= epoch as f64 && step.progress.epoch < epoch as f64 + 1.0);
            covered = step.samples.end;
        }
        prop_assert_eq!(covered, samples);
    }

    #[test]
    fn every_policy_stays_within_its_rates(epoch in 0.0f64..10.0) {
        for lr in ["'one-cycle', peak = 1e-2", "'warm-restarts', period = 0.7, multiplier = 1.3",
                   "'exponential'", "'cosine'", "'warm-restarts', period = 'batch-phase'"] {
            let schedule = schedule(&format!("lr = {{ policy = {lr} }}\nbatch = {{ policy = 'adabatch' }}"));
            let rate = rate(&schedule, epoch, 10.0);
            prop_assert!((0.0..=1e-2 + 1e-12).contains(&rate), "{lr} at {epoch}: {rate}");
        }
    }

    #[test]
    fn where_a_training_may_stop_it_has_been_that_shorter_training_all_along(
        batch in any_batch(), samples in 1usize..300, epochs in 1usize..9, policy in 0usize..8, warmup in 0usize..3,
    ) {
        let lr = ["'fixed'", "'exponential', period = 1.7", "'step', milestones = [1, 2.5]", "'one-cycle'", "'cosine'",
                  "'warm-restarts', period = 0.5, multiplier = 2", "'warm-restarts', period = 2",
                  "'warm-restarts', period = 'batch-phase'"][policy];
        let warmup_epochs = warmup.min(epochs) as f64;
        let schedule = ScheduleConfig { batch, warmup_epochs, ..schedule(&format!("lr = {{ policy = {lr} }}")) };
        let stops = schedule.stops(epochs);
        prop_assert_eq!(stops.last(), Some(&epochs));
        prop_assert!(stops.is_sorted_by(|a, b| a < b));
        for &stop in &stops {
            prop_assert!(stop as f64 >= warmup_epochs);
            for epoch in 0..stop {
                let whole = schedule.epoch_steps(epoch, epochs, samples);
                let short = schedule.epoch_steps(epoch, stop, samples);
                for (whole, short) in whole.zip(short) {
                    prop_assert_eq!(&whole.samples, &short.samples);
                    prop_assert_eq!(whole.learning_rate, short.learning_rate, "{} in {} of {}", lr, epoch, stop);
                }
            }
            // Counted as if walked through.
            let mut walked = std::collections::BTreeMap::new();
            for epoch in 0..stop {
                for step in schedule.epoch_steps(epoch, epochs, samples) {
                    *walked.entry(step.samples.len()).or_insert(0) += 1;
                }
            }
            prop_assert_eq!(schedule.steps_by_size(stop, epochs, samples), walked);
        }
    }
}

#[test]
fn a_cooldown_is_constant_up_to_its_share_and_ends_at_zero() {
    let lr = schedule("lr = { policy = 'cooldown', rate = 1e-2, share = 0.4 }");
    for (epoch, wanted) in [(0.0, 1e-2), (6.0, 1e-2), (7.0, 5e-3), (10.0, 0.0)] {
        assert_close(rate(&lr, epoch, 10.0), wanted);
    }
    let share = |share: f64| schedule(&format!("lr = {{ policy = 'cooldown', share = {share:?} }}")).validate(10);
    assert!(share(1.0).is_ok() && share(1e-300).is_ok());
    for wrong in [0.0, -0.1, 1.1] {
        assert_eq!(share(wrong).unwrap_err().path, "schedule.lr.share");
    }
    assert_eq!(schedule("lr = { policy = 'cooldown' }").stops(8), [8]);
}

#[test]
fn restarts_may_stop_where_a_cycle_ends_and_plans_of_the_whole_nowhere() {
    let stops = |lr: &str| schedule(&format!("lr = {{ policy = {lr} }}")).stops(8);
    assert_eq!(stops("'fixed'"), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(stops("'warm-restarts', period = 1, multiplier = 2"), [1, 3, 7, 8]);
    assert_eq!(stops("'warm-restarts', period = 1.5"), [3, 6, 8]);
    assert_eq!(stops("'one-cycle'"), [8]);
    let phases = "lr = { policy = 'warm-restarts', period = 'batch-phase' }\n\
                  batch = { policy = 'adabatch', phases = [{ epochs = 1, size = 8 }, { epochs = 1.5, size = 16 }, { epochs = 1.5, size = 32 }, { size = 64 }] }";
    assert_eq!(schedule(phases).stops(8), [1, 4, 8]);
    assert_eq!(schedule("lr = { policy = 'fixed' }\nwarmup_epochs = 2.5").stops(5), [3, 4, 5]);
}
