use fastrcaps::analysis::range_test::{rate, smooth, suggest};

/// A loss that falls around 1e-3, is lowest near 1e-2 and diverges after, with a deterministic ripple.
pub fn typical() -> (Vec<f64>, Vec<f64>) {
    let rates: Vec<f64> = (0..600).map(rate).collect();
    let loss = |(step, rate): (usize, &f64)| {
        let place = rate.log10();
        let fall = 0.75 / (1.0 + (-(place + 3.0) * 4.0).exp());
        0.85 - fall + (place + 1.3).max(0.0).powi(2) * 8.0 + 0.02 * ((step * 37 % 19) as f64 / 9.0 - 1.0)
    };
    let losses = rates.iter().enumerate().map(loss).collect();
    (rates, losses)
}

#[test]
fn the_rate_grows_tenfold_in_a_hundred_steps_from_a_millionth() {
    assert_eq!(rate(0), 1e-6);
    assert!((rate(100) / 1e-5 - 1.0).abs() < 1e-12);
    assert!((rate(400) / 1e-2 - 1.0).abs() < 1e-12);
}

#[test]
fn the_suggestion_is_a_tenth_of_the_rate_of_the_lowest_loss() {
    let (rates, losses) = typical();
    let suggestion = suggest(&rates, &losses).expect("the curve has an answer");
    assert!(suggestion.lowest > 5e-3 && suggestion.lowest < 0.2, "{suggestion:?}");
    assert_eq!(suggestion.rate, suggestion.lowest / 10.0);
}

#[test]
fn an_early_steep_fall_does_not_draw_the_suggestion_down() {
    let (rates, mut losses) = typical();
    // As all capsules of a fresh network shrink: a cliff near 1e-5.
    for (loss, rate) in losses.iter_mut().zip(&rates) {
        *loss += 2.0 / (1.0 + (rate / 1e-5).powi(8));
    }
    let suggestion = suggest(&rates, &losses).expect("the curve has an answer");
    assert!(suggestion.rate > 5e-4, "{suggestion:?}");
}

#[test]
fn what_follows_the_divergence_is_not_looked_at() {
    let (rates, mut losses) = typical();
    let before = suggest(&rates, &losses);
    losses[560..].fill(f64::NAN);
    let after = suggest(&rates, &losses).expect("the curve has an answer");
    // The curve is flat around its lowest point: within a factor of two.
    assert!((after.rate / before.unwrap().rate).log10().abs() < 0.3);
}

#[test]
fn a_curve_without_an_answer_gives_none() {
    let rates: Vec<f64> = (0..300).map(rate).collect();
    let noise: Vec<f64> = (0..300).map(|step| 0.8 + 0.05 * ((step * 37 % 19) as f64 / 9.0 - 1.0)).collect();
    let rising: Vec<f64> = (0..300).map(|step| 0.8 + step as f64 * 0.01).collect();
    assert_eq!(suggest(&rates, &noise), None);
    assert_eq!(suggest(&rates, &rising), None);
    assert_eq!(suggest(&rates, &[f64::NAN; 300]), None);
    assert_eq!(suggest(&rates[..5], &[5.0, 4.0, 3.0, 2.0, 1.0]), None);
    assert_eq!(suggest(&[], &[]), None);
}

#[test]
fn smoothing_keeps_a_straight_line_and_ends_before_what_is_not_finite() {
    let line: Vec<f64> = (0..100).map(f64::from).collect();
    for (smoothed, raw) in smooth(&line).iter().zip(&line) {
        assert!((smoothed - raw).abs() < 1e-9);
    }
    let mut broken = line;
    broken[50] = f64::INFINITY;
    assert_eq!(smooth(&broken).len(), 50);
}
