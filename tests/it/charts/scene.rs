use super::{pixel, png_size, texts};
use fastrcaps::present::charts::Scene;
use fastrcaps::present::charts::canvas::{Anchor, Area, Pixels, Stroke, Text};
use fastrcaps::present::charts::labels::spread;
use fastrcaps::present::charts::style::{BLUE, INK, WHITE, count, duration, percent, rate};

#[test]
fn text_is_escaped_in_svg_and_loses_its_control_characters() {
    let mut scene = Scene::new(200, 100);
    scene.text(Text::new((10.0, 50.0), "a<b & \"c\"\u{1}>'d' ± × → ² –", 20.0, INK));
    assert_eq!(texts(&scene.svg()), ["a&lt;b &amp; &quot;c&quot;&gt;&apos;d&apos; ± × → ² –"]);
    assert_eq!(png_size(&scene.png()), (200, 100));
}

/// A text alone on a page, in black and white.
fn picture(text: &str) -> Vec<u8> {
    let mut scene = Scene::new(160, 40);
    scene.text(Text::new((5.0, 28.0), text, 20.0, INK));
    scene.png()
}

#[test]
fn characters_that_noto_sans_lacks_have_letters_of_their_own() {
    let pictures: Vec<Vec<u8>> = ["中", "日", "한", "あ", "א", "🚀", "👍", "⚡"].map(picture).into();
    for (index, one) in pictures.iter().enumerate() {
        assert_ne!(*one, picture(""));
        assert!(pictures[..index].iter().all(|other| other != one), "{index} looks like another: a box");
    }
    // What only selects or joins the forms of others takes no room.
    assert_eq!(picture("⚡\u{fe0f}中\u{200d}文"), picture("⚡中文"));
    let mut scene = Scene::new(160, 40);
    scene.text(Text::new((5.0, 28.0), "中文 🚀", 20.0, INK));
    assert_eq!(texts(&scene.svg()), ["中文 🚀"]);
}

#[test]
fn a_character_that_no_font_has_is_spelled() {
    assert_eq!(picture("a𠮷"), picture("aU+20BB7"));
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
fn shapes_cover_whole_pixels_sharply_and_half_pixels_by_half() {
    let ink = [INK.red, INK.green, INK.blue];
    let mut scene = Scene::new(60, 60);
    scene.line(vec![(10.0, 10.5), (50.0, 10.5)], Stroke::solid(INK, 1.0));
    scene.line(vec![(10.5, 20.0), (10.5, 50.0)], Stroke::solid(INK, 1.0));
    scene.line(vec![(10.0, 15.0), (50.0, 15.0)], Stroke::solid(INK, 1.0));
    let png = scene.png();
    assert_eq!([(10, 9), (10, 10), (49, 10), (10, 11)].map(|at| pixel(&png, at)), [[255; 3], ink, ink, [255; 3]]);
    assert_eq!([(9, 30), (10, 30), (11, 30)].map(|at| pixel(&png, at)), [[255; 3], ink, [255; 3]]);
    let [above, below] = [(30, 14), (30, 15)].map(|at| pixel(&png, at)[0]);
    assert_eq!((above, below), (141, 141));
}

#[test]
fn a_translucent_line_is_even_where_it_bends_and_crosses_itself() {
    let mut scene = Scene::new(60, 60);
    let loops = vec![(5.0, 20.0), (40.0, 20.0), (40.0, 50.0), (20.0, 50.0), (20.0, 5.0)];
    scene.line(loops, Stroke::solid(INK.opacity(0.5), 6.0));
    let png = scene.png();
    let straight = pixel(&png, (30, 20));
    assert!(straight[0] > 100 && straight[0] < 200);
    assert_eq!([(40, 20), (20, 20), (40, 35)].map(|at| pixel(&png, at)), [straight; 3]);
}

#[test]
fn outlines_leave_what_is_inside_of_them() {
    let mut scene = Scene::new(60, 60);
    scene.circle((30.0, 30.0), 20.0, BLUE, Some(Stroke::solid(INK, 4.0)));
    scene.circle((30.0, 30.0), 5.0, WHITE, None);
    let png = scene.png();
    let colours = [WHITE, BLUE, INK, WHITE].map(|colour| [colour.red, colour.green, colour.blue]);
    assert_eq!([(30, 30), (40, 30), (50, 30), (55, 30)].map(|at| pixel(&png, at)), colours);
}

#[test]
fn dashes_leave_gaps() {
    let mut scene = Scene::new(60, 20);
    scene.line(vec![(0.0, 10.0), (60.0, 10.0)], Stroke::dashed(INK, 4.0));
    let png = scene.png();
    assert_eq!([4, 12, 20, 27].map(|x| pixel(&png, (x, 10))[0] < 100), [true, false, true, false]);
    assert!(scene.svg().contains("stroke-dasharray"));
}

#[test]
fn a_halo_hides_the_lines_beside_letters() {
    let mut scene = Scene::new(100, 40);
    scene.line(vec![(0.0, 20.0), (100.0, 20.0)], Stroke::solid(INK, 2.0));
    let bare = scene.png();
    scene.text(Text::new((20.0, 27.0), "lll", 20.0, INK).halo());
    let beside = (19, 20);
    assert!(pixel(&bare, beside)[0] < 100 && pixel(&scene.png(), beside)[0] > 200);
    assert!(scene.svg().contains("paint-order"));
}

#[test]
fn shapes_beyond_the_page_are_cut_or_left_out() {
    let strange = [f64::NAN, f64::INFINITY, -1e300, 1e300, 1e9, -5.0, 5.0];
    let mut scene = Scene::new(20, 20);
    for a in strange {
        for b in strange {
            for stroke in [Stroke::solid(INK, 3.0), Stroke::dashed(INK, 3.0)] {
                scene.line(vec![(5.0, 5.0), (a, b), (b, a)], stroke);
                scene.polygon(vec![(0.0, 0.0), (a, b), (5.0, b)], BLUE, Some(stroke));
                scene.circle((a, b), 3.0, BLUE, Some(stroke));
                scene.circle((5.0, 5.0), a, BLUE, Some(stroke));
            }
            scene.text(Text::new((a, b), "text", 20.0, INK).halo());
            scene.image((a, b), 2.0, Pixels { width: 1, height: 1, rgb: vec![1, 2, 3] });
        }
        scene.line(vec![(a, a)], Stroke::solid(INK, 1.0));
        scene.polygon(vec![(a, a)], BLUE, None);
    }
    scene.line(Vec::new(), Stroke::dashed(INK, 1.0));
    scene.polygon(Vec::new(), INK, Some(Stroke::solid(INK, 1.0)));
    scene.text(Text::new((5.0, 5.0), "long ".repeat(20_000), 20.0, INK).up());
    assert_eq!(png_size(&scene.png()), (20, 20));
    assert!(!scene.svg().contains("NaN"));
    assert_eq!(png_size(&Scene::new(0, 0).png()), (1, 1));
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
    let placed = spread(&[50.0, 52.0, 51.0, 99.0], &[10.0, 10.0, 10.0, 10.0], 0.0, 100.0);
    assert_eq!(placed, [50.0, 70.0, 60.0, 95.0]);
    assert_eq!(spread(&[50.0, 50.0, 99.0], &[40.0, 10.0, 20.0], 0.0, 100.0), [50.0, 75.0, 90.0]);
}

#[test]
fn values_are_written_as_a_reader_expects() {
    assert_eq!(percent(0.9925), "99.25 %");
    assert_eq!([0.25, 45.0, 738.0, 9000.0].map(duration), ["250 ms", "45 s", "12.3 min", "2.5 h"]);
    assert_eq!([950, 60_000, 6_720_000, 12_345_678].map(count), ["950", "60.0 k", "6.72 M", "12.3 M"]);
    assert_eq!([1e-3, 0.01, 3.5e-4, 0.0, 0.0224].map(rate), ["1e-3", "0.01", "3.5e-4", "0", "0.0224"]);
}
