use super::{png_size, texts};
use fastrcaps::present::charts::reconstructions::{
    self, Picture, ReconstructionsChart, ReconstructionsLayout, Sample, Verdict, arrange,
};
use fastrcaps::present::charts::{Scene, Style};

fn data(chart: &ReconstructionsChart) -> ReconstructionsLayout {
    arrange(chart)
}

fn draw(chart: &ReconstructionsChart) -> Scene {
    reconstructions::draw(chart, &Style::default())
}

fn picture(channels: usize, side: usize) -> Picture {
    let values = (0..channels * side * side).map(|at| (at % 7) as f32 / 6.0).collect();
    Picture { channels, height: side, width: side, values }
}

fn sample(truth: &str, predicted: &str, image: Picture) -> Sample {
    Sample { original: image.clone(), reconstruction: image, truth: truth.into(), predicted: predicted.into() }
}

fn chart(samples: Vec<Sample>) -> ReconstructionsChart {
    ReconstructionsChart { title: "Reconstructions".into(), subtitle: String::new(), samples }
}

#[test]
fn pixels_are_enlarged_by_whole_numbers_and_grow_into_rows_of_ten() {
    let drawn = data(&chart((0..14).map(|_| sample("1", "1", picture(1, 28))).collect()));
    assert_eq!(drawn.cells[0].scale, 4.0);
    assert_eq!(drawn.cells[10].at.0, drawn.cells[0].at.0);
    assert!(drawn.cells[10].at.1 > drawn.cells[9].at.1);
    assert_eq!(drawn.bands.len(), 2);
    let scene = draw(&chart((0..14).map(|_| sample("1", "1", picture(1, 28))).collect()));
    assert_eq!(png_size(&scene.png()), (drawn.width, drawn.height));
}

#[test]
fn grey_and_colour_become_rgb() {
    let mut colour = picture(3, 1);
    colour.values = vec![1.0, 0.5, 2.0];
    let mut grey = picture(1, 1);
    grey.values = vec![0.5];
    let mut two = picture(2, 1);
    two.values = vec![1.0, 0.5];
    let drawn = data(&chart(vec![sample("1", "1", colour), sample("1", "1", grey), sample("1", "1", two)]));
    assert_eq!(drawn.cells[0].original.rgb, [255, 128, 255]);
    assert_eq!(drawn.cells[1].original.rgb, [128, 128, 128]);
    assert_eq!(drawn.cells[2].original.rgb, [255, 128, 0]);
}

#[test]
fn a_mistake_says_both_classes() {
    let chart = chart(vec![sample("4", "9", picture(1, 28)), sample("4", "4", picture(1, 28))]);
    assert_eq!(
        data(&chart).cells.iter().map(|cell| cell.verdict).collect::<Vec<_>>(),
        [Verdict::Wrong, Verdict::Right]
    );
    assert!(texts(&draw(&chart).svg()).contains(&"4 → 9"));
}

#[test]
fn images_that_are_not_what_they_say_are_left_out() {
    let mut short = picture(1, 28);
    short.values.pop();
    let mut nan = picture(1, 2);
    nan.values.fill(f32::NAN);
    let huge = Picture { channels: 3, height: usize::MAX, width: 2, values: vec![] };
    let chart = chart(vec![sample("1", "1", short), sample("1", "1", huge), sample("1", "1", nan)]);
    assert_eq!((data(&chart).cells.len(), data(&chart).left_out), (1, 2));
    assert!(!draw(&chart).png().is_empty());
    assert!(texts(&draw(&ReconstructionsChart::default()).svg()).contains(&"No reconstruction to show"));
}
