//! Paints a [`Scene`] as PNG with plotters' bitmap backend.
//!
//! Plotters draws on whole pixels, smooths edges on one side only and lets lines overlap themselves. Hence its canvas has
//! several samples per pixel and direction, and the picture is their mean. A line is a polygon per segment and a disc per
//! bend, which is a round join; a sample belongs to it wholly or not at all, and once.

use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters_backend::{BackendColor, BackendCoord, DrawingErrorKind};

use super::canvas::{Area, Pixels, Point, Scene, Shape, Stroke};
use super::lettering::{Lettering, unit};
use super::style::Colour;

/// Samples per pixel and direction; half of them for a picture of more pixels than [`LARGE`], as those are finer anyway.
const SAMPLES: usize = 4;
const LARGE: u64 = 4_000_000;
/// Nothing this far from the page, in pixels, is told apart from what is farther.
const FAR: f64 = 1e6;

/// The text that says in each picture what drew it, by its keyword.
const SOFTWARE: [&str; 2] = ["Software", "fastrcaps"];
/// Bytes at the start of a picture among which that text stands.
const HEAD: usize = 256;

type Drawn = Result<(), DrawingErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>>;

pub(super) fn encode(scene: &Scene) -> Vec<u8> {
    let is_large = u64::from(scene.width) * u64::from(scene.height) > LARGE;
    if is_large { sampled::<{ SAMPLES / 2 }>(scene) } else { sampled::<SAMPLES>(scene) }
}

/// The picture by `N` samples per pixel and direction.
fn sampled<const N: usize>(scene: &Scene) -> Vec<u8> {
    let (width, height) = (scene.width.max(1), scene.height.max(1));
    let (wide, high) = (width * N as u32, height * N as u32);
    let page = [scene.page.red, scene.page.green, scene.page.blue];
    let mut samples = page.repeat(wide as usize * high as usize);
    let mut canvas = Canvas {
        bitmap: BitMapBackend::with_buffer(&mut samples, (wide, high)),
        scale: N as f64,
        area: Area::new(0.0, 0.0, f64::from(width), f64::from(height)),
        page: scene.page,
        touched: vec![0; wide as usize * high as usize],
        stroke: 0,
        opacity: 1.0,
    };
    for shape in &scene.shapes {
        canvas.draw(shape).expect("drawing into memory cannot fail");
    }
    drop(canvas);
    compress(width, height, scene.dpi, &means::<N>(&samples, width as usize))
}

/// An image alone, as PNG at its own size.
pub(super) fn encode_pixels(pixels: &Pixels) -> Vec<u8> {
    let mut rgb = pixels.rgb.clone();
    let (width, height) = (pixels.width.max(1), pixels.height.max(1));
    rgb.resize(3 * width * height, u8::MAX);
    compress(width as u32, height as u32, None, &rgb)
}

fn compress(width: u32, height: u32, dpi: Option<u32>, rgb: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    // Even areas and repeated letters compress best as they are.
    encoder.set_filter(png::Filter::NoFilter);
    let per_metre = |dpi: u32| (f64::from(dpi) / 0.0254).round() as u32;
    let dims = dpi.map(per_metre).map(|dots| png::PixelDimensions { xppu: dots, yppu: dots, unit: png::Unit::Meter });
    encoder.set_pixel_dims(dims);
    let [keyword, program] = SOFTWARE.map(String::from);
    encoder.add_text_chunk(keyword, program).expect("a chunk goes into memory");
    let mut writer = encoder.write_header().expect("a header goes into memory");
    writer.write_image_data(rgb).expect("there are three bytes per pixel");
    drop(writer);
    bytes
}

/// Whether a file's bytes are those of a picture that this program drew.
pub fn is_own(bytes: &[u8]) -> bool {
    let text = format!("tEXt{}", SOFTWARE.join("\0"));
    bytes.starts_with(b"\x89PNG") && bytes[..bytes.len().min(HEAD)].windows(text.len()).any(|at| at == text.as_bytes())
}

/// The mean of each pixel's samples.
fn means<const N: usize>(samples: &[u8], width: usize) -> Vec<u8> {
    let row = 3 * N * width;
    let mut means = Vec::with_capacity(samples.len() / (N * N));
    let mut sums = vec![0_u16; row];
    for rows in samples.chunks_exact(row * N) {
        sums.fill(0);
        for row in rows.chunks_exact(row) {
            sums.iter_mut().zip(row).for_each(|(sum, sample)| *sum += u16::from(*sample));
        }
        for pixel in sums.chunks_exact(3 * N) {
            let all = (N * N) as u16;
            let sum = |at: usize| (0..N).map(|sample| pixel[3 * sample + at]).sum::<u16>();
            means.extend([0, 1, 2].map(|at| ((sum(at) + all / 2) / all) as u8));
        }
    }
    means
}

/// Plotters' canvas of samples. Areas and texts go to its bitmap as they are, the parts of a stroke through
/// [`Canvas::draw_pixel`], so that they touch a sample once, however they overlap.
struct Canvas<'a> {
    bitmap: BitMapBackend<'a>,
    /// Samples per pixel and direction.
    scale: f64,
    /// The page in pixels.
    area: Area,
    page: Colour,
    /// The last stroke that touched each sample.
    touched: Vec<u8>,
    stroke: u8,
    /// Of the current stroke, whose parts are drawn in full colour.
    opacity: f64,
}

impl Canvas<'_> {
    fn draw(&mut self, shape: &Shape) -> Drawn {
        match shape {
            Shape::Line { points, stroke } => self.stroke(points, stroke),
            Shape::Polygon { points, fill, outline } => {
                self.fill(points, *fill)?;
                // Over its start, so that the line has a join there.
                let around: Vec<Point> = points.iter().chain(points.iter().take(2)).copied().collect();
                outline.map_or(Ok(()), |outline| self.stroke(&around, &outline))
            }
            Shape::Circle { centre, radius, fill, outline } => {
                let scale = self.scale;
                disc(&mut self.bitmap, scale, *centre, *radius, *fill)?;
                let Some(outline) = outline else { return Ok(()) };
                // What is touched without a trace stays as it is.
                self.begin(outline.colour.opacity(0.0));
                disc(self, scale, *centre, radius - outline.width / 2.0, solid(outline.colour))?;
                self.opacity = outline.colour.opacity;
                disc(self, scale, *centre, radius + outline.width / 2.0, solid(outline.colour))
            }
            Shape::Text(text) => {
                let style = Lettering::new(text, self.scale, self.page);
                self.bitmap.draw_text(&text.text, &style, style.place())
            }
            Shape::Image { at, scale, pixels } => self.image(*at, *scale, pixels),
        }
    }

    fn begin(&mut self, colour: Colour) {
        self.stroke = self.stroke.checked_add(1).unwrap_or_else(|| {
            self.touched.fill(0);
            1
        });
        self.opacity = colour.opacity;
    }

    fn stroke(&mut self, points: &[Point], stroke: &Stroke) -> Drawn {
        self.begin(stroke.colour);
        let within = |(x, y): &Point| (x.clamp(-FAR, FAR), y.clamp(-FAR, FAR));
        let points: Vec<Point> = points.iter().filter(|(x, y)| !x.is_nan() && !y.is_nan()).map(within).collect();
        for piece in self.area.grown(2.0 * stroke.width).clip_line(&points) {
            let dashes = match stroke.dash.pattern() {
                None => vec![piece],
                Some(pattern) => dashes(&piece, pattern),
            };
            let scale = self.scale;
            for dash in dashes {
                for ends in dash.windows(2) {
                    self.segment(ends[0], ends[1], stroke)?;
                }
                for bend in dash.iter().skip(1).take(dash.len().saturating_sub(2)) {
                    disc(self, scale, *bend, stroke.width / 2.0, solid(stroke.colour))?;
                }
            }
        }
        Ok(())
    }

    /// A line from one point to another as the polygon around it.
    fn segment(&mut self, from: Point, to: Point, stroke: &Stroke) -> Drawn {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        if !(length > 0.0) {
            return Ok(());
        }
        // Plotters' polygons hold the samples at their border too, but for the right one of a slanting steep line.
        let border = if dy.abs() > dx.abs() && dx != 0.0 { 0.25 } else { 0.5 };
        let slant = dx.abs().max(dy.abs()) / length;
        let half = (stroke.width / 2.0 - border * slant / self.scale).max(0.0) / length;
        let (across, down) = (-dy * half, dx * half);
        let scale = self.scale;
        let corner = |(x, y): Point, side: f64| sample(scale, (x + across * side, y + down * side));
        self.fill_polygon(
            [corner(from, 1.0), corner(to, 1.0), corner(to, -1.0), corner(from, -1.0)],
            &solid(stroke.colour),
        )
    }

    fn fill(&mut self, points: &[Point], colour: Colour) -> Drawn {
        // Within a page's distance of the page, as plotters walks along all of a polygon.
        let reach = self.area.grown(self.area.width().max(self.area.height()));
        let within = |(x, y): &Point| (x.clamp(reach.left, reach.right), y.clamp(reach.top, reach.bottom));
        let points = points.iter().filter(|(x, y)| !x.is_nan() && !y.is_nan());
        let scale = self.scale;
        let points = points.map(within).map(|point| sample(scale, point));
        self.bitmap.fill_polygon(points, &BackendColor::from(colour))
    }

    fn image(&mut self, at: Point, scale: f64, pixels: &Pixels) -> Drawn {
        for (index, rgb) in pixels.rgb.chunks_exact(3).take(pixels.width * pixels.height).enumerate() {
            let (column, row) = ((index % pixels.width) as f64, (index / pixels.width) as f64);
            let corner = |right: f64, down: f64| {
                (unit(at.0 + (column + right) * scale, self.scale), unit(at.1 + (row + down) * scale, self.scale))
            };
            let colour = BackendColor { alpha: 1.0, rgb: (rgb[0], rgb[1], rgb[2]) };
            self.bitmap.draw_rect(corner(0.0, 0.0), corner(1.0, 1.0), &colour, true)?;
        }
        Ok(())
    }
}

/// A filled circle; none that is larger than the page, as plotters walks along all of it.
fn disc<B: DrawingBackend>(
    backend: &mut B,
    scale: f64,
    centre: Point,
    radius: f64,
    colour: impl Into<BackendColor>,
) -> Result<(), DrawingErrorKind<B::ErrorType>> {
    let (width, height) = backend.get_size();
    let largest = f64::from(width.max(height)) / scale;
    if !(0.0..=largest).contains(&radius) || centre.0.is_nan() || centre.1.is_nan() {
        return Ok(());
    }
    backend.draw_circle(sample(scale, centre), (radius * scale - 0.5).max(0.0) as u32, &colour.into(), true)
}

/// The sample whose middle is nearest to a point.
fn sample(scale: f64, (x, y): Point) -> BackendCoord {
    (unit(x - 0.5 / scale, scale), unit(y - 0.5 / scale, scale))
}

fn solid(colour: Colour) -> BackendColor {
    colour.opacity(1.0).into()
}

/// The dashes along a line.
fn dashes(points: &[Point], (on, off): (f64, f64)) -> Vec<Vec<Point>> {
    let mut dashes = Vec::new();
    let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawn, mut left) = (true, on);
    for ends in points.windows(2) {
        let ((mut x, mut y), end) = (ends[0], ends[1]);
        loop {
            let length = (end.0 - x).hypot(end.1 - y);
            if !(length > left) {
                left -= length;
                dash.push(end);
                break;
            }
            (x, y) = (x + (end.0 - x) * left / length, y + (end.1 - y) * left / length);
            dash.push((x, y));
            if drawn {
                dashes.push(std::mem::take(&mut dash));
            }
            dash = vec![(x, y)];
            drawn = !drawn;
            left = if drawn { on } else { off };
        }
    }
    if drawn {
        dashes.push(dash);
    }
    dashes
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = <BitMapBackend<'static> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.bitmap.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        self.bitmap.ensure_prepared()
    }

    fn present(&mut self) -> Drawn {
        self.bitmap.present()
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Drawn {
        let (width, height) = self.get_size();
        let inside = x >= 0 && y >= 0 && (x as u32) < width && (y as u32) < height;
        // The alpha is plotters' estimate of how much of the sample is covered.
        if !inside || colour.alpha < 0.5 {
            return Ok(());
        }
        let touched = &mut self.touched[y as usize * width as usize + x as usize];
        if std::mem::replace(touched, self.stroke) == self.stroke {
            return Ok(());
        }
        self.bitmap.draw_pixel((x, y), BackendColor { alpha: self.opacity, ..colour })
    }
}
