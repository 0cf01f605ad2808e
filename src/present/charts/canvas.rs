//! The display list every chart draws into: a [`Scene`] of few shapes in pixels, which `encode.rs` paints.

use super::style::{Colour, WHITE};

/// A point in pixels: x to the right, y down.
pub type Point = (f64, f64);

/// A picture as a list of shapes, painted in order on its page.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub width: u32,
    pub height: u32,
    /// Colour of the page, and of what stands around letters.
    pub page: Colour,
    /// Dots per inch that the file names, where the picture is meant for paper.
    pub dpi: Option<u32>,
    pub shapes: Vec<Shape>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Line {
        points: Vec<Point>,
        stroke: Stroke,
    },
    Polygon {
        points: Vec<Point>,
        fill: Colour,
        outline: Option<Stroke>,
    },
    Circle {
        centre: Point,
        radius: f64,
        fill: Colour,
        outline: Option<Stroke>,
    },
    Text(Text),
    /// A raster image, each of its pixels a square of `scale`.
    Image {
        at: Point,
        scale: f64,
        pixels: Pixels,
    },
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    pub colour: Colour,
    pub width: f64,
    pub dash: Dash,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dash {
    Solid,
    Dashed,
    Dotted,
    /// Of any length: a dash, the gap after it.
    Of(f64, f64),
}

impl Dash {
    /// Length of a dash and of the gap after it; none where there are none.
    pub(super) fn pattern(self) -> Option<(f64, f64)> {
        match self {
            Dash::Solid => None,
            Dash::Dashed => Some((9.0, 6.0)),
            Dash::Dotted => Some((3.0, 4.0)),
            Dash::Of(on, off) => Some((on, off)),
        }
    }
}

/// One line of text; `at` is on the baseline, at the text's start, middle or end as `anchor` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub at: Point,
    pub text: String,
    /// Font size in pixels per em.
    pub size: f64,
    pub weight: Weight,
    pub colour: Colour,
    pub anchor: Anchor,
    pub turn: Turn,
    /// Width of a rim in the page's colour around the letters, for text over lines; 0 for none.
    pub halo: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Regular,
    Bold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Whether a text reads from left to right or from the bottom up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Across,
    Up,
}

/// 8-bit RGB, row by row: `rgb.len() == 3 × width × height`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

impl Stroke {
    pub fn solid(colour: Colour, width: f64) -> Stroke {
        Stroke { colour, width, dash: Dash::Solid }
    }

    pub fn dashed(colour: Colour, width: f64) -> Stroke {
        Stroke { colour, width, dash: Dash::Dashed }
    }
}

impl Text {
    pub fn new(at: Point, text: impl Into<String>, size: f64, colour: Colour) -> Text {
        let (weight, anchor, turn) = (Weight::Regular, Anchor::Start, Turn::Across);
        Text { at, text: text.into(), size, weight, colour, anchor, turn, halo: 0.0 }
    }

    pub fn bold(self) -> Text {
        Text { weight: Weight::Bold, ..self }
    }

    pub fn anchor(self, anchor: Anchor) -> Text {
        Text { anchor, ..self }
    }

    pub fn halo(self) -> Text {
        Text { halo: 3.0, ..self }
    }

    pub fn up(self) -> Text {
        Text { turn: Turn::Up, ..self }
    }
}

impl Scene {
    pub fn new(width: u32, height: u32) -> Scene {
        Scene { width, height, page: WHITE, dpi: None, shapes: Vec::new() }
    }

    pub fn line(&mut self, points: Vec<Point>, stroke: Stroke) {
        self.shapes.push(Shape::Line { points, stroke });
    }

    pub fn polygon(&mut self, points: Vec<Point>, fill: Colour, outline: Option<Stroke>) {
        self.shapes.push(Shape::Polygon { points, fill, outline });
    }

    pub fn circle(&mut self, centre: Point, radius: f64, fill: Colour, outline: Option<Stroke>) {
        self.shapes.push(Shape::Circle { centre, radius, fill, outline });
    }

    pub fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    pub fn image(&mut self, at: Point, scale: f64, pixels: Pixels) {
        self.shapes.push(Shape::Image { at, scale, pixels });
    }
}

/// An axis-aligned box in pixels, `left <= right`, `top <= bottom`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub fn new(left: f64, top: f64, width: f64, height: f64) -> Area {
        Area { left, top, right: left + width, bottom: top + height }
    }

    /// The square around a point.
    pub fn around((x, y): Point, radius: f64) -> Area {
        Area { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub fn overlaps(&self, other: &Area) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    pub fn contains(&self, other: &Area) -> bool {
        self.left <= other.left && self.top <= other.top && other.right <= self.right && other.bottom <= self.bottom
    }

    pub fn grown(&self, by: f64) -> Area {
        Area { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    /// The part of the segment from `a` to `b` inside the box (Liang and Barsky 1984).
    pub fn clip(&self, a: Point, b: Point) -> Option<(Point, Point)> {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        let edges = [(-dx, a.0 - self.left), (dx, self.right - a.0), (-dy, a.1 - self.top), (dy, self.bottom - a.1)];
        for (towards, distance) in edges {
            if towards == 0.0 {
                if distance < 0.0 {
                    return None;
                }
            } else if towards < 0.0 {
                enter = enter.max(distance / towards);
            } else {
                leave = leave.min(distance / towards);
            }
        }
        let at = |share: f64| (a.0 + dx * share, a.1 + dy * share);
        (enter <= leave).then(|| (at(enter), at(leave)))
    }

    /// The part of a polygon inside the box (Sutherland and Hodgman 1974).
    pub fn clip_polygon(&self, corners: &[Point]) -> Vec<Point> {
        let crossing = |a: f64, b: f64, at: f64| if b == a { 0.0 } else { (at - a) / (b - a) };
        let between = |a: Point, b: Point, share: f64| (a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share);
        let mut left: Vec<Point> = corners.to_vec();
        for (edge, is_x, is_upper) in
            [(self.left, true, false), (self.right, true, true), (self.top, false, false), (self.bottom, false, true)]
        {
            let along = |of: Point| if is_x { of.0 } else { of.1 };
            let inside = |of: Point| if is_upper { along(of) <= edge } else { along(of) >= edge };
            let mut kept = Vec::new();
            for (index, &to) in left.iter().enumerate() {
                let from = left[(index + left.len() - 1) % left.len()];
                if inside(from) != inside(to) {
                    kept.push(between(from, to, crossing(along(from), along(to), edge)));
                }
                kept.extend(inside(to).then_some(to));
            }
            left = kept;
        }
        left
    }

    /// The pieces of a polyline inside the box.
    pub fn clip_line(&self, points: &[Point]) -> Vec<Vec<Point>> {
        let mut pieces: Vec<Vec<Point>> = Vec::new();
        for pair in points.windows(2) {
            let Some((from, to)) = self.clip(pair[0], pair[1]) else { continue };
            match pieces.last_mut() {
                Some(piece) if piece.last() == Some(&from) => piece.push(to),
                _ => pieces.push(vec![from, to]),
            }
        }
        pieces
    }
}
