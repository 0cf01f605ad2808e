//! Glyphs: procedural digits drawn as strokes, 28 × 28 pixels of one channel, in ten classes.
//!
//! Each image takes one of a digit's ways of writing, moves its control points, and gives it a pose
//! (rotation, scale, shear, bend, translation), a pen (width, pressure, ink) and noise. Poses vary
//! enough that a linear classifier stays near 71 % where a small convolutional network passes 98 %.
//!
//! Only sums, products, quotients and square roots are used, which IEEE 754 fixes to the bit; so the
//! images are the same on every machine.

mod shapes;

use rand_chacha::{ChaCha8Rng, rand_core::RngCore};
use rayon::prelude::*;

use self::shapes::{Line, Point, Stroke};
use crate::{
    base::rng,
    learn::data::{
        descriptor::{Descriptor, Origin, Part},
        images::{ImageShape, Images},
    },
};

pub static SET: Descriptor = Descriptor {
    name: "glyphs",
    shape: ImageShape { channels: 1, height: SIDE, width: SIDE },
    class_names: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    // They can be drawn without end, within what memory holds.
    available: (1_000_000, 1_000_000),
    default_samples: (5000, 1000),
    origin: Origin::Drawn(draw),
};

const SIDE: usize = 28;

/// Draws the first `count` images of a part. Image `i` is of class `i mod 10`, and a pure function of
/// (`seed`, `part`, `i`).
pub fn draw(seed: u64, part: Part, count: usize) -> Images {
    let purpose = match part {
        Part::Train => "glyphs train",
        Part::Test => "glyphs test",
    };
    let mut pixels = vec![0; count * SIDE * SIDE];
    pixels.par_chunks_exact_mut(SIDE * SIDE).enumerate().for_each(|(index, image)| {
        draw_digit(index % shapes::DIGITS, &mut rng::stream(seed, purpose, index as u64), image);
    });
    Images { pixels, labels: (0..count).map(|index| (index % shapes::DIGITS) as u8).collect() }
}

fn draw_digit(digit: usize, rng: &mut ChaCha8Rng, image: &mut [u8]) {
    let ways = shapes::ways(digit);
    let strokes = ways[(rng.next_u32() as usize) % ways.len()];
    let pose = Pose::draw(rng);
    let pen = Pen { radius: uniform(rng, 0.75, 1.55), ink: uniform(rng, 0.75, 1.0) };
    let mut canvas = [0.0; SIDE * SIDE];
    for stroke in strokes {
        let line = trace(stroke, rng).into_iter().map(|point| pose.apply(point)).collect::<Vec<Point>>();
        let (start, end) = (uniform(rng, 0.75, 1.15), uniform(rng, 0.75, 1.15));
        let steps = (line.len() - 1) as f32;
        for (step, ends) in line.windows(2).enumerate() {
            let pressure = start + (end - start) * (step as f32 / steps);
            draw_segment(&mut canvas, ends[0], ends[1], pen.radius * pressure);
        }
    }
    let noise = uniform(rng, 0.0, 0.08);
    for (byte, coverage) in image.iter_mut().zip(canvas) {
        let value = coverage * pen.ink + noise * bell(rng);
        *byte = (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    }
}

struct Pen {
    /// In pixels.
    radius: f32,
    /// Brightness of full coverage.
    ink: f32,
}

/// From a digit's own coordinates (the height is -1..=1) to pixels.
struct Pose {
    bend: [f32; 2],
    /// Row-major; scale, shear and rotation.
    matrix: [f32; 4],
    translation: [f32; 2],
}

impl Pose {
    fn draw(rng: &mut ChaCha8Rng) -> Pose {
        let bend = [uniform(rng, -0.2, 0.2), uniform(rng, -0.2, 0.2)];
        let (width, height) = (uniform(rng, 6.0, 9.0), uniform(rng, 6.5, 9.0));
        let shear = uniform(rng, -0.25, 0.25);
        // The tangent of half the angle gives its sine and cosine without trigonometry: ±20°.
        let half = uniform(rng, -0.18, 0.18);
        let (sin, cos) = (2.0 * half / (1.0 + half * half), (1.0 - half * half) / (1.0 + half * half));
        let matrix = [cos * width, (cos * shear - sin) * height, sin * width, (sin * shear + cos) * height];
        let centre = SIDE as f32 / 2.0;
        let translation = [centre + uniform(rng, -2.8, 2.8), centre + uniform(rng, -2.8, 2.8)];
        Pose { bend, matrix, translation }
    }

    fn apply(&self, [x, y]: Point) -> Point {
        let (x, y) = (x + self.bend[0] * (y * y - 0.4), y + self.bend[1] * x * 2.0 * x);
        let [a, b, c, d] = self.matrix;
        [a * x + b * y + self.translation[0], c * x + d * y + self.translation[1]]
    }
}

/// A stroke as a line of points close together, its control points moved at random.
fn trace(stroke: &Stroke, rng: &mut ChaCha8Rng) -> Vec<Point> {
    let moved: Vec<Point> =
        stroke.points.iter().map(|&[x, y]| [x + 0.065 * bell(rng), y + 0.065 * bell(rng)]).collect();
    let last = moved.len() - 1;
    // Neighbours before the first and after the last point of a span.
    let at = |index: isize| match stroke.line {
        Line::Closed => moved[index.rem_euclid(moved.len() as isize) as usize],
        _ => moved[index.clamp(0, last as isize) as usize],
    };
    let (spans, steps) = match stroke.line {
        Line::Straight => return moved,
        Line::Curved => (last, 6),
        Line::Closed => (last + 1, 6),
    };
    let mut line = Vec::with_capacity(spans * steps + 1);
    for span in 0..spans as isize {
        let points = [at(span - 1), at(span), at(span + 1), at(span + 2)];
        line.extend((0..steps).map(|step| catmull_rom(points, step as f32 / steps as f32)));
    }
    line.push(at(spans as isize));
    line
}

/// The uniform Catmull-Rom spline from the second to the third of four points, at `t` in 0..=1.
fn catmull_rom(points: [Point; 4], t: f32) -> Point {
    std::array::from_fn(|axis| {
        let [before, from, to, after] = points.map(|point| point[axis]);
        let (linear, square) = (to - before, 2.0 * before - 5.0 * from + 4.0 * to - after);
        let cube = 3.0 * (from - to) + after - before;
        from + 0.5 * t * (linear + t * (square + t * cube))
    })
}

/// Draws a segment with round ends, its edge anti-aliased over one pixel.
fn draw_segment(canvas: &mut [f32; SIDE * SIDE], from: Point, to: Point, radius: f32) {
    let reach = radius + 0.5;
    let range = |a: f32, b: f32| {
        let low = (a.min(b) - reach - 0.5).max(0.0) as usize;
        let high = (a.max(b) + reach + 0.5).clamp(0.0, SIDE as f32) as usize;
        low..high.max(low)
    };
    let along = [to[0] - from[0], to[1] - from[1]];
    let square = along[0] * along[0] + along[1] * along[1];
    for y in range(from[1], to[1]) {
        for x in range(from[0], to[0]) {
            let offset = [x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]];
            let projection = offset[0] * along[0] + offset[1] * along[1];
            let share = if square > 0.0 { (projection / square).clamp(0.0, 1.0) } else { 0.0 };
            let [dx, dy] = [offset[0] - share * along[0], offset[1] - share * along[1]];
            let coverage = (reach - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
            let pixel = &mut canvas[y * SIDE + x];
            *pixel = pixel.max(coverage);
        }
    }
}

/// Uniform in `low..high`.
fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * ((rng.next_u32() >> 8) as f32 / 16_777_216.0)
}

/// Bell-shaped with mean 0 and standard deviation 1: the sum of four uniform bytes.
fn bell(rng: &mut ChaCha8Rng) -> f32 {
    let sum: u16 = rng.next_u32().to_le_bytes().into_iter().map(u16::from).sum();
    // The variance of a byte is (256² - 1) / 12; four of them have the standard deviation 147.8.
    (f32::from(sum) - 510.0) / 147.8
}
