//! NumPy's `.npz`: a zip archive of arrays. Images are bytes `[count, height, width]`, or with channels last or first; labels are
//! integers `[count]` or `[count, 1]`.
//!
//! An array of Python objects is a pickle, which is a program. It is refused and never run.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::{
    format::{Labelled, MOST_BYTES, OwnFormat, Parts, Wishes, check_bytes, check_shape},
    idx::{Channels, arrangement},
};
use crate::{base::words::plural, learn::data::images::ImageShape};

#[derive(Debug)]
pub(super) struct Npz;

/// Names of the arrays, images and labels, by part: the first pair that is there.
const TRAIN: [[&str; 2]; 6] = [
    ["x_train", "y_train"],
    ["train_images", "train_labels"],
    ["X_train", "Y_train"],
    ["images", "labels"],
    ["x", "y"],
    ["X", "y"],
];
const TEST: [[&str; 2]; 3] = [["x_test", "y_test"], ["test_images", "test_labels"], ["X_test", "Y_test"]];

impl OwnFormat for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }

    fn claims(&self, path: &Path) -> bool {
        path.is_file() && path.extension().is_some_and(|extension| extension == "npz")
    }

    fn read(&self, path: &Path, wishes: &Wishes) -> Result<Parts> {
        wishes.check_none(self)?;
        let file = File::open(path).context("cannot open it: it must be an .npz file")?;
        let mut archive =
            ZipArchive::new(BufReader::new(file)).context("no .npz file: it is no zip archive, or damaged")?;
        let names = archive.file_names().map(|name| Ok(name?.trim_end_matches(".npy").to_string()));
        let names = names.collect::<Result<Vec<String>>>().context("its list of arrays is damaged")?;
        let pair = |pairs: &[[&'static str; 2]]| {
            pairs.iter().copied().find(|pair| pair.iter().all(|name| names.iter().any(|there| there == name)))
        };
        let Some(train) = pair(&TRAIN) else {
            let wanted = TRAIN.map(|[images, labels]| format!("{images} and {labels}")).join(", or ");
            bail!("its arrays are {}; there must be {wanted}", names.join(", "));
        };
        let test = pair(&TEST);
        let (shape, train_part) = read_part(&mut archive, train)?;
        let test_part = test.map(|pair| read_part(&mut archive, pair)).transpose()?;
        if let Some((other, _)) = &test_part {
            ensure!(
                *other == shape,
                "its test images are of another size than its training images: {other:?}, {shape:?}"
            );
        }
        let used = [Some(train), test].into_iter().flatten().flatten().collect::<Vec<_>>();
        let unread: Vec<&str> = names.iter().map(String::as_str).filter(|name| !used.contains(name)).collect();
        let notes = if unread.is_empty() { Vec::new() } else { vec![format!("not read: {}", unread.join(", "))] };
        Ok(Parts { shape, train: train_part, test: test_part.map(|(_, part)| part), class_names: None, notes })
    }
}

type Archive = ZipArchive<BufReader<File>>;

fn read_part(archive: &mut Archive, [images, labels]: [&str; 2]) -> Result<(ImageShape, Labelled)> {
    let read = array(archive, labels, |array, reader| array.labels(reader))?;
    let (shape, pixels) = array(archive, images, |array, reader| array.images(reader))?;
    let count = pixels.len() / shape.pixels();
    ensure!(
        count == read.len(),
        "array {images} has {}, and {labels} has {}",
        plural(count, "image"),
        plural(read.len(), "label")
    );
    Ok((shape, Labelled { pixels, labels: read }))
}

/// Reads the array `name` with `read`.
fn array<T>(archive: &mut Archive, name: &str, read: impl FnOnce(Header, &mut dyn Read) -> Result<T>) -> Result<T> {
    let in_array = || format!("array {name}");
    let mut entry = archive.by_name(&format!("{name}.npy")).with_context(in_array)?;
    let header = Header::read(&mut entry).with_context(in_array)?;
    read(header, &mut entry).with_context(in_array)
}

/// What the header of an array says.
#[derive(Debug)]
struct Header {
    /// Of a value: `<`, `>` or `|`, then a letter of its kind, then its bytes.
    kind: String,
    is_fortran: bool,
    sizes: Vec<usize>,
}

/// Bytes of a header, at most.
const LONGEST_HEADER: usize = 1 << 16;

impl Header {
    fn read(reader: &mut dyn Read) -> Result<Header> {
        let mut start = [0; 8];
        let cut = "it ends within its header: cut short, or no NumPy array";
        reader.read_exact(&mut start).context(cut)?;
        ensure!(start.starts_with(b"\x93NUMPY"), "no NumPy array");
        let mut length = [0; 4];
        // Version 1 has a length of two bytes, later ones of four.
        let bytes = if start[6] == 1 { 2 } else { 4 };
        reader.read_exact(&mut length[..bytes]).context(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        ensure!(length <= LONGEST_HEADER, "a header of {length} bytes: damaged");
        let mut text = vec![0; length];
        reader.read_exact(&mut text).context(cut)?;
        let text = String::from_utf8(text).ok().context("its header is no text: damaged")?;
        Header::parse(&text).with_context(|| format!("its header is {}: damaged, or of an unknown kind", text.trim()))
    }

    /// Reads `{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 28), }`.
    fn parse(text: &str) -> Option<Header> {
        let after = |key: &str| Some(text.split_once(&format!("'{key}':"))?.1.trim_start());
        let kind = match after("descr")?.strip_prefix('\'') {
            Some(rest) => rest.split_once('\'')?.0.to_string(),
            // A list of fields.
            None => "records".into(),
        };
        let order = after("fortran_order")?;
        let is_fortran = order.starts_with("True");
        if !is_fortran && !order.starts_with("False") {
            return None;
        }
        let sizes = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
        let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
        let sizes = sizes.map(|size| size.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some(Header { kind, is_fortran, sizes })
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.kind.contains('O'),
            "it holds Python objects, which only running its contents could read: that is not done; save an array of numbers"
        );
        ensure!(!self.is_fortran || self.sizes.len() < 2, "it is in Fortran order; save numpy.ascontiguousarray of it");
        Ok(())
    }

    fn images(self, reader: &mut dyn Read) -> Result<(ImageShape, Vec<u8>)> {
        self.check()?;
        let kind = self.kind.trim_start_matches(['<', '>', '|', '=']);
        ensure!(
            kind == "u1",
            "its values are {:?}; images are bytes of 0 to 255: save images.astype('uint8')",
            self.kind
        );
        let (shape, order) = match *self.sizes.as_slice() {
            [_, height, width] => (ImageShape { channels: 1, height, width }, Channels::First),
            [_, a, b, c] => arrangement(a, b, c)?,
            _ => {
                bail!("{}; images have 3 (count, height, width), or 4 with channels", plural(self.sizes.len(), "size"))
            }
        };
        check_shape(shape).map_err(anyhow::Error::msg)?;
        check_bytes(self.sizes[0], shape).map_err(anyhow::Error::msg)?;
        let pixels = read_exactly(reader, self.sizes[0] * shape.pixels())?;
        Ok((shape, order.first(pixels, shape)))
    }

    fn labels(self, reader: &mut dyn Read) -> Result<Vec<i64>> {
        self.check()?;
        let count = match *self.sizes.as_slice() {
            [count] | [count, 1] => count,
            [count, columns] => {
                bail!("sizes {count} and {columns}; labels are one number an image: save labels.argmax(1)")
            }
            _ => bail!("{}; labels have one (count)", plural(self.sizes.len(), "size")),
        };
        ensure!(count <= MOST_BYTES / 8, "{count} labels are more than a data set can have");
        let kind = self.kind.trim_start_matches(['<', '>', '|', '=']);
        let (width, is_signed) = match kind {
            "u1" | "u2" | "u4" | "u8" => (usize::from(kind.as_bytes()[1] - b'0'), false),
            "i1" | "i2" | "i4" | "i8" => (usize::from(kind.as_bytes()[1] - b'0'), true),
            _ => bail!("its values are {:?}; labels are integers: save labels.astype('int64')", self.kind),
        };
        let is_big = self.kind.starts_with('>');
        let bytes = read_exactly(reader, count * width)?;
        Ok(bytes.chunks_exact(width).map(|value| integer(value, is_signed, is_big)).collect())
    }
}

/// An integer of 1 to 8 bytes.
fn integer(bytes: &[u8], is_signed: bool, is_big: bool) -> i64 {
    let mut little: Vec<u8> = bytes.to_vec();
    if is_big {
        little.reverse();
    }
    let is_negative = is_signed && little.last().is_some_and(|last| last & 0x80 != 0);
    little.resize(8, if is_negative { 0xff } else { 0 });
    i64::from_le_bytes(std::array::from_fn(|at| little[at]))
}

fn read_exactly(reader: &mut dyn Read, expected: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(expected as u64 + 1).read_to_end(&mut bytes).context("cannot read it: damaged or incomplete")?;
    ensure!(bytes.len() == expected, "{} where its header announces {expected}", plural(bytes.len(), "byte"));
    Ok(bytes)
}
