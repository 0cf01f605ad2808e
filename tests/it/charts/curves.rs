use super::{png_size, texts};
use fastrcaps::present::charts::curves::{self, Curve, CurvesChart, CurvesLayout, Emphasis, Over, Quantity, arrange};
use fastrcaps::present::charts::{Scene, Style};

fn data(chart: &CurvesChart) -> CurvesLayout {
    arrange(chart, &Style::default())
}

fn draw(chart: &CurvesChart) -> Scene {
    curves::draw(chart, &Style::default())
}

fn curve(label: &str, emphasis: Emphasis, last: f64) -> Curve {
    let points = (1..=20).map(|epoch| (f64::from(epoch), last - 0.5 * (-f64::from(epoch)).exp())).collect();
    Curve { label: label.to_string(), emphasis, points, band: Vec::new() }
}

fn chart(curves: Vec<Curve>) -> CurvesChart {
    let (quantity, over) = (Quantity::Accuracy, Over::Epochs);
    CurvesChart { title: "Accuracy".into(), subtitle: String::new(), footnote: String::new(), quantity, over, curves }
}

#[test]
fn what_stands_out_is_painted_last_and_labelled() {
    let curves = vec![
        curve("fixed", Emphasis::Baseline, 0.985),
        curve("one-cycle", Emphasis::Front, 0.99),
        curve("other", Emphasis::Context, 0.98),
    ];
    let chart = chart(curves);
    let data = data(&chart);
    assert_eq!(
        data.labels.iter().map(|label| label.lines[0].as_str()).collect::<Vec<_>>(),
        ["one-cycle", "Baseline: fixed"]
    );
    assert_eq!(data.lines.len(), 3);
    assert!(data.lines[0].stroke.width < data.lines[2].stroke.width);
    let svg = draw(&chart).svg();
    assert!(texts(&svg).contains(&"one-cycle") && !texts(&svg).contains(&"other"));
}

#[test]
fn labels_at_the_ends_do_not_overlap() {
    let long = "warm-restarts, adabatch, sharing by-type, routing 1";
    let data = data(&chart((0..12).map(|_| curve(long, Emphasis::Front, 0.99)).collect()));
    assert_eq!(data.labels.len(), 12);
    for (index, label) in data.labels.iter().enumerate() {
        assert!(data.labels[..index].iter().all(|other| !label.area.overlaps(&other.area)));
        assert!(label.area.top >= data.plot.area.top - 1e-6 && label.area.bottom <= data.plot.area.bottom + 1e-6);
    }
}

#[test]
fn no_two_lines_of_the_front_have_one_style() {
    let data = data(&chart((0..14).map(|_| curve("x", Emphasis::Front, 0.99)).collect()));
    let told: Vec<_> = data.labels.iter().map(|label| label.stroke).collect();
    assert_eq!(told.len(), 12);
    for (index, stroke) in told.iter().enumerate() {
        assert!(!told[..index].contains(stroke), "{index}: {stroke:?}");
    }
}

#[test]
fn names_at_the_ends_are_whole_and_the_picture_is_as_high_as_they_need() {
    let name = |k: usize| {
        format!("warm-restarts with {k} cycles, adabatch of three phases, {}", "sharing by-type, ".repeat(5))
    };
    let chart = chart((0..12).map(|k| curve(&name(k), Emphasis::Front, 0.99)).collect());
    let data = data(&chart);
    assert!(data.height > 1000);
    assert_eq!(png_size(&draw(&chart).png()), (1600, data.height));
    for (index, label) in data.labels.iter().enumerate() {
        assert_eq!(label.lines.join(" ").trim(), name(index).trim());
        assert!(data.labels[..index].iter().all(|other| !label.area.overlaps(&other.area)));
        assert!(label.area.top >= data.plot.area.top - 1e-6 && label.area.bottom <= data.plot.area.bottom + 1e-6);
    }
}

#[test]
fn names_too_long_for_any_picture_begin_where_they_part() {
    let common = "sharing by-type, ".repeat(40);
    let names = [format!("{common}routing 1 {common}"), format!("{common}routing 2 {common}")];
    let data = data(&chart(names.iter().map(|name| curve(name, Emphasis::Front, 0.99)).collect()));
    assert!(data.labels[0].lines[0].starts_with("… 1 sharing"), "{:?}", data.labels[0].lines);
    assert!(data.labels[1].lines[0].starts_with("… 2 sharing"), "{:?}", data.labels[1].lines);
}

#[test]
fn the_axis_leaves_the_first_epochs_out() {
    let data = data(&chart((0..5).map(|k| curve("x", Emphasis::Context, 0.98 + 0.002 * f64::from(k))).collect()));
    assert!(data.plot.y.from > 0.95, "{}", data.plot.y.from);
}

#[test]
fn strange_curves_are_drawn_or_left_out() {
    let strange = vec![
        Curve { points: vec![], ..curve("none", Emphasis::Front, 0.9) },
        Curve { points: vec![(1.0, 0.9)], ..curve("one", Emphasis::Front, 0.9) },
        Curve { points: vec![(1.0, f64::NAN), (f64::INFINITY, 0.9)], ..curve("nan", Emphasis::Front, 0.9) },
        Curve { points: vec![(1.0, 1e300), (2.0, -1e300)], ..curve("huge", Emphasis::Baseline, 0.9) },
    ];
    for (quantity, over) in [(Quantity::Accuracy, Over::Epochs), (Quantity::Loss, Over::TrainSeconds)] {
        let scene = draw(&CurvesChart { quantity, over, ..chart(strange.clone()) });
        assert_eq!(png_size(&scene.png()), (1600, 1000));
    }
    assert!(texts(&draw(&chart(Vec::new())).svg()).contains(&"No finished epoch yet"));
}
