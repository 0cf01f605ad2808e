use fastrcaps::present::charts::axis::{Axis, Scale, Unit};
use proptest::prelude::*;

fn labels(axis: &Axis) -> Vec<&str> {
    axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
}

#[test]
fn times_far_apart_get_a_logarithmic_axis() {
    assert_eq!(Axis::over([60.0, 400.0], Unit::Seconds, 0.05).scale, Scale::Linear);
    assert_eq!(Axis::over([60.0, 600.0], Unit::Seconds, 0.05).scale, Scale::Log);
    assert_eq!(Axis::over([0.0, 600.0], Unit::Seconds, 0.05).scale, Scale::Linear);
    assert_eq!(Axis::over([0.01, 0.99], Unit::Percent, 0.05).scale, Scale::Linear);
}

#[test]
fn times_are_written_in_human_units() {
    let linear = |from, to| Axis::new(Scale::Linear, from, to, Unit::Seconds);
    assert_eq!(labels(&linear(0.0, 60.0)), ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]);
    assert_eq!(labels(&linear(0.0, 600.0)), ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]);
    assert_eq!(labels(&linear(0.0, 3.0 * 3600.0)), ["0 h", "0.5 h", "1 h", "1.5 h", "2 h", "2.5 h", "3 h"]);
    let log = Axis::new(Scale::Log, 25.0, 8000.0, Unit::Seconds);
    assert_eq!(labels(&log), ["1 min", "2 min", "5 min", "10 min", "20 min", "1 h", "2 h"]);
}

#[test]
fn accuracies_have_the_decimals_their_ticks_need() {
    let axis = Axis::new(Scale::Linear, 0.981, 0.993, Unit::Percent);
    assert_eq!(labels(&axis), ["98.2 %", "98.4 %", "98.6 %", "98.8 %", "99.0 %", "99.2 %"]);
    let axis = Axis::new(Scale::Linear, 0.0, 1.0, Unit::Percent);
    assert_eq!(labels(&axis), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
}

#[test]
fn batch_sizes_double_and_a_constant_one_stands_alone() {
    assert_eq!(labels(&Axis::over([16.0, 32.0, 64.0], Unit::Doubling, 0.1)), ["16", "32", "64"]);
    assert_eq!(labels(&Axis::over([128.0, 128.0], Unit::Doubling, 0.1)), ["0", "128"]);
}

#[test]
fn learning_rates_are_written_as_in_config_files() {
    let axis = Axis::new(Scale::Log, 1e-6, 1.0, Unit::LearningRate);
    assert_eq!(labels(&axis), ["1e-6", "1e-5", "1e-4", "1e-3", "0.01", "0.1", "1"]);
}

proptest! {
    #[test]
    fn any_values_lie_within_an_axis_of_few_ticks(
        values in prop::collection::vec(prop_oneof![any::<f64>(), 0.0..1.0, Just(0.99)], 0..12),
        unit in prop::sample::select(vec![
            Unit::Percent, Unit::Seconds, Unit::Count, Unit::Doubling, Unit::LearningRate, Unit::Number,
        ]),
    ) {
        let axis = Axis::over(values.iter().copied(), unit, 0.05);
        prop_assert!(axis.from < axis.to, "{axis:?}");
        prop_assert!(axis.ticks.len() <= 20, "{axis:?}");
        for value in values.into_iter().filter(|value| value.abs() < 1e100 && unit != Unit::Percent) {
            prop_assert!((-1e-6..=1.0 + 1e-6).contains(&axis.share(value)), "{value} {axis:?}");
        }
    }
}
