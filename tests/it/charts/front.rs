use super::{png_size, texts};
use fastrcaps::present::charts::axis::Scale;
use fastrcaps::present::charts::canvas::Area;
use fastrcaps::present::charts::front::{
    self, Clock, FrontChart, FrontLayout, FrontPoint, Kind, Label, Role, Standing, WithinAxis, arrange, steps,
};
use fastrcaps::present::charts::labels::leader_end;
use fastrcaps::present::charts::{Scene, Style};
use proptest::prelude::*;

fn data(chart: &FrontChart) -> FrontLayout {
    arrange(chart, &Style::default())
}

fn draw(chart: &FrontChart) -> Scene {
    front::draw(chart, &Style::default())
}

fn point(label: &str, train_seconds: f64, accuracy: f64) -> FrontPoint {
    FrontPoint {
        label: label.to_string(),
        train_seconds,
        clock: Clock::Confirmed,
        seconds_range: None,
        accuracy,
        accuracy_sd: Some(0.0004),
        is_chance: false,
        test_accuracy: None,
        parameters: 8_215_728,
        replicates: 1,
        standing: Standing::Dominated,
        role: Role::Other,
    }
}

fn chart(points: Vec<FrontPoint>) -> FrontChart {
    FrontChart {
        title: "MNIST".into(),
        subtitle: "a study".into(),
        footnote: "host".into(),
        points,
        stopped: Vec::new(),
    }
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

/// `count` points, each more accurate than the faster ones.
fn ladder(count: usize) -> FrontChart {
    let of = |k: usize| {
        let label = format!("warm-restarts, adabatch, sharing by-type, routing {k}");
        point(&label, 40.0 * 1.2_f64.powf(24.0 * k as f64 / count as f64), 0.98 + 0.012 * k as f64 / count as f64)
    };
    chart((0..count).map(of).collect())
}

#[test]
fn few_points_are_named_beside_them_and_many_are_numbered_and_listed() {
    for (count, listed, more) in [(1, 0, 0), (5, 0, 0), (11, 11, 0), (14, 14, 0), (30, 30, 0), (200, 40, 160)] {
        let chart = ladder(count);
        let data = data(&chart);
        assert_eq!((data.list.rows.len(), data.list.more), (listed, more), "{count} points");
        let numbers: Vec<usize> = data.list.rows.iter().filter_map(|row| row.number).collect();
        assert!(numbers.is_sorted() && numbers.len() == listed);
        if listed == 0 {
            assert_eq!((data.labels.len(), data.height), (count, 1000));
        } else {
            assert_eq!((numbers[0], *numbers.last().unwrap()), (1, count));
            assert!(data.labels.len() + data.unlabelled == listed && data.labels.len() * 3 >= listed * 2);
        }
        for label in &data.labels {
            let row = data.list.rows.iter().find(|row| row.point == label.point);
            let said = row.map_or(chart.points[label.point].label.clone(), |row| row.number.unwrap().to_string());
            assert_eq!(label.lines.join(" "), said);
        }
        let svg = draw(&chart).svg();
        assert_eq!(texts(&svg).contains(&"and 160 more, in front.csv"), more > 0);
        is_legible(&data);
    }
}

/// Labels cover neither each other nor points, their lines meet nothing, and all is on the page.
fn is_legible(data: &FrontLayout) {
    let page = Area::new(0.0, 0.0, 1600.0, f64::from(data.height));
    let leader = |label: &Label| {
        let at = data.marks.iter().find(|mark| mark.point == label.point).unwrap().at;
        (at, leader_end(&label.area, at))
    };
    for (index, label) in data.labels.iter().enumerate() {
        let room = Area { top: data.plot.area.top - data.headroom, ..data.plot.area };
        assert!(room.contains(&label.area));
        for mark in &data.marks {
            assert!(!label.area.overlaps(&Area::around(mark.at, mark.radius)), "{:?}", label.lines);
        }
        for other in data.labels.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other) {
            let (from, to) = leader(label);
            assert!(!label.area.overlaps(&other.area), "{:?} and {:?}", label.lines, other.lines);
            assert!(other.area.clip(from, to).is_none(), "{:?} through {:?}", label.lines, other.lines);
            let their = leader(other);
            let side =
                |(ax, ay): (f64, f64), (bx, by): (f64, f64), (px, py)| (bx - ax) * (py - ay) - (by - ay) * (px - ax);
            let parts = side(from, to, their.0) * side(from, to, their.1) >= 0.0
                || side(their.0, their.1, from) * side(their.0, their.1, to) >= 0.0;
            assert!(parts, "the lines of {:?} and {:?} cross", label.lines, other.lines);
        }
    }
    for (index, row) in data.list.rows.iter().enumerate() {
        assert!(page.contains(&row.area) && row.area.top > data.plot.area.bottom + 60.0);
        assert!(row.area.bottom < page.bottom - 54.0, "over the notes");
        assert!(data.list.rows[..index].iter().all(|other| !row.area.overlaps(&other.area)));
    }
}

#[test]
fn labels_in_a_crowd_are_legible() {
    let data = data(&crowd());
    assert!(data.labels.len() >= 10, "{} labels", data.labels.len());
    is_legible(&data);
}

#[test]
fn a_baseline_off_the_front_heads_the_list_without_a_number() {
    let mut chart = ladder(20);
    chart.points.push(FrontPoint { role: Role::Baseline, ..point("plain", 2000.0, 0.985) });
    let data = data(&chart);
    assert_eq!((data.list.rows[0].number, data.list.rows[0].lines[0].as_str()), (None, "Baseline: plain"));
    assert_eq!((data.list.rows[1].number, data.list.rows.len()), (Some(1), 21));
    is_legible(&data);
}

#[test]
fn the_most_accurate_points_leave_room_for_their_numbers_above() {
    let mut chart = ladder(12);
    chart.points.iter_mut().for_each(|point| point.accuracy = 1.0 - (0.995 - point.accuracy) / 3.0);
    chart.points[11].accuracy = 1.0;
    let data = data(&chart);
    assert_eq!((data.labels.len(), data.unlabelled), (12, 0));
    assert_eq!(data.plot.y.to, 1.0, "no accuracy is above 100 %");
    assert!(data.headroom > 40.0);
}

#[test]
fn the_legend_of_sizes_gives_way_to_the_one_of_points() {
    let mut chart = ladder(5);
    for (index, parameters) in [850_000, 870_000, 1_260_000, 1_280_000, 1_290_000].into_iter().enumerate() {
        chart.points[index] = FrontPoint { parameters, clock: Clock::Screened, ..chart.points[index].clone() };
    }
    let is_said = |chart: &FrontChart, size| texts(&draw(chart).svg()).contains(&size);
    assert!(is_said(&chart, "870.0 k") || is_said(&chart, "870 k"));
    chart.points.push(FrontPoint { role: Role::Baseline, ..point("plain", 2000.0, 0.985) });
    chart.points.push(FrontPoint { standing: Standing::Front, parameters: 850_000, ..point("small", 2000.0, 0.984) });
    assert!(!is_said(&chart, "870.0 k") && !is_said(&chart, "870 k"));
}

#[test]
fn a_long_list_is_cut_to_what_fits_from_one_end_of_the_front_to_the_other() {
    let mut chart = ladder(40);
    chart
        .points
        .iter_mut()
        .for_each(|point| point.label = format!("{} {}", point.label, "sharing by-type, ".repeat(20)));
    let data = data(&chart);
    assert!(data.height < 2300, "{}", data.height);
    assert!(data.list.more > 0 && data.list.rows.len() + data.list.more == 40);
    assert_eq!((data.list.rows[0].number, data.list.rows.last().unwrap().number), (Some(1), Some(40)));
    is_legible(&data);
}

#[test]
fn hopeless_points_stand_at_the_border_and_leave_the_room_to_the_others() {
    let mut points: Vec<_> = (0..16).map(|i| point("x", 100.0 + f64::from(i), 0.98 + 0.0005 * f64::from(i))).collect();
    points[3].accuracy = 0.0987;
    let data = data(&chart(points));
    assert!(data.plot.y.from > 0.97, "{}", data.plot.y.from);
    assert_eq!(data.below, [0.0987]);
    let mark = data.marks.iter().find(|mark| mark.point == 3).unwrap();
    assert_eq!(mark.place, WithinAxis::Below);
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
fn long_names_are_broken_after_commas_or_listed() {
    let lines = |name: &str| data(&chart(vec![point(name, 10.0, 0.97)])).labels[0].lines.clone();
    assert_eq!(lines("routing iterations 1, adabatch"), ["routing iterations 1, adabatch"]);
    assert_eq!(
        lines("routing iterations 1, warm-restarts with 5 cycles, sharing by-type, adabatch"),
        ["routing iterations 1,", "warm-restarts with 5 cycles,", "sharing by-type, adabatch"]
    );
    let endless = data(&chart(vec![point(&"phrase ".repeat(60), 10.0, 0.97)]));
    assert_eq!(endless.list.rows[0].lines.join(" "), "phrase ".repeat(60).trim());
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
    assert_eq!(png_size(&draw(&crowd()).png()), (1600, data(&crowd()).height));
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
        let chart = chart(points.collect());
        let scene = draw(&chart);
        prop_assert_eq!(png_size(&scene.png()), (1600, data(&chart).height));
        prop_assert!(!scene.svg().contains("NaN"));
    }
}
