//! Every chart of a study, in every size.

use std::time::Instant;

use fastrcaps::present::charts::canvas::{Area, Shape, Text, Turn};
use fastrcaps::present::charts::reconstructions::{Picture, Sample};
use fastrcaps::present::charts::{CHARTS, ChartData, Facts, Options, Scene, Style, Theme};

use super::studies::{LARGE, SMALL, trained};
use super::{png_size, texts};

fn facts(view: &fastrcaps::present::report::view::StudyView) -> Facts<'_> {
    let mut facts = Facts::of(view);
    let picture = Picture { channels: 1, height: 4, width: 4, values: vec![0.5; 16] };
    let sample =
        Sample { original: picture.clone(), reconstruction: picture, truth: "4".into(), predicted: "9".into() };
    facts.samples = vec![sample; 20];
    facts
}

fn all(facts: &Facts) -> Vec<(&'static str, Box<dyn ChartData>)> {
    CHARTS.iter().map(|chart| (chart.name, (chart.data)(facts, &Options::default()).unwrap())).collect()
}

fn sized(width: u32, height: u32, dpi: u32, theme: Theme) -> Style {
    Style { width, height: Some(height), dpi, theme, ..Style::default() }
}

fn styles() -> Vec<Style> {
    let light = [(800, 600, 96), (1600, 1000, 96), (1600, 1000, 300), (640, 900, 96), (2400, 700, 96)];
    let mut styles: Vec<Style> = light.map(|(w, h, dpi)| sized(w, h, dpi, Theme::Light)).into();
    styles.extend([Style::default(), sized(1600, 1000, 96, Theme::Dark)]);
    styles
}

fn texts_of(scene: &Scene) -> Vec<&Text> {
    let texts = scene.shapes.iter().filter_map(|shape| match shape {
        Shape::Text(text) => Some(text),
        _ => None,
    });
    texts.filter(|text| !text.text.trim().is_empty()).collect()
}

/// All texts are on the page, and none covers another.
fn is_legible(name: &str, scene: &Scene) {
    let page = Area::new(0.0, 0.0, f64::from(scene.width), f64::from(scene.height));
    let texts: Vec<(&Text, Area)> = texts_of(scene).into_iter().map(|text| (text, text.area())).collect();
    for (at, (text, area)) in texts.iter().enumerate() {
        assert!(
            page.contains(area),
            "{name} at {} × {}: {:?} leaves the page: {area:?}",
            scene.width,
            scene.height,
            text.text
        );
        for (other, theirs) in &texts[..at] {
            let less = area.grown(-0.06 * text.size);
            assert!(
                !less.overlaps(theirs),
                "{name} at {} × {}: {:?} covers {:?}",
                scene.width,
                scene.height,
                text.text,
                other.text
            );
        }
    }
}

#[test]
fn no_text_of_any_chart_covers_another_or_leaves_the_page_in_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    for (name, data) in all(&facts(&view)) {
        for style in styles() {
            let scene = data.draw(&style);
            let dots = |pixels: u32| (f64::from(pixels) * f64::from(style.dpi) / 96.0).round() as u32;
            assert_eq!(scene.width, dots(style.width), "{name}");
            assert!(style.height.is_none_or(|height| scene.height == dots(height)), "{name}");
            is_legible(name, &scene);
        }
    }
}

#[test]
fn a_name_along_an_axis_stands_on_nothing_that_is_painted() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    for (name, data) in all(&facts(&view)) {
        for style in styles() {
            let scene = data.draw(&style);
            let upright = texts_of(&scene).into_iter().filter(|text| text.turn == Turn::Up);
            for area in upright.map(Text::area) {
                let covered = scene.shapes.iter().find(|shape| match shape {
                    Shape::Polygon { points, .. } => area.overlaps(&around(points)),
                    _ => false,
                });
                assert_eq!(covered, None, "{name} at {} × {}", scene.width, scene.height);
            }
        }
    }
}

/// The box around points.
fn around(points: &[(f64, f64)]) -> Area {
    let fold = |of: fn(&(f64, f64)) -> f64, with: fn(f64, f64) -> f64, from| points.iter().map(of).fold(from, with);
    Area {
        left: fold(|at| at.0, f64::min, f64::MAX),
        top: fold(|at| at.1, f64::min, f64::MAX),
        right: fold(|at| at.0, f64::max, f64::MIN),
        bottom: fold(|at| at.1, f64::max, f64::MIN),
    }
}

#[test]
fn what_a_legend_says_is_said_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    for name in ["interactions", "bars", "slices"] {
        let chart = CHARTS.iter().find(|chart| chart.name == name).unwrap();
        let data = (chart.data)(&facts(&view), &Options::default()).unwrap();
        for style in styles() {
            let scene = data.draw(&style);
            let cut = texts_of(&scene).into_iter().find(|text| text.text.ends_with('…'));
            assert_eq!(cut.map(|text| &text.text), None, "{name} at {} × {}", scene.width, scene.height);
        }
    }
}

#[test]
fn a_chart_of_its_own_height_ends_where_its_notes_do() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    for (name, data) in all(&facts(&view)) {
        let scene = data.draw(&Style::default());
        let height = f64::from(scene.height);
        let bottom = |shape: &Shape| match shape {
            Shape::Text(text) => text.area().bottom,
            Shape::Line { points, .. } | Shape::Polygon { points, .. } => around(points).bottom,
            Shape::Circle { centre, radius, .. } => centre.1 + radius,
            Shape::Image { at, scale, pixels } => at.1 + scale * pixels.height as f64,
        };
        // Notes are two lines at most, at the lower end.
        let lowest = scene.shapes.iter().map(bottom).filter(|of| *of < height - 70.0).fold(0.0, f64::max);
        assert!(lowest > height - 200.0, "{name}: nothing between {lowest} and {height}");
    }
}

#[test]
fn a_chart_is_the_same_run_to_run_and_says_its_data_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    let (first, second) = (facts(&view), facts(&view));
    for ((name, a), (_, b)) in all(&first).iter().zip(&all(&second)) {
        assert_eq!(a.json().unwrap(), b.json().unwrap(), "{name}");
        assert!(a.json().unwrap()["title"].as_str().is_some_and(|title| title.contains(": ")), "{name}");
        let style = Style::default();
        assert_eq!(a.draw(&style).svg(), b.draw(&style).svg(), "{name}");
    }
}

/// `FASTRCAPS_BLESS=1` writes it anew.
#[test]
fn what_charts_show_of_a_study_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    let facts = facts(&view);
    let shown: serde_json::Map<String, serde_json::Value> =
        all(&facts).into_iter().map(|(name, data)| (name.to_string(), short(data.json().unwrap()))).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/charts.json");
    if std::env::var_os("FASTRCAPS_BLESS").is_some() {
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&shown).unwrap())).unwrap();
    }
    let Ok(golden) = std::fs::read_to_string(path) else {
        println!("SKIPPED: {path} is not there; FASTRCAPS_BLESS=1 writes it");
        return;
    };
    let golden: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&golden).unwrap();
    for (name, data) in &golden {
        assert_eq!(shown.get(name), Some(data), "{name}");
    }
    assert_eq!(shown.len(), golden.len());
}

/// Of long lists the first three and the length; numbers to nine digits, as libraries of functions differ in the last ones.
fn short(value: serde_json::Value) -> serde_json::Value {
    use serde_json::{Value, json};
    match value {
        Value::Array(of) if of.len() > 8 => {
            let count = of.len();
            let first: Vec<Value> = of.into_iter().take(3).map(short).collect();
            json!({"count": count, "first": first})
        }
        Value::Array(of) => Value::Array(of.into_iter().map(short).collect()),
        Value::Object(of) => Value::Object(of.into_iter().map(|(key, value)| (key, short(value))).collect()),
        Value::Number(of) if of.is_f64() => json!(format!("{:.8e}", of.as_f64().unwrap())),
        other => other,
    }
}

#[test]
fn a_study_of_ten_thousand_trials_has_every_chart() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), LARGE);
    assert_eq!(view.trials.len(), 10_000);
    for chart in CHARTS {
        // Each alone, with all that it needs of the study.
        let facts = facts(&view);
        let (begun, before) = (Instant::now(), processor_seconds());
        let data = (chart.data)(&facts, &Options::default()).unwrap();
        let found = begun.elapsed();
        let scene = data.draw(&Style::default());
        let png = scene.png();
        let (whole, busy) = (begun.elapsed(), processor_seconds() - before);
        let svg = scene.svg();
        let (seconds, of_data) = (whole.as_secs_f64(), found.as_secs_f64());
        println!(
            "{:16} {seconds:.2} s as PNG ({busy:.2} s of the processor), {of_data:.2} s of them for its data; SVG {} kB",
            chart.name,
            svg.len() / 1000
        );
        assert_eq!(png_size(&png), (scene.width, scene.height));
        is_legible(chart.name, &scene);
    }
}

/// Seconds of a processor that this thread has taken; NaN where the system does not tell.
fn processor_seconds() -> f64 {
    let of = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    of.split(' ').next().and_then(|first| first.parse::<f64>().ok()).map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}

#[test]
fn an_empty_study_has_every_chart_and_each_says_why_it_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let study = crate::study::declare_space(folder.path(), SMALL, "the data");
    let view = fastrcaps::present::report::view::StudyView::blank(&study).unwrap();
    let facts = Facts::of(&view);
    for chart in CHARTS {
        match (chart.data)(&facts, &Options::default()) {
            Ok(data) => {
                let svg = data.draw(&Style::default()).svg();
                let says = texts(&svg).iter().any(|text| text.starts_with("No "));
                assert!(says || chart.name == "schedule", "{}", chart.name);
            }
            Err(error) => assert!(chart.name == "reconstructions", "{}: {error:#}", chart.name),
        }
    }
}

#[test]
fn dark_pictures_have_no_dark_colour_on_their_page() {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    for (name, data) in all(&facts(&view)) {
        let scene = data.draw(&sized(1600, 1000, 96, Theme::Dark));
        assert!(scene.page.red < 64, "{name}");
        for text in texts_of(&scene) {
            assert!(text.colour.contrast(scene.page) >= 4.5, "{name}: {:?}", text.text);
        }
    }
}

#[test]
fn every_chart_that_is_drawn_into_a_study_is_one_of_its_files() {
    let names: Vec<&str> = CHARTS.iter().map(|chart| chart.name).collect();
    assert_eq!(names, fastrcaps::search::study::holdings::CHARTS);
}

#[test]
fn a_picture_for_paper_says_its_dots_per_inch() {
    let png = sized(300, 200, 300, Theme::Light).finish(&Scene::new(1600, 1000)).png();
    assert_eq!(png_size(&png), (938, 625));
    let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    assert_eq!(reader.info().pixel_dims.map(|dims| dims.xppu), Some(11_811));
}
