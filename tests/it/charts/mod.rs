mod axis;
mod curves;
mod front;
mod lr_find;
mod reconstructions;
mod scene;
mod schedule;

/// Width and height that a PNG's header says.
fn png_size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Texts of an SVG.
fn texts(svg: &str) -> Vec<&str> {
    svg.lines()
        .filter(|line| line.starts_with("<text"))
        .map(|line| line.split_once('>').unwrap().1.strip_suffix("</text>").unwrap())
        .collect()
}
