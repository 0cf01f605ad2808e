use fastrcaps::stats::{Spread, mean, quantile, standard_deviation};

#[test]
fn replicates_have_a_mean_and_a_sample_deviation() {
    assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
    assert_eq!(standard_deviation(&[1.0, 2.0, 6.0]), Some(7_f64.sqrt()));
}

#[test]
fn too_few_values_are_unknown_not_zero() {
    assert_eq!(mean(&[]), None);
    assert_eq!(standard_deviation(&[1.0]), None);
}

#[test]
fn quantiles_lie_on_values_or_between_two() {
    let sorted = [1.0, 2.0, 4.0, 8.0];
    assert_eq!([0.0, 0.25, 0.5, 1.0].map(|share| quantile(&sorted, share)), [1.0, 1.75, 3.0, 8.0]);
    assert!(quantile(&[], 0.5).is_nan());
    let spread = Spread { min: 1.0, lower_quartile: 2.0, median: 3.0, upper_quartile: 4.0, max: 5.0 };
    assert_eq!(Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]), spread);
}
