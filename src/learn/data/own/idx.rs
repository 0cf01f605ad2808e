//! IDX files of any size (LeCun): a big-endian header, then the values.
//!
//! The magic number has two zero bytes, one that says what a value is, and the number of sizes that follow. Images are bytes
//! `[count, height, width]`, or with channels last or first. Labels are integers `[count]`, or `[count, columns]` with the class in
//! the first column, as those of QMNIST. Files are named as MNIST's, those of EMNIST and QMNIST with a prefix: `PREFIX-train-images…`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::format::{Labelled, MOST_BYTES, OwnFormat, Parts, Wishes, check_bytes, check_shape};
use crate::{
    base::words::plural,
    learn::data::{file, images::ImageShape},
};

#[derive(Debug)]
pub(super) struct Idx;

impl OwnFormat for Idx {
    fn name(&self) -> &'static str {
        "idx"
    }

    fn claims(&self, path: &Path) -> bool {
        find(path).is_ok_and(|files| !files.is_empty())
    }

    fn read(&self, path: &Path, wishes: &Wishes) -> Result<Parts> {
        wishes.check_none(self)?;
        let files = one_set(path, find(path)?)?;
        let file = |part, kind| files.get(&(part, kind));
        let (shape, train) = match (file(Part::Train, Kind::Images), file(Part::Train, Kind::Labels)) {
            (Some(images), Some(labels)) => read_part(images, labels)?,
            _ => bail!(
                "there must be both images and labels to train on (train-images-idx3-ubyte, train-labels-idx1-ubyte)"
            ),
        };
        let test = match (file(Part::Test, Kind::Images), file(Part::Test, Kind::Labels)) {
            (Some(images), Some(labels)) => {
                let (other, test) = read_part(images, labels)?;
                ensure!(
                    other == shape,
                    "{} holds images of {}×{}×{}, and the training images are {}×{}×{}",
                    images.display(),
                    other.height,
                    other.width,
                    other.channels,
                    shape.height,
                    shape.width,
                    shape.channels
                );
                Some(test)
            }
            (None, None) => None,
            _ => bail!(
                "of images and labels to test on there is only one (t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte)"
            ),
        };
        Ok(Parts { shape, train, test, class_names: None, notes: Vec::new() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Train,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Images,
    Labels,
}

type Files = BTreeMap<(Part, Kind), PathBuf>;

/// The files in `path` or in `raw` below it, by the prefix of their names; where there is no such folder, those in the folder above
/// whose prefix is the last part of the path.
fn find(path: &Path) -> Result<BTreeMap<String, Files>> {
    if path.is_dir() {
        let here = list(path)?;
        let below = path.join("raw");
        return if here.is_empty() && below.is_dir() { list(&below) } else { Ok(here) };
    }
    let (Some(folder), Some(prefix)) = (path.parent().filter(|folder| folder.is_dir()), path.file_name()) else {
        bail!("there is no such folder");
    };
    let prefix = prefix.to_string_lossy();
    let mut found = list(folder)?;
    if !found.contains_key(&*prefix) && folder.join("raw").is_dir() {
        found = list(&folder.join("raw"))?;
    }
    found.retain(|name, _| *name == prefix);
    ensure!(
        !found.is_empty(),
        "there is no such folder, and no files are called {prefix}-train-images-idx3-ubyte or so"
    );
    Ok(found)
}

fn list(folder: &Path) -> Result<BTreeMap<String, Files>> {
    let context = || format!("cannot read {}", folder.display());
    let mut found: BTreeMap<String, Files> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        names.insert(entry.with_context(context)?.file_name().to_string_lossy().into_owned());
    }
    // In order of their names: an inflated file goes before the same one with .gz.
    for name in names {
        if let Some((prefix, part, kind)) = meaning(&name)
            && folder.join(&name).is_file()
        {
            found.entry(prefix).or_default().entry((part, kind)).or_insert_with(|| folder.join(&name));
        }
    }
    Ok(found)
}

/// What a file holds by its name: `PREFIX-train-images-idx3-ubyte`, with dashes or dots, with or without `.gz`.
fn meaning(name: &str) -> Option<(String, Part, Kind)> {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    for (word, kind) in [("images", Kind::Images), ("labels", Kind::Labels)] {
        let Some((before, after)) = name.rsplit_once(word) else { continue };
        let is_idx = after.strip_prefix(['-', '.']).is_some_and(|rest| rest.starts_with("idx"));
        let before = before.strip_suffix(['-', '.']).filter(|_| is_idx)?;
        let parts = [("train", Part::Train), ("t10k", Part::Test), ("test", Part::Test)];
        let (prefix, part) = parts.into_iter().find_map(|(word, part)| Some((before.strip_suffix(word)?, part)))?;
        let prefix = match prefix {
            "" => "",
            prefix => prefix.strip_suffix(['-', '.'])?,
        };
        return Some((prefix.to_string(), part, kind));
    }
    None
}

fn one_set(path: &Path, mut found: BTreeMap<String, Files>) -> Result<Files> {
    let named = |prefix: &String| match prefix.as_str() {
        "" => "one without a prefix".to_string(),
        prefix => format!("{:?}", path.join(prefix).display().to_string()),
    };
    match (found.len(), found.pop_first()) {
        (_, None) => bail!("there are no IDX files: train-images-idx3-ubyte and so on, there or in raw below"),
        (1, Some((_, files))) => Ok(files),
        (_, Some((first, _))) => {
            let sets: Vec<String> = [first].iter().chain(found.keys()).map(named).collect();
            bail!("there are files of several data sets; name one of them as path: {}", sets.join(", "))
        }
    }
}

fn read_part(images: &Path, labels: &Path) -> Result<(ImageShape, Labelled)> {
    let in_file = |path: &Path| format!("{}", path.display());
    let labels_found = read_labels(&mut *file::open(labels)?).with_context(|| in_file(labels))?;
    let (shape, pixels) = read_images(&mut *file::open(images)?).with_context(|| in_file(images))?;
    let count = pixels.len() / shape.pixels();
    ensure!(
        labels_found.len() == count,
        "{} has {}, and {} has {}",
        images.display(),
        plural(count, "image"),
        labels.display(),
        plural(labels_found.len(), "label")
    );
    Ok((shape, Labelled { pixels, labels: labels_found }))
}

/// Shape and pixels `[count, channels, height, width]` of an image file.
fn read_images(reader: &mut dyn Read) -> Result<(ImageShape, Vec<u8>)> {
    let (value, sizes) = header(reader)?;
    ensure!(value == Value::U8, "its values are no bytes; images are bytes of 0 to 255");
    let (shape, order) = match *sizes.as_slice() {
        [_, height, width] => (ImageShape { channels: 1, height, width }, Channels::First),
        [_, a, b, c] => arrangement(a, b, c)?,
        _ => bail!(
            "{} in its header; images have 3 (count, height, width), or 4 with channels",
            plural(sizes.len(), "size")
        ),
    };
    check_shape(shape).map_err(anyhow::Error::msg)?;
    check_bytes(sizes[0], shape).map_err(anyhow::Error::msg)?;
    let pixels = read_values(reader, sizes[0] * shape.pixels())?;
    Ok((shape, order.first(pixels, shape)))
}

/// Labels of an integer file.
fn read_labels(reader: &mut dyn Read) -> Result<Vec<i64>> {
    let (value, sizes) = header(reader)?;
    let columns = match *sizes.as_slice() {
        [_] => 1,
        [_, columns @ 1..=64] => columns,
        _ => bail!("labels have one size in the header (count), or two with the class in the first column"),
    };
    ensure!(sizes[0] <= MOST_BYTES / 64, "{} labels are more than a data set can have", sizes[0]);
    let width = value.bytes();
    let bytes = read_values(reader, sizes[0] * columns * width)?;
    Ok(bytes.chunks_exact(columns * width).map(|row| value.read(row)).collect())
}

/// How the channels of an image stand to its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channels {
    First,
    Last,
}

/// Shape and order of images whose three sizes these are: the size of 1 to 3 is that of the channels; if both ends are that small,
/// the last.
pub(super) fn arrangement(a: usize, b: usize, c: usize) -> Result<(ImageShape, Channels)> {
    match ((1..=3).contains(&a), (1..=3).contains(&c)) {
        (_, true) => Ok((ImageShape { channels: c, height: a, width: b }, Channels::Last)),
        (true, false) => Ok((ImageShape { channels: a, height: b, width: c }, Channels::First)),
        (false, false) => bail!("images of the sizes {a}, {b} and {c}: the first or the last must be 1 to 3 channels"),
    }
}

impl Channels {
    /// Pixels with their channels first.
    pub(super) fn first(self, pixels: Vec<u8>, shape: ImageShape) -> Vec<u8> {
        if self == Channels::First || shape.channels == 1 {
            return pixels;
        }
        let mut planes = Vec::with_capacity(pixels.len());
        for image in pixels.chunks_exact(shape.pixels()) {
            planes.extend((0..shape.channels).flat_map(|channel| image.iter().skip(channel).step_by(shape.channels)));
        }
        planes
    }
}

/// What a value of an IDX file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    U8,
    I8,
    I16,
    I32,
}

impl Value {
    fn bytes(self) -> usize {
        match self {
            Value::U8 | Value::I8 => 1,
            Value::I16 => 2,
            Value::I32 => 4,
        }
    }

    /// The first value of a row.
    fn read(self, row: &[u8]) -> i64 {
        match self {
            Value::U8 => i64::from(row[0]),
            Value::I8 => i64::from(row[0].cast_signed()),
            Value::I16 => i64::from(i16::from_be_bytes([row[0], row[1]])),
            Value::I32 => i64::from(i32::from_be_bytes([row[0], row[1], row[2], row[3]])),
        }
    }
}

/// What the values are, and the sizes.
fn header(reader: &mut dyn Read) -> Result<(Value, Vec<usize>)> {
    let mut word = || -> Result<u32> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).context("it ends within its header: cut short, or no IDX file")?;
        Ok(u32::from_be_bytes(bytes))
    };
    let magic = word()?;
    let value = match magic >> 8 {
        0x08 => Value::U8,
        0x09 => Value::I8,
        0x0b => Value::I16,
        0x0c => Value::I32,
        0x0d | 0x0e => bail!("its values are floating-point numbers; images are bytes, and labels are integers"),
        _ => bail!(
            "no IDX file: it starts with 0x{magic:08x}, where 0x00000803 (images) or 0x00000801 (labels) was expected"
        ),
    };
    let count = magic & 0xff;
    ensure!((1..=4).contains(&count), "{count} sizes in its header; IDX files of images and labels have 1 to 4");
    let sizes = (0..count).map(|_| Ok(word()? as usize)).collect::<Result<Vec<_>>>()?;
    Ok((value, sizes))
}

/// The values behind the header: neither more nor fewer.
fn read_values(reader: &mut dyn Read, expected: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(expected as u64 + 1).read_to_end(&mut bytes).context("cannot read it: damaged or incomplete")?;
    let found = plural(bytes.len(), "byte");
    ensure!(bytes.len() <= expected, "more than the {expected} bytes that its header announces");
    ensure!(bytes.len() == expected, "{found} behind the header, which announces {expected}: cut short");
    Ok(bytes)
}
