mod attribution;
mod axis;
mod commands;
mod curves;
mod front;
mod gallery;
mod lr_find;
mod reconstructions;
mod scene;
mod schedule;
pub mod studies;

/// Width and height that a PNG's header says.
fn png_size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// The red, green and blue of a PNG's pixel.
fn pixel(png: &[u8], (x, y): (usize, usize)) -> [u8; 3] {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let at = 3 * (y * reader.info().width as usize + x);
    pixels[at..at + 3].try_into().unwrap()
}

/// Texts of an SVG: each stands on the line after its tag.
fn texts(svg: &str) -> Vec<&str> {
    svg.lines().zip(svg.lines().skip(1)).filter(|(tag, _)| tag.starts_with("<text")).map(|(_, text)| text).collect()
}
