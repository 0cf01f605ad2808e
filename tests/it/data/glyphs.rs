//! The built-in data set is neither trivial nor irregular.

use fastrcaps::learn::data::{Images, descriptor::Part, sets::glyphs::draw};

const PIXELS: usize = 28 * 28;

#[test]
fn a_linear_classifier_learns_the_glyphs_but_fails_on_one_in_ten() {
    let (train, test) = (draw(0, Part::Train, 5000), draw(0, Part::Test, 1000));
    let accuracy = softmax_regression_accuracy(&train, &test);
    println!("softmax regression: test accuracy {accuracy:.3}");
    assert!(accuracy > 0.5, "{accuracy}");
    assert!(accuracy < 0.9, "{accuracy}");
}

/// Best test accuracy over the epochs of softmax regression by stochastic gradient descent: choosing
/// on the test part flatters the classifier, which makes the bound of the test stronger.
fn softmax_regression_accuracy(train: &Images, test: &Images) -> f64 {
    let mut weights = vec![[0.0_f32; 10]; PIXELS + 1];
    let mut best: f64 = 0.0;
    for epoch in 0..20 {
        let rate = 0.02 / (1.0 + epoch as f32);
        for &index in &fastrcaps::learn::data::batch::epoch_order(train.len(), 1, epoch) {
            let (image, class) = (train.image(index as usize), usize::from(train.labels[index as usize]));
            let mut errors = probabilities(&weights, image);
            errors[class] -= 1.0;
            update(&mut weights[PIXELS], &errors, rate);
            for (weights, &byte) in weights.iter_mut().zip(image).filter(|(_, byte)| **byte > 0) {
                update(weights, &errors, rate * f32::from(byte) / 255.0);
            }
        }
        let right = |&index: &usize| {
            let scores = probabilities(&weights, test.image(index));
            (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(usize::from(test.labels[index]))
        };
        best = best.max((0..test.len()).filter(right).count() as f64 / test.len() as f64);
    }
    best
}

fn probabilities(weights: &[[f32; 10]], image: &[u8]) -> [f32; 10] {
    let mut scores = weights[PIXELS];
    for (weights, &byte) in weights.iter().zip(image).filter(|(_, byte)| **byte > 0) {
        update(&mut scores, weights, -f32::from(byte) / 255.0);
    }
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = scores.map(|score| (score - highest).exp());
    let sum: f32 = exponentials.iter().sum();
    exponentials.map(|value| value / sum)
}

/// `values -= rate · direction`
fn update(values: &mut [f32; 10], direction: &[f32; 10], rate: f32) {
    for (value, direction) in values.iter_mut().zip(direction) {
        *value -= rate * direction;
    }
}

#[test]
fn the_same_glyphs_are_drawn_by_any_number_of_threads() {
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| draw(3, Part::Train, 200))
    };
    assert_eq!(with_threads(1), with_threads(4));
}

#[test]
fn a_glyph_depends_on_seed_part_and_index_alone() {
    let few = draw(3, Part::Train, 30);
    let many = draw(3, Part::Train, 100);
    assert_eq!(few.pixels[..], many.pixels[..30 * PIXELS]);
    assert_eq!(few.labels, (0..30).map(|index| index % 10).collect::<Vec<u8>>());
    assert_ne!(few, draw(4, Part::Train, 30));
    assert_ne!(few, draw(3, Part::Test, 30));
    assert!(draw(3, Part::Test, 0).is_empty());
}

#[test]
fn every_glyph_has_ink() {
    let images = draw(0, Part::Train, 2000);
    for index in 0..images.len() {
        let bright = images.image(index).iter().filter(|&&byte| byte > 128).count();
        assert!((10..400).contains(&bright), "glyph {index} has {bright} bright pixels");
    }
}
