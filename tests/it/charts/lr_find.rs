use super::{png_size, texts};
use crate::range_test::typical;
use fastrcaps::analysis::range_test::suggest;
use fastrcaps::present::charts::lr_find::{self, LrFindChart, LrFindLayout, arrange};
use fastrcaps::present::charts::{Scene, Style};

fn data(chart: &LrFindChart) -> LrFindLayout {
    arrange(chart, &Style::default())
}

fn draw(chart: &LrFindChart) -> Scene {
    lr_find::draw(chart, &Style::default())
}

fn chart() -> LrFindChart {
    let (rates, losses) = typical();
    let suggestion = suggest(&rates, &losses);
    LrFindChart { title: "Range test".into(), subtitle: String::new(), rates, losses, suggestion }
}

#[test]
fn the_suggested_rate_is_marked_where_it_lies() {
    let chart = chart();
    let data = data(&chart);
    let x = data.plot.at(chart.suggestion.unwrap().rate, 0.0).0;
    assert_eq!(data.marks[0].0, x);
    assert!(data.marks[0].1.starts_with("suggested: "));
    assert!(texts(&draw(&chart).svg()).contains(&data.marks[0].1.as_str()));
}

#[test]
fn a_diverging_loss_does_not_squeeze_the_curve() {
    let mut chart = chart();
    chart.losses[590..].fill(1e9);
    assert!(data(&chart).plot.y.to < 2.0);
}

#[test]
fn no_answer_and_no_loss_are_said() {
    let without = LrFindChart { suggestion: None, ..chart() };
    assert!(texts(&draw(&without).svg()).iter().any(|text| text.starts_with("no suggestion")));
    let broken = LrFindChart { losses: vec![f64::NAN; 600], ..without };
    assert!(texts(&draw(&broken).svg()).contains(&"No finite loss to show"));
    assert_eq!(png_size(&draw(&LrFindChart::default()).png()), (1600, 1000));
}
