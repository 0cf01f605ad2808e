use fastrcaps::stats::{mean, standard_deviation};

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
