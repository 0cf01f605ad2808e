use super::{png_size, texts};
use fastrcaps::charts::axis::Scale;
use fastrcaps::charts::canvas::Area;
use fastrcaps::charts::front::{Clock, FrontChart, FrontPoint, Kind, Place, Role, Standing, data, draw, steps};
use proptest::prelude::*;

fn point(label: &str, train_seconds: f64, accuracy: f64) -> FrontPoint {
    FrontPoint {
        label: label.to_string(),
        train_seconds,
        clock: Clock::Confirmed,
        seconds_range: None,
        accuracy,
        accuracy_sd: Some(0.0004),
        test_accuracy: None,
        parameters: 8_215_728,
        replicates: 1,
        standing: Standing::Dominated,
        role: Role::Other,
    }
}

fn chart(points: Vec<FrontPoint>) -> FrontChart {
    FrontChart { title: "MNIST".into(), subtitle: "a study".into(), footnote: "host".into(), points }
}

/// 48 configurations whose accuracies crowd between 98.1 and 99.3 %.
fn crowd() -> FrontChart {
    let mut points: Vec<FrontPoint> = (0..48)
        .map(|i| {
            let time = 40.0 * 1.09_f64.powi(i);
            let label = format!("warm-restarts, adabatch, sharing by-type, routing {i}");
            point(&label, time, 0.981 + 0.00025 * f64::from(i) - 0.002 * f64::from(i % 3))
        })
        .collect();
    points[40].role = Role::Baseline;
    chart(points)
}

#[test]
fn the_staircase_goes_along_and_then_up() {
    assert_eq!(
        steps(&[[1.0, 0.8], [2.0, 0.9], [4.0, 0.95]]),
        [(1.0, 0.8), (2.0, 0.8), (2.0, 0.9), (4.0, 0.9), (4.0, 0.95)]
    );
    assert_eq!(steps(&[[1.0, 0.8], [1.0, 0.8]]), [(1.0, 0.8)]);
    assert!(steps(&[]).is_empty());
}

#[test]
fn points_are_told_apart_by_how_they_stand() {
    let mut points = vec![point("fast", 10.0, 0.97), point("slow", 60.0, 0.99), point("worse", 70.0, 0.98)];
    points.push(FrontPoint { parameters: 60_000, standing: Standing::Front, ..point("small", 65.0, 0.975) });
    let data = data(&chart(points));
    let kind = |point: usize| data.marks.iter().find(|mark| mark.point == point).unwrap().kind;
    assert_eq!([0, 1, 2, 3].map(kind), [Kind::Front, Kind::Front, Kind::Dominated, Kind::FrontByParameters]);
    assert_eq!(data.steps, [(10.0, 0.97), (60.0, 0.97), (60.0, 0.99)]);
    assert_eq!(data.sizes, [60_000, 8_215_728]);
}

#[test]
fn labels_cover_neither_each_other_nor_the_front() {
    let data = data(&crowd());
    assert!(data.labels.len() >= 10, "{} labels", data.labels.len());
    for (index, label) in data.labels.iter().enumerate() {
        assert!(data.plot.area.contains(&label.area));
        assert!(data.labels[..index].iter().all(|other| !label.area.overlaps(&other.area)));
        let front = data.marks.iter().filter(|mark| mark.kind == Kind::Front);
        for mark in front {
            assert!(!label.area.overlaps(&Area::around(mark.at, mark.radius)), "{:?}", label.lines);
        }
    }
}

#[test]
fn hopeless_points_stand_at_the_border_and_leave_the_room_to_the_others() {
    let mut points: Vec<_> = (0..16).map(|i| point("x", 100.0 + f64::from(i), 0.98 + 0.0005 * f64::from(i))).collect();
    points[3].accuracy = 0.0987;
    let data = data(&chart(points));
    assert!(data.plot.y.from > 0.97, "{}", data.plot.y.from);
    assert_eq!(data.below, [0.0987]);
    let mark = data.marks.iter().find(|mark| mark.point == 3).unwrap();
    assert_eq!(mark.place, Place::Below);
    assert!(data.plot.area.contains(&Area::around(mark.at, mark.radius)));
}

#[test]
fn the_baseline_has_a_cross_hair_and_its_label() {
    let chart = crowd();
    let data = data(&chart);
    assert_eq!(data.cross_hair().len(), 2);
    assert!(texts(&draw(&chart).svg()).iter().any(|text| text.starts_with("Baseline: ")));
}

#[test]
fn a_baseline_that_is_named_so_is_not_named_twice() {
    let named = chart(vec![FrontPoint { role: Role::Baseline, ..point("baseline", 10.0, 0.97) }]);
    assert_eq!(data(&named).labels[0].lines, ["Baseline"]);
}

#[test]
fn long_names_are_broken_after_commas_before_they_are_cut() {
    let lines = |name: &str| data(&chart(vec![point(name, 10.0, 0.97)])).labels[0].lines.clone();
    assert_eq!(lines("routing iterations 1, adabatch"), ["routing iterations 1, adabatch"]);
    assert_eq!(
        lines("routing iterations 1, warm-restarts with 5 cycles, sharing by-type, adabatch"),
        ["routing iterations 1,", "warm-restarts with 5 cycles,", "sharing by-type, adabatch"]
    );
    let endless = lines(&"phrase ".repeat(60));
    assert!(endless.len() == 3 && endless[2].ends_with('…'), "{endless:?}");
}

#[test]
fn bars_need_replicates() {
    let single = data(&chart(vec![point("x", 10.0, 0.97)]));
    assert!(single.marks[0].bars.is_empty());
    let repeated = data(&chart(vec![FrontPoint { replicates: 3, ..point("x", 10.0, 0.97) }]));
    assert_eq!(repeated.marks[0].bars.len(), 1);
    assert!(repeated.notes[0].contains("standard deviation"));
}

#[test]
fn times_over_a_wide_range_get_a_logarithmic_axis() {
    assert_eq!(data(&crowd()).plot.x.scale, Scale::Log);
    assert_eq!(data(&chart(vec![point("a", 10.0, 0.9), point("b", 20.0, 0.91)])).plot.x.scale, Scale::Linear);
}

#[test]
fn the_same_points_give_the_same_bytes() {
    assert_eq!(draw(&crowd()).png(), draw(&crowd()).png());
    assert_eq!(draw(&crowd()).svg(), draw(&crowd()).svg());
    assert_eq!(png_size(&draw(&crowd()).png()), (1600, 1000));
}

#[test]
fn a_study_without_a_result_says_so() {
    let empty = draw(&chart(Vec::new()));
    assert_eq!(png_size(&empty.png()), (1600, 1000));
    assert!(texts(&empty.svg()).contains(&"No finished configuration yet"));
    let unknown = data(&chart(vec![point("x", f64::NAN, 0.9), point("y", 10.0, f64::NAN), point("z", 10.0, 0.9)]));
    assert_eq!((unknown.absent, unknown.marks.len()), (2, 1));
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0..1.0, Just(0.99), Just(1e300), Just(-1.0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_input_breaks_the_chart(
        points in prop::collection::vec((any_number(), any_number(), any::<String>(), any::<usize>(), any::<bool>()), 0..20)
    ) {
        let points = points.into_iter().map(|(seconds, accuracy, label, parameters, is_baseline)| FrontPoint {
            parameters,
            replicates: 3,
            accuracy_sd: Some(seconds),
            seconds_range: Some((accuracy, 2.0 * accuracy)),
            test_accuracy: Some(seconds),
            role: if is_baseline { Role::Baseline } else { Role::Other },
            ..point(&label, seconds, accuracy)
        });
        let scene = draw(&chart(points.collect()));
        prop_assert_eq!(png_size(&scene.png()), (1600, 1000));
        prop_assert!(!scene.svg().contains("NaN"));
    }
}
