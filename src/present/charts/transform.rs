//! A scene made larger or smaller, and in other colours; the room that a text takes.

use super::canvas::{Anchor, Area, Dash, Point, Scene, Shape, Stroke, Text, Turn};
use super::font;
use super::style::Colour;

impl Scene {
    /// The scene in the middle of a page of another size, as large as fits there.
    pub fn fitted(&self, width: u32, height: u32) -> Scene {
        let scale =
            (f64::from(width) / f64::from(self.width.max(1))).min(f64::from(height) / f64::from(self.height.max(1)));
        let shift = |page: u32, own: u32| (f64::from(page) - scale * f64::from(own)) / 2.0;
        let (right, down) = (shift(width, self.width), shift(height, self.height));
        let place = |(x, y): Point| (scale * x + right, scale * y + down);
        let shapes = self.shapes.iter().map(|shape| scaled(shape, scale, &place)).collect();
        Scene { width, height, shapes, ..*self }
    }

    /// The scene with every colour, the page's too, as `new` says; photographs stay as they are.
    pub fn recoloured(&self, new: impl Fn(Colour) -> Colour) -> Scene {
        let pen = |stroke: Stroke| Stroke { colour: new(stroke.colour), ..stroke };
        let shape = |shape: &Shape| match shape.clone() {
            Shape::Line { points, stroke } => Shape::Line { points, stroke: pen(stroke) },
            Shape::Polygon { points, fill, outline } => {
                Shape::Polygon { points, fill: new(fill), outline: outline.map(pen) }
            }
            Shape::Circle { centre, radius, fill, outline } => {
                Shape::Circle { centre, radius, fill: new(fill), outline: outline.map(pen) }
            }
            Shape::Text(text) => Shape::Text(Text { colour: new(text.colour), ..text }),
            image @ Shape::Image { .. } => image,
        };
        Scene { page: new(self.page), shapes: self.shapes.iter().map(shape).collect(), ..*self }
    }
}

fn scaled(shape: &Shape, scale: f64, place: &impl Fn(Point) -> Point) -> Shape {
    let pen = |stroke: Stroke| {
        let dash = stroke.dash.pattern().map_or(Dash::Solid, |(on, off)| Dash::Of(on * scale, off * scale));
        Stroke { width: stroke.width * scale, dash, ..stroke }
    };
    let all = |points: &[Point]| points.iter().copied().map(place).collect();
    match shape {
        Shape::Line { points, stroke } => Shape::Line { points: all(points), stroke: pen(*stroke) },
        Shape::Polygon { points, fill, outline } => {
            Shape::Polygon { points: all(points), fill: *fill, outline: outline.map(pen) }
        }
        Shape::Circle { centre, radius, fill, outline } => {
            Shape::Circle { centre: place(*centre), radius: radius * scale, fill: *fill, outline: outline.map(pen) }
        }
        Shape::Text(text) => {
            let (at, size, halo) = (place(text.at), text.size * scale, text.halo * scale);
            Shape::Text(Text { at, size, halo, ..text.clone() })
        }
        Shape::Image { at, scale: of, pixels } => {
            Shape::Image { at: place(*at), scale: of * scale, pixels: pixels.clone() }
        }
    }
}

impl Text {
    /// The box around its letters, from above the tall ones to below those that hang.
    pub fn area(&self) -> Area {
        let width = font::width(&self.text, self.weight, self.size);
        let before = match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        };
        let (above, below) = (0.74 * self.size, 0.2 * self.size);
        let (x, y) = self.at;
        match self.turn {
            Turn::Across => Area { left: x - before, top: y - above, right: x - before + width, bottom: y + below },
            Turn::Up => Area { left: x - above, top: y + before - width, right: x + below, bottom: y + before },
        }
    }
}
