//! Which trial is next when there is a deadline.

use std::collections::HashSet;

use fastrcaps::{
    analysis::pareto::{Goal, hypervolume_2d},
    base::device::Place,
    base::source::Document,
    learn::record::{EpochRow, Status},
    search::{
        space::{Expansion, Space, Trial},
        strategy::{Deadline, Grid, Halving, Offer, Order, Predicted, Progress, Proposal, Searcher, Told},
    },
};
use proptest::prelude::*;

/// A space of 192 configurations, whose training times span a factor of 64.
const SPACE: &str = "
replicates = 2
[base]
model = { preset = 'tiny' }
schedule.batch.policy = 'fixed'
[axes]
\"train.epochs\" = [1, 2, 4, 8]
\"model.routing_iterations\" = [3, 2, 1]
\"schedule.batch.size\" = [1, 16, 64, 256]
\"model.class_sharing\" = ['none', 'by-type']
\"schedule.lr\" = [{ policy = 'fixed' }, { policy = 'one-cycle' }]
";

fn space(text: &str) -> (Expansion, Vec<Trial>) {
    let space = Space::from_document(Document::parse("space.toml", text.into()).unwrap(), "space", &[]).unwrap();
    let expansion = space.expand().unwrap();
    let trials = expansion.trials(space.replicates);
    (expansion, trials)
}

/// Seconds that a trial of [`SPACE`] would take, and the accuracy that it would reach: more epochs, more routing and a middling
/// batch are better, each the less the better the rest is already.
fn outcome(expansion: &Expansion, trial: &Trial) -> [f64; 2] {
    let values = &expansion.candidates[trial.candidate].values;
    let number = |axis: usize| values[axis].as_ref().unwrap().parse::<f64>().unwrap();
    let (epochs, routing, batch) = (number(0), number(1), number(2));
    let is_shared = values[3].as_deref() == Some("by-type");
    let is_cycle = values[4].as_deref() == Some("one-cycle");
    let seconds = epochs * (4.0 + routing) * (1.0 + 8.0 / batch) * if is_shared { 0.7 } else { 1.0 };
    let steps = epochs * (64.0 / batch).powf(0.6) * if is_cycle { 1.6 } else { 1.0 };
    let noise = if batch == 1.0 { 0.02 } else { 0.0 } + if is_shared { 0.015 } else { 0.0 };
    [seconds, 0.995 - 0.25 / (1.0 + steps) - 0.01 * (3.0 - routing) - noise]
}

/// What a strategy trains one after the other within a budget, each trial taking `pace` times what was predicted.
fn trained(searcher: &dyn Searcher, trials: &[Trial], predicted: &[f64], pace: f64, budget: f64) -> (Vec<usize>, f64) {
    let mut progress = vec![Progress::new(Status::Pending); trials.len()];
    let (mut order, mut spent) = (Vec::new(), 0.0);
    loop {
        let told = Told { trials, progress: &progress, seconds_left: Some(budget - spent) };
        let Some(next) = whole(searcher, &told, &Offer::ANY) else { return (order, spent) };
        assert_eq!(progress[next].status, Status::Pending, "trial {next} was started twice");
        let seconds = predicted[next] * pace;
        progress[next] = Progress { took: Some((Place::Cpu, seconds)), ..Progress::new(Status::Done) };
        spent += seconds;
        order.push(next);
    }
}

/// The trial that is to be trained to its end now, if any is.
fn whole(searcher: &dyn Searcher, told: &Told, slot: &Offer) -> Option<usize> {
    match searcher.propose(told, slot) {
        Proposal::Train { trial, epochs } => {
            assert_eq!(epochs, told.trials[trial].config.train.epochs);
            Some(trial)
        }
        Proposal::Stop { trial, reason } | Proposal::Pause { trial, reason } => {
            panic!("trial {trial} is given up: {reason}")
        }
        Proposal::Wait | Proposal::Done => None,
    }
}

fn deadline(expansion: &Expansion, trials: &[Trial], predicted: &[f64], limit: Option<usize>) -> Deadline {
    let predicted = vec![Predicted::new(Place::Cpu, predicted.to_vec())];
    Deadline::new(trials, &expansion.candidates, expansion.baseline, predicted, limit)
}

#[test]
fn a_hundredth_to_a_third_of_the_time_tells_more_of_the_front_than_in_the_grids_order_or_a_random_one() {
    let (expansion, trials) = space(SPACE);
    let outcomes: Vec<[f64; 2]> = trials.iter().map(|trial| outcome(&expansion, trial)).collect();
    let predicted: Vec<f64> = outcomes.iter().map(|[seconds, _]| *seconds).collect();
    let whole: f64 = predicted.iter().sum();
    let slowest = predicted.iter().copied().fold(0.0, f64::max);
    let volume = |order: &[usize]| {
        let points: Vec<[f64; 2]> = order.iter().map(|index| [outcomes[*index][0].ln(), outcomes[*index][1]]).collect();
        hypervolume_2d(&points, &[Goal::Minimise, Goal::Maximise], [slowest.ln(), 0.7])
    };
    let all = volume(&(0..trials.len()).collect::<Vec<_>>());
    let until = |order: &[usize], budget: f64| {
        let mut spent = 0.0;
        let fits = |index: &&usize| {
            spent += predicted[**index];
            spent <= budget
        };
        order.iter().take_while(fits).copied().collect::<Vec<_>>()
    };
    let (grid, random) = (Grid::new(trials.len(), Order::Grid), Grid::new(trials.len(), Order::Random));
    let planned = deadline(&expansion, &trials, &predicted, None);
    for share in [0.01, 0.02, 0.05, 0.1, 0.2, 0.3] {
        let budget = share * whole;
        let ours = volume(&trained(&planned, &trials, &predicted, 1.0, budget).0) / all;
        let [grid, random] = [&grid, &random].map(|sweep| volume(&until(sweep.trials(), budget)) / all);
        println!(
            "{share:>4} of the time: {ours:.3} of the front by the deadline's order, {grid:.3} by the grid's, {random:.3} at random"
        );
        assert!(ours > grid, "{share}: {ours} is not above the grid's {grid}");
        assert!(ours > random - 0.01, "{share}: {ours} is not above the random order's {random}");
    }
}

#[test]
fn the_baseline_is_first_and_what_is_near_it_is_late() {
    let (expansion, trials) = space(SPACE);
    let planned = deadline(&expansion, &trials, &vec![1.0; trials.len()], None);
    assert_eq!(planned.trials()[0], expansion.baseline.unwrap());
    let differs = |one: usize, other: usize| {
        let [one, other] = [one, other].map(|index| &expansion.candidates[trials[index].candidate].values);
        one.iter().zip(other).filter(|(a, b)| a != b).count()
    };
    assert_eq!(differs(planned.trials()[0], planned.trials()[1]), 5, "the second differs in everything");
}

#[test]
fn a_trial_that_does_not_fit_is_passed_over_for_one_that_does() {
    let (expansion, trials) = space("[axes]\n\"train.epochs\" = [8, 1]");
    let planned = deadline(&expansion, &trials, &[80.0, 10.0], None);
    assert_eq!(trained(&planned, &trials, &[80.0, 10.0], 1.0, 50.0).0, [1]);
    assert_eq!(trained(&planned, &trials, &[80.0, 10.0], 1.0, 85.0).0, [0]);
    assert_eq!(trained(&planned, &trials, &[80.0, 10.0], 1.0, 90.0).0, [0, 1]);
}

#[test]
fn predictions_follow_the_pace_of_what_has_ended() {
    let (expansion, trials) = space("replicates = 5\n[axes]\n\"train.epochs\" = [1]");
    let planned = deadline(&expansion, &trials, &[10.0; 5], None);
    let took = |status, seconds| Progress { took: Some((Place::Cpu, seconds)), ..Progress::new(status) };
    let mut progress = vec![Progress::new(Status::Pending); 5];
    for (index, (status, seconds)) in
        [(Status::Done, 10.0), (Status::Done, 30.0), (Status::Failed, 500.0)].into_iter().enumerate()
    {
        progress[index] = took(status, seconds);
    }
    assert_eq!(planned.pace(Place::Cpu, &progress), 3.0);
    let next = |left| whole(&planned, &Told { trials: &trials, progress: &progress, seconds_left: left }, &Offer::ANY);
    assert_eq!([next(Some(29.0)), next(Some(30.0)), next(None)], [None, Some(3), Some(3)]);
}

#[test]
fn without_predictions_the_time_that_trials_take_is_learned() {
    let (expansion, trials) = space(SPACE);
    for unknown in [0.0, f64::NAN, 1.0, -3.0] {
        let planned = deadline(&expansion, &trials, &vec![unknown; trials.len()], None);
        // Each takes 100 s: the first is a try, after it all is known.
        let (order, spent) = trained(&planned, &trials, &vec![100.0; trials.len()], 1.0, 1050.0);
        assert_eq!((order.len(), spent), (10, 1000.0));
    }
}

#[test]
fn each_device_has_predictions_and_a_pace_of_its_own() {
    let (expansion, trials) = space("[axes]\n\"train.epochs\" = [1, 2, 3]");
    let gpu = Place::Cuda(0);
    // On CPU cores nothing would end in time.
    let predicted = vec![Predicted::new(Place::Cpu, vec![1e6; 3]), Predicted::new(gpu, vec![10.0; 3])];
    let planned = Deadline::new(&trials, &expansion.candidates, None, predicted, None);
    let mut progress = vec![Progress::new(Status::Pending); 3];
    let on = |place, progress: &[Progress], left| {
        let told = Told { trials: &trials, progress, seconds_left: Some(left) };
        whole(&planned, &told, &Offer { place, refuses: &|_| false })
    };
    assert_eq!([on(Place::Cpu, &progress, 15.0), on(gpu, &progress, 15.0)], [None, Some(0)]);
    // What a trial took on one device says nothing of the other.
    progress[0] = Progress { took: Some((Place::Cpu, 1e9)), ..Progress::new(Status::Done) };
    assert_eq!((planned.pace(Place::Cpu, &progress), planned.pace(gpu, &progress)), (1e3, 1.0));
    assert_eq!(on(gpu, &progress, 15.0), Some(planned.trials()[1]));
}

#[test]
fn a_slot_is_offered_nothing_that_it_refuses() {
    let (expansion, trials) = space("[axes]\n\"train.epochs\" = [1, 2, 3]");
    let progress = vec![Progress::new(Status::Pending); 3];
    let told = Told { trials: &trials, progress: &progress, seconds_left: None };
    let slot = Offer { place: Place::Cuda(0), refuses: &|trial| trial == 0 };
    let searchers: [&dyn Searcher; 3] = [
        &Grid::new(3, Order::Grid),
        &deadline(&expansion, &trials, &[1.0; 3], None),
        &Halving::new(&trials, vec![0, 1, 2], None),
    ];
    for searcher in searchers {
        let proposal = searcher.propose(&told, &slot);
        assert!(matches!(proposal, Proposal::Train { trial: 1 | 2, .. }), "{proposal:?}");
    }
}

/// Rows of so many epochs that all reach `accuracy`.
fn rows(epochs: usize, accuracy: f64) -> Vec<EpochRow> {
    let row = |epoch| EpochRow {
        epoch,
        learning_rate: 1e-3,
        batch_size: 1,
        train_loss: 0.5,
        train_accuracy: 0.5,
        validation_loss: 0.5,
        validation_accuracy: accuracy,
        train_seconds_screen: 1.0,
        samples: 1,
        steps: 1,
    };
    (1..=epochs).map(row).collect()
}

/// What becomes of trials under a searcher that finishes them in the order in which `pick` takes from those that run: the epochs
/// of each, and whether it was given up.
fn searched(
    searcher: &dyn Searcher,
    trials: &[Trial],
    accuracies: &[f64],
    mut pick: impl FnMut(usize) -> usize,
) -> Vec<(usize, bool)> {
    let mut progress = vec![Progress::new(Status::Pending); trials.len()];
    let mut running: Vec<(usize, usize)> = Vec::new();
    loop {
        let told = Told { trials, progress: &progress, seconds_left: None };
        match searcher.propose(&told, &Offer::ANY) {
            Proposal::Train { trial, epochs } => {
                assert!(epochs > progress[trial].epochs.len(), "nothing is trained again");
                progress[trial].status = Status::Running;
                running.push((trial, epochs));
                if running.len() < 3 {
                    continue;
                }
            }
            Proposal::Stop { trial, .. } | Proposal::Pause { trial, .. } => {
                progress[trial].status = Status::Stopped;
                continue;
            }
            Proposal::Wait if running.is_empty() => panic!("it waits for nothing"),
            Proposal::Wait => {}
            Proposal::Done => break,
        }
        let (trial, epochs) = running.remove(pick(running.len()));
        let is_whole = epochs == trials[trial].config.train.epochs;
        progress[trial] = Progress {
            epochs: rows(epochs, accuracies[trial]),
            ..Progress::new(if is_whole { Status::Done } else { Status::Pending })
        };
    }
    progress.iter().map(|of| (of.epochs.len(), of.status == Status::Stopped)).collect()
}

#[test]
fn halving_trains_the_best_third_on_and_gives_the_others_up() {
    let (_, trials) =
        space("[base.train]\nepochs = 9\n[axes]\n\"train.beta1\" = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]");
    let accuracies = [0.5, 0.9, 0.4, 0.8, 0.3, 0.7, 0.2, 0.6, 0.1];
    let halving = Halving::new(&trials, (0..9).collect(), None);
    let found = searched(&halving, &trials, &accuracies, |_| 0);
    let expected = [(1, true), (9, false), (1, true), (3, true), (1, true), (3, true), (1, true), (1, true), (1, true)];
    assert_eq!(found, expected);
    // Whichever was first to end.
    assert_eq!(searched(&halving, &trials, &accuracies, |count| count - 1), expected);
    // The baseline goes on all the same.
    let halving = Halving::new(&trials, (0..9).collect(), Some(8));
    assert_eq!(searched(&halving, &trials, &accuracies, |_| 0)[8], (9, false));
}

#[test]
fn halving_leaves_behind_what_diverged_and_trains_short_ones_whole() {
    let (_, trials) = space("[axes]\n\"train.epochs\" = [3]\n\"train.beta1\" = [0.1, 0.2, 0.3]");
    let halving = Halving::new(&trials, vec![0, 1, 2], None);
    let mut progress = vec![Progress::new(Status::Diverged); 3];
    progress[1] = Progress { epochs: rows(1, 0.1), ..Progress::new(Status::Pending) };
    let told = Told { trials: &trials, progress: &progress, seconds_left: None };
    assert_eq!(halving.propose(&told, &Offer::ANY), Proposal::Train { trial: 1, epochs: 3 });
    let (_, trials) = space("[axes]\n\"train.epochs\" = [1]\n\"train.beta1\" = [0.1, 0.2, 0.3]");
    let halving = Halving::new(&trials, vec![0, 1, 2], None);
    assert_eq!(searched(&halving, &trials, &[0.1, 0.2, 0.3], |_| 0), [(1, false); 3]);
}

proptest! {
    #[test]
    fn every_trial_comes_once_whatever_is_predicted(predicted in prop::collection::vec(-1.0..1e6f64, 384)) {
        let (expansion, trials) = space(SPACE);
        let planned = deadline(&expansion, &trials, &predicted, None);
        let distinct: HashSet<usize> = planned.trials().iter().copied().collect();
        prop_assert_eq!((planned.trials().len(), distinct.len()), (trials.len(), trials.len()));
        let again = deadline(&expansion, &trials, &predicted, None);
        prop_assert_eq!(planned.trials(), again.trials());
        let few = deadline(&expansion, &trials, &predicted, Some(7));
        prop_assert_eq!(few.trials(), &planned.trials()[..7]);
        let replicates: Vec<usize> = planned.trials().iter().map(|index| trials[*index].replicate).collect();
        prop_assert!(replicates.is_sorted(), "a second seed before the first ones are all through");
    }

    #[test]
    fn nothing_is_started_that_could_not_end(
        predicted in prop::collection::vec(0.1..1e3f64, 384),
        budget in 0.0..1e5f64,
        pace in 0.2..5.0f64,
    ) {
        let (expansion, trials) = space(SPACE);
        let planned = deadline(&expansion, &trials, &predicted, None);
        // The first trial tells the pace: until then what fits is a guess.
        let (order, spent) = trained(&planned, &trials, &predicted, pace, budget);
        let guessed = order.first().map_or(0.0, |first| predicted[*first] * (pace - 1.0).max(0.0));
        prop_assert!(spent <= budget + guessed + 1e-6 * budget, "{spent} of {budget}");
        let left = budget - spent;
        let is_left_out = |index: &usize| !order.contains(index) && predicted[*index] * pace < left * (1.0 - 1e-9);
        prop_assert_eq!((0..trials.len()).find(|index| !order.is_empty() && is_left_out(index)), None);
    }
}
