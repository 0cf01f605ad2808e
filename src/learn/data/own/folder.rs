//! A folder of PNG and JPEG files for each class: `CLASS/…`, or `train/CLASS/…` and, where there is a test part, `test/CLASS/…`.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageReader, Limits,
    imageops::{self, FilterType},
};
use rayon::prelude::*;

use super::format::{Labelled, OwnFormat, Parts, Wishes, check_bytes, check_classes, check_shape};
use crate::{base::words::plural, learn::data::images::ImageShape};

#[derive(Debug)]
pub(super) struct Folder;

/// Pixels that a picture may be high or wide, before it is resized.
const LARGEST_SIDE: u32 = 16_384;
/// Bytes that a picture may take while it is decoded.
const LARGEST_PICTURE: u64 = 512 << 20;
/// Files that are left alone wherever they lie, beside hidden ones.
const LEFT_ALONE: [&str; 2] = ["Thumbs.db", "desktop.ini"];

impl OwnFormat for Folder {
    fn name(&self) -> &'static str {
        "folder"
    }

    fn claims(&self, path: &Path) -> bool {
        entries(path).is_ok_and(|entries| entries.iter().any(|entry| entry.is_dir()))
    }

    fn read(&self, path: &Path, wishes: &Wishes) -> Result<Parts> {
        // Threads of its own: how many train is decided after the images have been looked at.
        let threads = rayon::ThreadPoolBuilder::new().build().context("cannot start threads to decode pictures")?;
        threads.install(|| read(path, wishes))
    }
}

fn read(path: &Path, wishes: &Wishes) -> Result<Parts> {
    let mut notes = Vec::new();
    let (train, test) = places(path, &mut notes)?;
    let class_names = classes(&train)?;
    check_classes(class_names.len()).map_err(anyhow::Error::msg)?;
    let train = files(&train, &class_names, &mut notes)?;
    let test = test.map(|test| test_files(&test, &class_names, &mut notes)).transpose()?;
    let all: Vec<&PictureFile> = train.iter().chain(test.iter().flatten()).collect();
    let shape = common_shape(&all, wishes)?;
    check_shape(shape).map_err(anyhow::Error::msg)?;
    check_bytes(all.len(), shape).map_err(anyhow::Error::msg)?;
    let test = test.as_deref().map(|test| decode(test, shape)).transpose()?;
    Ok(Parts { shape, train: decode(&train, shape)?, test, class_names: Some(class_names), notes })
}

/// The folder of the classes to train on, and that of those to test on.
fn places(path: &Path, notes: &mut Vec<String>) -> Result<(PathBuf, Option<PathBuf>)> {
    let (train, test) = (path.join("train"), path.join("test"));
    if !train.is_dir() {
        ensure!(!test.is_dir(), "there is a folder test and none that is called train");
        return Ok((path.to_path_buf(), None));
    }
    for other in entries(path)?.into_iter().filter(|entry| *entry != train && *entry != test) {
        notes.push(format!("not read: {}", other.display()));
    }
    Ok((train, Some(test).filter(|test| test.is_dir())))
}

/// What lies in a folder, in order, without what is hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let name =
            name.to_str().with_context(|| format!("{} has a name that is no Unicode text", entry.path().display()))?;
        if !name.starts_with('.') && !LEFT_ALONE.contains(&name) {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The names of the classes: those of the folders, numbers in their order, other names in that of their letters.
fn classes(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> =
        entries(folder)?.iter().filter(|entry| entry.is_dir()).map(|entry| name(entry)).collect();
    ensure!(!names.is_empty(), "{} holds no folders: there must be one for each class", folder.display());
    let numbers: Option<Vec<u64>> = names.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some() {
        names.sort_by_key(|name| name.parse::<u64>().unwrap_or_default());
    }
    Ok(names)
}

/// A picture before it is decoded.
struct PictureFile {
    path: PathBuf,
    class: i64,
    /// Height and width.
    size: [usize; 2],
    /// 1 or 3, without transparency.
    channels: usize,
}

/// The pictures of each class in its folder.
fn files(folder: &Path, class_names: &[String], notes: &mut Vec<String>) -> Result<Vec<PictureFile>> {
    let mut found = Vec::new();
    let mut unread: Vec<PathBuf> = entries(folder)?.into_iter().filter(|entry| !entry.is_dir()).collect();
    for (class, name) in class_names.iter().enumerate() {
        let place = folder.join(name);
        if !place.is_dir() {
            continue;
        }
        let before = found.len();
        for path in entries(&place)? {
            ensure!(!path.is_dir(), "{} is a folder within a class's folder, where pictures must lie", path.display());
            match kind(&path) {
                FileKind::Picture => found.push((path, class as i64)),
                FileKind::OtherPicture => {
                    bail!("{} is neither PNG nor JPEG; convert it, or take it away", path.display())
                }
                FileKind::Other => unread.push(path),
            }
        }
        ensure!(found.len() > before, "{} holds no PNG or JPEG file; a class needs images", place.display());
    }
    match unread.as_slice() {
        [] => {}
        [only] => notes.push(format!("not read: {}", only.display())),
        [first, rest @ ..] => {
            notes.push(format!("not read: {} and {}", first.display(), plural(rest.len(), "more file")))
        }
    }
    let heads: Vec<Result<PictureFile>> =
        found.into_par_iter().map(|(path, class)| PictureFile::at(path, class)).collect();
    heads.into_iter().collect()
}

/// The pictures to test on, all of classes that are trained on.
fn test_files(folder: &Path, class_names: &[String], notes: &mut Vec<String>) -> Result<Vec<PictureFile>> {
    if let Some(unknown) = classes(folder)?.into_iter().find(|name| !class_names.contains(name)) {
        bail!("{} is a class to test on that there is nothing of to train on", folder.join(unknown).display());
    }
    files(folder, class_names, notes)
}

enum FileKind {
    Picture,
    OtherPicture,
    Other,
}

fn kind(path: &Path) -> FileKind {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "png" | "jpg" | "jpeg" => FileKind::Picture,
        "bmp" | "gif" | "webp" | "tif" | "tiff" | "ppm" | "pgm" | "avif" | "heic" => FileKind::OtherPicture,
        _ => FileKind::Other,
    }
}

/// Whether pictures lie in the folder itself.
pub(super) fn has_pictures(folder: &Path) -> bool {
    entries(folder).is_ok_and(|paths| paths.iter().any(|path| matches!(kind(path), FileKind::Picture)))
}

/// A decoder that refuses by its header what would take too much memory.
fn decoder(path: &Path) -> Result<impl ImageDecoder + use<>> {
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LARGEST_SIDE), Some(LARGEST_SIDE));
    limits.max_alloc = Some(LARGEST_PICTURE);
    let file = File::open(path)?;
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format()?;
    reader.limits(limits);
    Ok(reader.into_decoder()?)
}

impl PictureFile {
    fn at(path: PathBuf, class: i64) -> Result<PictureFile> {
        let decoder = decoder(&path).with_context(|| {
            format!("{} cannot be read; a picture may be {LARGEST_SIDE} pixels high and wide", path.display())
        })?;
        let (width, height) = decoder.dimensions();
        ensure!(
            decoder.total_bytes() <= LARGEST_PICTURE,
            "{} is {height}×{width} pixels large, which takes more than {} MiB of memory: make it smaller",
            path.display(),
            LARGEST_PICTURE >> 20
        );
        let channels = match decoder.color_type() {
            ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16 => 1,
            _ => 3,
        };
        Ok(PictureFile { class, size: [height as usize, width as usize], channels, path })
    }

    /// Decoded and, where it has another size, resized: `[channels, height, width]`.
    fn decode(&self, shape: ImageShape) -> Result<Vec<u8>> {
        check_whole(&self.path)?;
        let picture = DynamicImage::from_decoder(decoder(&self.path)?)?;
        ensure!(!is_transparent(&picture), "it has transparent pixels; give it a background");
        let (height, width) = (shape.height as u32, shape.width as u32);
        let is_as_wished = (picture.height(), picture.width()) == (height, width);
        let values = if shape.channels == 1 {
            let grey = picture.into_luma8();
            if is_as_wished {
                grey.into_raw()
            } else {
                imageops::resize(&grey, width, height, FilterType::Triangle).into_raw()
            }
        } else {
            let colour = picture.into_rgb8();
            if is_as_wished {
                colour.into_raw()
            } else {
                imageops::resize(&colour, width, height, FilterType::Triangle).into_raw()
            }
        };
        Ok((0..shape.channels)
            .flat_map(|channel| values.iter().skip(channel).step_by(shape.channels).copied())
            .collect())
    }
}

/// An error for a JPEG file without an end behind its last scan: decoders fill what is missing with grey.
fn check_whole(path: &Path) -> Result<()> {
    let bytes = fs::read(path)?;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Ok(());
    }
    let last = |marker: u8| bytes.windows(2).rposition(|at| at == [0xff, marker]);
    ensure!(last(0xd9) > last(0xda), "it is cut short: a JPEG file without its end");
    Ok(())
}

fn is_transparent(picture: &DynamicImage) -> bool {
    picture.color().has_alpha() && picture.to_rgba16().pixels().any(|pixel| pixel.0[3] != u16::MAX)
}

/// The one shape that all pictures have, or are brought to.
fn common_shape(files: &[&PictureFile], wishes: &Wishes) -> Result<ImageShape> {
    let first = *files.first().context("there are no pictures")?;
    let channels = match wishes.channels {
        Some(channels) => channels,
        None => {
            let what = |file: &PictureFile| if file.channels == 1 { "grey" } else { "in colour" };
            if let Some(other) = files.iter().find(|file| file.channels != first.channels) {
                bail!(
                    "{} is {} and {} is {}; data.channels = 1 makes all grey, data.channels = 3 makes all RGB (data inspect: \
                     --channels)",
                    first.path.display(),
                    what(first),
                    other.path.display(),
                    what(other)
                );
            }
            first.channels
        }
    };
    let [height, width] = match wishes.resize {
        Some(size) => size,
        None => {
            if let Some(other) = files.iter().find(|file| file.size != first.size) {
                bail!(
                    "{} is {}×{} pixels large and {} {}×{}; data.resize = [height, width] brings all to one size (data inspect: \
                     --resize)",
                    first.path.display(),
                    first.size[0],
                    first.size[1],
                    other.path.display(),
                    other.size[0],
                    other.size[1]
                );
            }
            first.size
        }
    };
    Ok(ImageShape { channels, height, width })
}

fn decode(files: &[PictureFile], shape: ImageShape) -> Result<Labelled> {
    let decoded: Vec<Result<Vec<u8>>> = (files.par_iter())
        .map(|file| file.decode(shape).with_context(|| format!("{} cannot be used", file.path.display())))
        .collect();
    let mut part = Labelled { pixels: Vec::with_capacity(files.len() * shape.pixels()), labels: Vec::new() };
    for (file, pixels) in files.iter().zip(decoded) {
        part.pixels.extend_from_slice(&pixels?);
        part.labels.push(file.class);
    }
    Ok(part)
}
