use super::{png_size, texts};
use fastrcaps::charts::Scene;
use fastrcaps::charts::canvas::{Anchor, Area, Pixels, Stroke, Text};
use fastrcaps::charts::labels::spread;
use fastrcaps::charts::style::{BLUE, INK, count, duration, percent, rate};

#[test]
fn text_is_escaped_in_svg_and_loses_its_control_characters() {
    let mut scene = Scene::new(200, 100);
    scene.text(Text::new((10.0, 50.0), "a<b & \"c\"\u{1}>'d' ± × → ² –", 20.0, INK));
    assert_eq!(texts(&scene.svg()), ["a&lt;b &amp; &quot;c&quot;&gt;&apos;d&apos; ± × → ² –"]);
    assert_eq!(png_size(&scene.png()), (200, 100));
}

#[test]
fn every_shape_leaves_its_trace_in_both_formats() {
    let blank = Scene::new(100, 100);
    let mut scenes = vec![blank.clone(); 5];
    scenes[0].line(vec![(0.0, 0.0), (90.0, 90.0)], Stroke::dashed(INK, 2.0));
    scenes[1].polygon(vec![(0.0, 0.0), (90.0, 0.0), (0.0, 90.0)], BLUE, None);
    scenes[2].circle((50.0, 50.0), 20.0, BLUE.opacity(0.5), Some(Stroke::solid(INK, 1.0)));
    scenes[3].text(Text::new((50.0, 50.0), "½", 40.0, INK).anchor(Anchor::Middle).bold().up());
    scenes[4].image((10.0, 10.0), 4.0, Pixels { width: 2, height: 1, rgb: vec![255, 0, 0, 0, 0, 255] });
    for scene in scenes {
        assert_ne!(scene.png(), blank.png(), "{:?}", scene.shapes);
        assert_ne!(scene.svg(), blank.svg(), "{:?}", scene.shapes);
    }
}

#[test]
fn images_inside_svg_are_pngs_in_base64() {
    let mut scene = Scene::new(10, 10);
    scene.image((0.0, 0.0), 1.0, Pixels { width: 1, height: 1, rgb: vec![1, 2, 3] });
    // "iVBORw0KGgo" is the signature of every PNG.
    assert!(scene.svg().contains("data:image/png;base64,iVBORw0KGgo"));
}

#[test]
fn lines_are_cut_at_the_border() {
    let area = Area::new(0.0, 0.0, 10.0, 10.0);
    assert_eq!(area.clip((-5.0, 5.0), (5.0, 5.0)), Some(((0.0, 5.0), (5.0, 5.0))));
    assert_eq!(area.clip((-5.0, 11.0), (5.0, 11.0)), None);
    let pieces = area.clip_line(&[(1.0, 5.0), (1.0, 15.0), (9.0, 15.0), (9.0, 5.0)]);
    assert_eq!(pieces, [vec![(1.0, 5.0), (1.0, 10.0)], vec![(9.0, 10.0), (9.0, 5.0)]]);
}

#[test]
fn end_labels_keep_their_order_and_distance() {
    let placed = spread(&[50.0, 52.0, 51.0, 99.0], 10.0, 0.0, 100.0);
    assert_eq!(placed, [50.0, 70.0, 60.0, 95.0]);
}

#[test]
fn values_are_written_as_a_reader_expects() {
    assert_eq!(percent(0.9925), "99.25 %");
    assert_eq!([0.25, 45.0, 738.0, 9000.0].map(duration), ["250 ms", "45 s", "12.3 min", "2.5 h"]);
    assert_eq!([950, 60_000, 6_720_000, 12_345_678].map(count), ["950", "60.0 k", "6.72 M", "12.3 M"]);
    assert_eq!([1e-3, 0.01, 3.5e-4, 0.0, 0.0224].map(rate), ["1e-3", "0.01", "3.5e-4", "0", "0.0224"]);
}
