use super::{png_size, texts};
use fastrcaps::learn::schedule::ScheduleConfig;
use fastrcaps::present::charts::axis::Scale;
use fastrcaps::present::charts::schedule::{self, ScheduleChart, ScheduleLayout, ScheduleLine, arrange, sample};
use fastrcaps::present::charts::{Scene, Style};

fn data(chart: &ScheduleChart) -> ScheduleLayout {
    arrange(chart, &Style::default())
}

fn draw(chart: &ScheduleChart) -> Scene {
    schedule::draw(chart, &Style::default())
}

fn alone(line: ScheduleLine) -> ScheduleChart {
    ScheduleChart { title: "Schedule".into(), lines: vec![line], ..ScheduleChart::default() }
}

fn declared(toml: &str) -> ScheduleConfig {
    toml::from_str(toml).unwrap()
}

const WARM_ADABATCH: &str = "[lr]\npolicy = \"warm-restarts\"\nperiod = 2.0\n[batch]\npolicy = \"adabatch\"\n";

#[test]
fn restarts_and_phases_are_sampled_on_both_sides() {
    let chart = sample(&declared(WARM_ADABATCH), 9);
    let jumps = |samples: Vec<(f64, f64)>| -> Vec<f64> {
        samples.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0).collect()
    };
    let close = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    };
    close(jumps(chart.rates), &[2.0, 4.0, 6.0, 8.0]);
    close(jumps(chart.batches.into_iter().map(|(epoch, size)| (epoch, size as f64)).collect()), &[3.0]);
}

#[test]
fn a_jump_far_shorter_than_the_training_is_found() {
    let chart = sample(
        &declared("[batch]\npolicy = \"adabatch\"\nphases = [{ epochs = 0.001, size = 1 }, { size = 64 }]"),
        300,
    );
    assert_eq!(chart.batches[0], (0.0, 1));
    assert_eq!((chart.batches[1].1, chart.batches[2].1), (1, 64));
    assert!((chart.batches[1].0 - 0.001).abs() < 1e-6);
}

#[test]
fn a_smooth_policy_has_no_jump() {
    let chart = sample(&declared("[lr]\npolicy = \"one-cycle\"\n"), 20);
    assert!(chart.rates.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn the_axes_follow_the_ranges() {
    let chart = sample(&declared(WARM_ADABATCH), 40);
    let drawn = data(&alone(chart));
    assert_eq!((drawn.rate.y.scale, drawn.batch.y.scale), (Scale::Log, Scale::Log));
    let fixed = data(&alone(sample(&ScheduleConfig::default(), 10)));
    assert_eq!((fixed.rate.y.scale, fixed.batch.y.scale), (Scale::Linear, Scale::Linear));
}

#[test]
fn both_panels_are_drawn_and_an_empty_schedule_says_so() {
    let chart = alone(sample(&declared(WARM_ADABATCH), 40));
    let svg = draw(&chart).svg();
    for text in ["Schedule", "Learning rate", "Batch size", "Epoch", "16"] {
        assert!(texts(&svg).contains(&text), "{text}");
    }
    assert_eq!(png_size(&draw(&chart).png()), (1600, 1000));
    assert!(texts(&draw(&ScheduleChart::default()).svg()).contains(&"No schedule to show"));
    let _ = draw(&alone(sample(&ScheduleConfig::default(), 0))).png();
}
