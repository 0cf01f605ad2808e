use fastrcaps::base::{
    rng,
    stats::{Spread, mean, mean_interval, median_interval, quantile, standard_deviation, student_t_quantile},
};
use rand_distr::{Distribution, StandardNormal};

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

#[test]
fn student_t_is_that_of_the_tables() {
    // From 1 to 6 degrees of freedom and far out, to ten digits: the share is 0.975, then 0.995.
    let table = [
        (1.0, 12.706_204_736_432_1, 63.656_741_162_871_5),
        (2.0, 4.302_652_729_696_14, 9.924_843_200_918_29),
        (3.0, 3.182_446_305_283_71, 5.840_909_309_732_42),
        (4.0, 2.776_445_105_197_8, 4.604_094_871_349_99),
        (6.0, 2.446_911_851_144_97, 3.707_428_021_324_91),
        (100.0, 1.983_971_518_449_33, 2.625_890_521_397_74),
    ];
    for (degrees, at_975, at_995) in table {
        for (share, expected) in [(0.975, at_975), (0.995, at_995)] {
            let found = student_t_quantile(share, degrees);
            assert!((found / expected - 1.0).abs() < 1e-7, "{share} of {degrees}: {found}, not {expected}");
            assert!((student_t_quantile(1.0 - share, degrees) / -expected - 1.0).abs() < 1e-7);
        }
    }
    assert!(student_t_quantile(0.975, 0.0).is_nan() && student_t_quantile(1.0, 3.0).is_nan());
}

#[test]
fn a_mean_of_one_value_has_no_interval() {
    assert_eq!(mean_interval(&[1.0], 0.95), None);
    assert_eq!(mean_interval(&[], 0.95), None);
    let (low, high) = mean_interval(&[1.0, 3.0], 0.95).unwrap();
    assert!((low - (2.0 - 12.706_204_736_432_1)).abs() < 1e-6 && (low + high - 4.0).abs() < 1e-9, "{low} {high}");
}

#[test]
fn the_interval_of_a_median_is_that_of_its_order_statistics() {
    let of = |values: &[f64]| median_interval(values, 0.95);
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0]), None);
    assert_eq!(median_interval(&[7.0; 8], 0.95), Some((7.0, 7.0)));
    // The extremes of six hold the median in 62 of 64 cases, the inner ones in 50, and 95 of 100 are 60.8 of 64: a tenth of the way
    // inwards by probability is 5/14 by value.
    let (low, high) = of(&[6.0, 1.0, 5.0, 2.0, 4.0, 3.0]).unwrap();
    assert!((low - 19.0 / 14.0).abs() < 1e-12 && (high - 79.0 / 14.0).abs() < 1e-12, "{low} to {high}");
}

#[test]
fn the_interval_of_a_median_holds_it_as_often_as_it_says() {
    const DRAWS: usize = 10_000;
    for n in [6, 7, 8, 10, 15] {
        for shape in [f64::abs as fn(f64) -> f64, |x| x, f64::exp] {
            // The median of what is drawn: of |x|, the upper quartile of x.
            let median = if shape(-1.0) == 1.0 { 0.674_489_750_196_082 } else { shape(0.0) };
            let mut rng = rng::stream(5, "medians", n as u64);
            let mut draw = || shape(StandardNormal.sample(&mut rng));
            let holds = (0..DRAWS).filter(|_| {
                let values: Vec<f64> = (0..n).map(|_| draw()).collect();
                let (low, high) = median_interval(&values, 0.95).unwrap();
                low <= median && median <= high
            });
            let share = holds.count() as f64 / DRAWS as f64;
            assert!((0.94..=0.965).contains(&share), "{n} values: {share}");
        }
    }
}
