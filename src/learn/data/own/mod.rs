//! Images of the user's own: formats whose sizes, classes and counts are known once the images have been looked at.
//!
//! A format is a file here and its row in `FORMATS`. A config names the format and the place: `data = { name = "idx", path =
//! "…" }`. When a space or a config is read from its file, [`Looked::at`] looks at the images, and what was seen goes into the
//! config as `data.images`: so a trial's folder says all, and whoever reads a study needs no look at the images.

pub mod described;
mod folder;
pub mod format;
mod idx;
mod npz;
mod whole;

use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, anyhow, bail, ensure};
use toml::{Table, Value};

pub use format::{MOST_CLASSES, Own, Seen, Wishes};
pub use whole::{HELD_OUT, Whole};

use self::format::OwnFormat;
use super::descriptor::Descriptor;

/// The formats, in the order in which a place is asked for what it holds.
const FORMATS: [&dyn OwnFormat; 3] = [&npz::Npz, &idx::Idx, &folder::Folder];

/// What a config names them, in that order.
pub fn format_names() -> [&'static str; FORMATS.len()] {
    FORMATS.map(OwnFormat::name)
}

/// The format of that name.
fn named(name: &str) -> Option<&'static dyn OwnFormat> {
    FORMATS.into_iter().find(|format| format.name() == name)
}

/// What a look at the images of a `[data]` table brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// Where the images lie, absolute.
    pub path: String,
    /// Absent where the table said already what was seen.
    pub seen: Option<Seen>,
}

impl Looked {
    /// Looks at the images that a `[data]` table names; none where it names a data set that the program knows. A relative path
    /// begins in `folder`.
    ///
    /// # Errors
    /// When the table does not say where they lie, or they cannot be read.
    pub fn at(data: &Table, folder: &Path) -> Result<Option<Looked>> {
        let Some(format) = data.get("name").and_then(Value::as_str).and_then(named) else { return Ok(None) };
        let path = match data.get("path") {
            Some(Value::String(path)) if !path.trim().is_empty() => whole_path(path, folder)?,
            Some(other) => bail!("data.path = {other}: it must be the place of the images, as in path = \"letters\""),
            None => bail!(
                "data.name = {:?} names images of your own, and data.path is missing: it says where they lie",
                format.name()
            ),
        };
        if data.contains_key("images") {
            return Ok(Some(Looked { path, seen: None }));
        }
        let own = Own { path: path.clone(), label: None, wishes: wishes(data)? };
        Ok(Some(Looked { path, seen: Some(read(format.name(), &own)?.seen()) }))
    }

    /// What is to be set in a space over its base, as `--set` takes it.
    pub fn sets(&self) -> Vec<(String, String)> {
        let quoted = |text: &String| Value::String(text.clone()).to_string();
        let mut sets = vec![("data.path".to_string(), quoted(&self.path))];
        if let Some(Seen { shape, train, test, classes }) = &self.seen {
            let classes = classes.iter().map(quoted).collect::<Vec<_>>().join(", ");
            let images = format!("{{ shape = {shape:?}, train = {train}, test = {test}, classes = [{classes}] }}");
            sets.push(("data.images".to_string(), images));
        }
        sets
    }

    /// Writes it into the table that was looked at.
    pub fn complete(self, data: &mut Table) {
        data.insert("path".into(), self.path.into());
        if let Some(seen) = self.seen {
            // Numbers and strings: what TOML can hold.
            data.insert("images".into(), Value::try_from(seen).expect("sizes are TOML"));
        }
    }
}

/// What a `[data]` table asks of the images. What is no such number is said when the config is read.
fn wishes(data: &Table) -> Result<Wishes> {
    if let Some(other) = data.get("resize").filter(|size| !matches!(size, Value::Array(sizes) if sizes.len() == 2)) {
        bail!("data.resize = {other}: it must be height and width in pixels, as in resize = [64, 64]");
    }
    let mut own = Table::new();
    own.extend(["resize", "channels"].into_iter().filter_map(|key| Some((key.to_string(), data.get(key)?.clone()))));
    #[derive(serde::Deserialize)]
    struct Asked {
        resize: Option<[usize; 2]>,
        channels: Option<usize>,
    }
    let Asked { resize, channels } = own.try_into().map_err(|error: toml::de::Error| {
        anyhow!(
            "data.resize must be two numbers of pixels, height and width, and data.channels 1 or 3: {}",
            error.message()
        )
    })?;
    let wishes = Wishes { resize, channels };
    wishes.check().map_err(anyhow::Error::msg)?;
    Ok(wishes)
}

/// An absolute path, as text.
fn whole_path(path: &str, folder: &Path) -> Result<String> {
    let whole = absolute(folder.join(path)).with_context(|| format!("data.path = {path:?} cannot be used"))?;
    let whole: PathBuf = whole.components().collect();
    let whole = whole.into_os_string().into_string();
    whole.map_err(|whole| {
        anyhow!("data.path leads to {}, which is no Unicode text: give the images another place", whole.display())
    })
}

/// The format of that name; an error with those there are.
fn known(name: &str) -> Result<&'static dyn OwnFormat> {
    let names = || format_names().join(", ");
    named(name).with_context(|| format!("{name:?} is no format of images: there are {}", names()))
}

/// Reads images of that format whole.
pub(super) fn read(format: &str, own: &Own) -> Result<Whole> {
    let format = known(format)?;
    let path = Path::new(&own.path);
    let parts = format.read(path, &own.wishes);
    parts
        .and_then(Whole::of)
        .with_context(|| format!("the images in {} cannot be used as {:?}", own.path, format.name()))
}

/// Images that were inspected: how a config names them, and what they are.
pub struct Inspected {
    pub format: &'static str,
    pub own: Own,
    pub whole: Whole,
}

/// Reads what lies at `path`, relative to the working folder, in the format named, or in the one that it looks like.
///
/// # Errors
/// When it looks like none, or cannot be read.
pub fn inspect(path: &str, named: Option<&str>, wishes: Wishes) -> Result<Inspected> {
    wishes.check().map_err(anyhow::Error::msg)?;
    let path = whole_path(path, Path::new(""))?;
    let place = Path::new(&path);
    let claims = || FORMATS.into_iter().find(|format| format.claims(place));
    let format = match named {
        Some(name) => known(name)?,
        None => claims().with_context(|| {
            if folder::has_pictures(place) {
                return format!(
                    "{path} holds pictures, and no folder of them for each class: sort them into such folders, or name the \
                     folder above, if this is one"
                );
            }
            format!(
                "{path} holds nothing that can be read; it should be an .npz file, a folder of IDX files \
                 (train-images-idx3-ubyte, …), or a folder with a folder of PNG or JPEG files for each class"
            )
        })?,
    };
    let own = Own { path, label: None, wishes };
    let whole = read(format.name(), &own)?;
    Ok(Inspected { format: format.name(), own, whole })
}

/// What was seen, in words.
pub(super) fn words(seen: &Seen) -> String {
    let [channels, height, width] = seen.shape;
    format!(
        "{} training and {} test images of {height}×{width}×{channels} in {} classes",
        seen.train,
        seen.test,
        seen.classes.len()
    )
}

/// Reads the images that a descriptor describes.
///
/// # Errors
/// When they cannot be read, or are others than were looked at.
pub(super) fn read_described(set: &'static Descriptor, own: &Own) -> Result<Whole> {
    let whole = read(set.name, own)?;
    let (found, before) = (whole.seen(), described::seen(set));
    ensure!(
        found.shape == before.shape
            && found.classes.len() == before.classes.len()
            && (found.train, found.test) == (before.train, before.test),
        "the images in {} are not those that the configuration was made for: {} now, {} then; bring them back, or name them in \
         a new configuration",
        own.path,
        words(&found),
        words(&before)
    );
    Ok(whole)
}
