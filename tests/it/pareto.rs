use fastrcaps::analysis::pareto::{Fronts, Goal, dominates, front, front_2d, hypervolume_2d, hypervolume_3d};
use proptest::prelude::*;

const TIME_ACCURACY: [Goal; 2] = [Goal::Minimise, Goal::Maximise];
const ALL: [Goal; 3] = [Goal::Minimise, Goal::Maximise, Goal::Minimise];

/// Small integers, so that ties are frequent; now and then a value is unknown.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![12 => (0..6_i32).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)]
}

fn points<const K: usize>() -> impl Strategy<Value = Vec<[f64; K]>> {
    prop::collection::vec(prop::array::uniform(value()), 0..24)
}

fn present<const K: usize>(point: &[f64; K]) -> bool {
    point.iter().all(|value| value.is_finite())
}

/// The definition, word for word.
fn by_definition<const K: usize>(points: &[[f64; K]], goals: &[Goal; K]) -> Vec<usize> {
    let on_front = |p: &[f64; K]| present(p) && !points.iter().any(|other| dominates(other, p, goals));
    (0..points.len()).filter(|i| on_front(&points[*i])).collect()
}

fn ascending(mut indices: Vec<usize>) -> Vec<usize> {
    indices.sort_unstable();
    indices
}

/// Counts the unit cells of the grid 0..6 that some point dominates. The reference is the worst corner.
fn cells<const K: usize>(points: &[[f64; K]], goals: &[Goal; K]) -> f64 {
    let covers = |point: &[f64; K], cell: &[usize; K]| {
        (0..K).all(|k| match goals[k] {
            Goal::Minimise => point[k] <= cell[k] as f64,
            Goal::Maximise => point[k] >= (cell[k] + 1) as f64,
        })
    };
    let cell = |number: usize| std::array::from_fn::<usize, K, _>(|k| number / 6_usize.pow(k as u32) % 6);
    let covered = |number: &usize| points.iter().any(|p| present(p) && covers(p, &cell(*number)));
    (0..6_usize.pow(K as u32)).filter(covered).count() as f64
}

#[test]
fn a_point_dominates_when_nothing_is_worse_and_something_is_better() {
    assert!(dominates(&[1.0, 0.9], &[2.0, 0.9], &TIME_ACCURACY));
    assert!(!dominates(&[1.0, 0.9], &[1.0, 0.9], &TIME_ACCURACY));
    assert!(!dominates(&[1.0, 0.8], &[2.0, 0.9], &TIME_ACCURACY));
    assert!(!dominates(&[0.0, f64::NAN], &[2.0, 0.9], &TIME_ACCURACY));
    assert!(!dominates(&[1.0, 0.9], &[2.0, f64::NAN], &TIME_ACCURACY));
}

#[test]
fn the_front_runs_from_the_fastest_and_keeps_equal_points() {
    let points = [[3.0, 0.97], [1.0, 0.90], [2.0, 0.95], [2.0, 0.95], [2.5, 0.94], [2.0, 0.93], [0.5, f64::NAN]];
    assert_eq!(front_2d(&points, &TIME_ACCURACY), [1, 2, 3, 0]);
    assert_eq!(front(&points, &TIME_ACCURACY), [1, 2, 3, 0]);
    assert!(front_2d(&[], &TIME_ACCURACY).is_empty());
}

#[test]
fn minus_zero_and_zero_are_one_value() {
    assert_eq!(front_2d(&[[0.0, 1.0], [-0.0, 1.0]], &TIME_ACCURACY), [0, 1]);
}

#[test]
fn the_papers_mnist_points_leave_the_front_that_its_table_implies() {
    // Accuracy in %, training seconds, millions of parameters: baseline, decay, one-cycle, warm restarts, AdaBatch,
    // WarmAdaBatch, weight sharing, both.
    let points = [
        [29.0 * 300.0, 99.366, 8.227],
        [12.0 * 300.0, 99.404, 8.227],
        [24.0 * 300.0, 99.384, 8.227],
        [11.0 * 300.0, 99.44, 8.227],
        [8.0 * 754.0, 99.41, 8.227],
        [3.0 * 800.0, 99.454, 8.227],
        [27.0 * 300.0, 99.1, 6.720],
        [18.0 * 400.0, 99.38, 6.720],
    ];
    assert_eq!(front(&points, &ALL), [5, 7]);
}

#[test]
fn points_beyond_the_reference_have_no_volume() {
    assert_eq!(hypervolume_2d(&[[1.0, 0.5], [5.0, 0.9], [2.0, -1.0]], &TIME_ACCURACY, [4.0, 0.0]), 1.5);
    assert_eq!(hypervolume_3d(&[[1.0, 0.5, 9.0]], &ALL, [4.0, 0.0, 8.0]), 0.0);
    assert_eq!(hypervolume_3d(&[], &ALL, [4.0, 0.0, 8.0]), 0.0);
}

proptest! {
    #[test]
    fn both_fronts_are_the_definitions(points in points::<2>()) {
        let expected = by_definition(&points, &TIME_ACCURACY);
        prop_assert_eq!(front_2d(&points, &TIME_ACCURACY), front(&points, &TIME_ACCURACY));
        prop_assert_eq!(ascending(front_2d(&points, &TIME_ACCURACY)), expected);
    }

    #[test]
    fn the_front_of_three_objectives_is_the_definitions(points in points::<3>()) {
        prop_assert_eq!(ascending(front(&points, &ALL)), by_definition(&points, &ALL));
    }

    #[test]
    fn fronts_one_after_the_other_are_each_the_front(
        times in prop::collection::vec((points::<2>(), points::<3>()), 1..6)
    ) {
        let (mut flat, mut solid) = (Fronts::new(TIME_ACCURACY), Fronts::new(ALL));
        for (two, three) in &times {
            let (flat, solid) = (flat.next(two.len(), |at| two[at]), solid.next(three.len(), |at| three[at]));
            prop_assert_eq!(ascending(flat.to_vec()), ascending(front(two, &TIME_ACCURACY)));
            prop_assert_eq!(ascending(solid.to_vec()), ascending(front(three, &ALL)));
        }
    }

    #[test]
    fn the_order_of_the_points_does_not_matter(
        (points, shuffled) in points::<3>().prop_flat_map(|points| {
            let order = Just((0..points.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(points), order)
        })
    ) {
        let moved: Vec<_> = shuffled.iter().map(|i| points[*i]).collect();
        let back = front(&moved, &ALL).into_iter().map(|i| shuffled[i]).collect();
        prop_assert_eq!(ascending(back), ascending(front(&points, &ALL)));
        let reference = [6.0, 0.0, 6.0];
        prop_assert_eq!(hypervolume_3d(&moved, &ALL, reference), hypervolume_3d(&points, &ALL, reference));
    }

    #[test]
    fn a_dominated_point_changes_nothing(mut points in points::<3>(), pick in any::<prop::sample::Index>()) {
        let before = front(&points, &ALL);
        let volume = hypervolume_3d(&points, &ALL, [6.0, 0.0, 6.0]);
        if !before.is_empty() {
            let [time, accuracy, parameters] = points[before[pick.index(before.len())]];
            points.push([time + 1.0, accuracy, parameters + 1.0]);
            prop_assert_eq!(front(&points, &ALL), before);
            prop_assert_eq!(hypervolume_3d(&points, &ALL, [6.0, 0.0, 6.0]), volume);
        }
    }

    #[test]
    fn the_hypervolume_is_the_count_of_dominated_cells(flat in points::<2>(), solid in points::<3>()) {
        prop_assert_eq!(hypervolume_2d(&flat, &TIME_ACCURACY, [6.0, 0.0]), cells(&flat, &TIME_ACCURACY));
        prop_assert_eq!(hypervolume_3d(&solid, &ALL, [6.0, 0.0, 6.0]), cells(&solid, &ALL));
    }

    #[test]
    fn one_point_more_never_lessens_the_hypervolume(points in points::<3>(), more in points::<3>()) {
        let reference = [5.0, 1.0, 4.0];
        let both: Vec<_> = points.iter().chain(&more).copied().collect();
        prop_assert!(hypervolume_3d(&both, &ALL, reference) >= hypervolume_3d(&points, &ALL, reference));
    }
}
