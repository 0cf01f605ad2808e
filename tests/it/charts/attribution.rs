use super::{png_size, texts};
use fastrcaps::present::charts::attribution::{self, AttributionChart, AttributionLayout, Bar, Row, arrange};
use fastrcaps::present::charts::{Scene, Style};
use proptest::prelude::*;

fn data(chart: &AttributionChart) -> AttributionLayout {
    arrange(chart, &Style::default())
}

fn draw(chart: &AttributionChart) -> Scene {
    attribution::draw(chart, &Style::default())
}

fn bar(estimate: f64, half: f64) -> Bar {
    Bar {
        estimate,
        interval: Some((estimate - half, estimate + half)),
        range: (estimate - half / 2.0, estimate + half / 3.0),
    }
}

fn row(label: &str, factor: f64, points: f64, share: f64) -> Row {
    Row {
        label: label.into(),
        speed_up: Some(bar(factor, factor * 0.04)),
        is_confirmed: true,
        same_steps: false,
        accuracy: Some(bar(points / 100.0, 0.002)),
        parameters: Bar { estimate: share, interval: None, range: (share, share) },
    }
}

fn chart(rows: Vec<Row>) -> AttributionChart {
    AttributionChart {
        title: "mnist-small: what each optimisation does".into(),
        subtitle: "against the baseline's value, all else equal: mean over all settings of the other axes".into(),
        footnote: "time: training steps only, on host".into(),
        rows,
    }
}

fn few() -> AttributionChart {
    let mut rows = vec![
        row("routing iterations 1", 1.31, -0.06, 1.0),
        row("class sharing by-type", 1.08, 0.11, 0.204),
        row("adabatch", 1.83, -0.32, 1.0),
        row("decoder small", 1.04, 0.0, 0.87),
        row("one-cycle", 0.999, 0.41, 1.0),
    ];
    rows[1].is_confirmed = false;
    rows[3].accuracy.as_mut().unwrap().interval = None;
    rows[4].speed_up = None;
    chart(rows)
}

fn many(count: usize) -> AttributionChart {
    let name =
        |i: usize| format!("schedule.batch adabatch with phases of {i} epochs and a very long label, as users write");
    chart(
        (0..count)
            .map(|i| row(&name(i), 1.07_f64.powi(i as i32 - 5), (i as f64) / 7.0 - 1.0, 0.1 * i as f64))
            .collect(),
    )
}

/// Everything on its place, whatever the figures.
fn check(chart: &AttributionChart) {
    let data = data(chart);
    for (index, panel) in data.panels.iter().enumerate() {
        assert!(panel.area.width() > 100.0 && panel.figures <= 1600.0 - 50.0);
        let ticks = &panel.axis.ticks;
        assert!(ticks.len() >= 2, "panel {index} of {:?} to {:?}: {ticks:?}", panel.axis.from, panel.axis.to);
        assert!(data.panels[..index].iter().all(|before| before.figures < panel.area.left));
        assert!((0.0..=1.0).contains(&panel.axis.share(panel.neutral)));
    }
    assert!(data.rows.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 40.0));
    for mark in &data.marks {
        let area = data.panels[mark.panel].area;
        let inside = |x: f64| (area.left..=area.right).contains(&x);
        assert!(inside(mark.at), "{mark:?}");
        for span in mark.interval.iter().chain(&mark.range) {
            assert!(inside(span.from) && inside(span.to) && span.from <= span.to, "{mark:?}");
        }
        assert!(mark.range.is_none_or(|range| range.opens == (false, false)), "{mark:?}");
    }
}

#[test]
fn rows_stand_by_speed_and_say_their_figures() {
    let data = data(&few());
    let labels: Vec<String> = data.rows.iter().map(|(_, lines)| lines.join(" ")).collect();
    assert_eq!(labels, ["adabatch", "routing iterations 1", "class sharing by-type", "decoder small", "one-cycle"]);
    let figures = |row: usize| -> Vec<&str> {
        data.marks.iter().filter(|mark| mark.row == row).map(|mark| mark.figure.as_str()).collect()
    };
    assert_eq!(figures(0), ["1.83×", "-0.32", "100 %"]);
    assert_eq!(figures(2), ["1.08×", "+0.11", "20.4 %"]);
    assert_eq!(figures(3), ["1.04×", "0.00", "87 %"]);
    assert_eq!(figures(4), ["+0.41", "100 %"]);
    let hollow: Vec<usize> = data.marks.iter().filter(|mark| mark.is_hollow).map(|mark| mark.row).collect();
    assert_eq!(hollow, [2]);
}

#[test]
fn one_row_or_many_with_long_labels_have_their_places() {
    for chart in [few(), many(1), many(20), many(60)] {
        check(&chart);
        let scene = draw(&chart);
        assert_eq!(png_size(&scene.png()), (1600, data(&chart).height));
        assert_eq!(scene.svg(), draw(&chart).svg());
    }
}

#[test]
fn of_too_many_rows_those_are_left_out_that_change_the_time_least() {
    let data = data(&many(80));
    assert_eq!((data.rows.len(), data.left_out), (60, 20));
    assert!(texts(&draw(&many(80)).svg()).iter().any(|text| text.starts_with("20 more")));
}

#[test]
fn an_interval_far_wider_than_all_else_goes_on_beyond_the_panel() {
    let mut chart = few();
    chart.rows[0].accuracy.as_mut().unwrap().interval = Some((-0.3, 0.3));
    check(&chart);
    let data = data(&chart);
    let mark = data.marks.iter().find(|mark| mark.row == 1 && mark.panel == 1).unwrap();
    assert_eq!(mark.interval.unwrap().opens, (true, true));
}

#[test]
fn nothing_to_show_is_said() {
    let svg = draw(&AttributionChart::default()).svg();
    assert!(texts(&svg).iter().any(|text| text.starts_with("No optimisation")));
}

#[test]
fn an_optimisation_of_the_same_steps_stands_at_no_change_whatever_was_measured() {
    let mut chart = few();
    chart.rows[2].same_steps = true;
    chart.rows[2].is_confirmed = false;
    let data = data(&chart);
    let marks = data.marks.iter().filter(|mark| mark.panel == 0 && mark.figure == "same steps");
    let marks: Vec<_> = marks.collect();
    let [mark] = marks[..] else { panic!("{marks:?}") };
    let panel = &data.panels[0];
    let neutral = panel.area.left + panel.axis.share(panel.neutral) * panel.area.width();
    assert!((mark.at - neutral).abs() < 1e-9);
    assert!(!mark.is_hollow && mark.range.is_none() && mark.interval.is_none());
    check(&chart);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_effects_are_drawn_inside(
        rows in prop::collection::vec((0.01..100.0_f64, 0.0..3.0_f64, -1.0..1.0_f64, 0.0..1.0_f64, 0.001..5.0_f64), 1..30)
    ) {
        let rows = rows.into_iter().map(|(factor, wide, change, half, share)| Row {
            label: format!("factor {factor}"),
            speed_up: Some(Bar {
                estimate: factor,
                interval: Some((factor / wide.exp(), factor * wide.exp())),
                range: (factor / 1.1, factor * 1.2),
            }),
            is_confirmed: wide < 1.0,
            same_steps: wide > 2.5,
            accuracy: Some(bar(change, half)),
            parameters: Bar { estimate: share, interval: None, range: (share * 0.9, share * 1.1) },
        });
        check(&chart(rows.collect()));
    }
}
