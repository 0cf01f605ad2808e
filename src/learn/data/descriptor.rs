//! What a data set is: the one description from which network, losses, memory, times, tables and charts take sizes, classes and
//! files.
//!
//! A descriptor is plain data. Those that the program knows are rows of [`super::sets`].

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    images::{ImageShape, Images},
    own::format::Own,
};

/// A data set.
#[derive(Debug)]
pub struct Descriptor {
    /// As written in a config.
    pub name: &'static str,
    /// Of every image.
    pub shape: ImageShape,
    /// What the classes show, by label: there are as many classes as names, at most 256, as a label is a byte.
    pub class_names: &'static [&'static str],
    /// Images of the whole training part and of the whole test part.
    pub available: (usize, usize),
    /// Images of the two parts when the config names no number.
    pub default_samples: (usize, usize),
    pub origin: Origin,
}

/// Where a data set's images come from.
#[derive(Debug)]
pub enum Origin {
    /// Drawn when needed: the first so many images of a part, a pure function of the seed of the data, part and number.
    Drawn(fn(u64, Part, usize) -> Images),
    /// Read from files.
    Files(Source),
    /// The user's own images.
    Own(Own),
}

/// Which part of a data set an image belongs to; the parts share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Test,
}

/// The files of a data set, how they may lie in a folder, and, of a published set, where they come from and what they must hold.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Base URLs, tried in order; a file's URL is the base, a slash and its name.
    pub mirrors: &'static [&'static str],
    /// The files as published.
    pub files: &'static [PublishedFile],
    /// SHA-256 of inflated contents, by the first name in [`Format::names`], or by the name in an archive: they tell a file that
    /// was inflated, or compressed anew, from one that was altered.
    pub contents: &'static [(&'static str, &'static str)],
    /// How the files may lie in a folder, the preferred first.
    pub layouts: &'static [Layout],
    /// Files and folders of other versions of the data set, which are not read, and what they are.
    pub unread: &'static [(&'static str, &'static str)],
}

/// One file as it lies on the mirrors.
#[derive(Clone, Copy, Debug)]
pub struct PublishedFile {
    pub name: &'static str,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: &'static str,
}

/// A way in which a data set's files may lie in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The folder below, in which the files lie; empty for the folder itself.
    pub folder: &'static str,
    pub format: &'static dyn Format,
}

/// A file format: which files there are, and how they are read.
pub trait Format: fmt::Debug + Sync {
    /// For each file, in order, the names it may have.
    fn names(&self) -> &'static [&'static [&'static str]];

    /// The files in `dir`, each of which has one of its names; absent where one is missing.
    fn find(&self, dir: &Path) -> Option<Vec<PathBuf>> {
        let file = |names: &&[&str]| names.iter().map(|name| dir.join(name)).find(|path| path.is_file());
        self.names().iter().map(file).collect()
    }

    /// Place among [`Format::names`] of a small file whose contents tell a data set from others with the same names of files.
    fn telling_file(&self) -> Option<usize> {
        None
    }

    /// Reads the whole training part and the whole test part of `set` from `files`, in the order of [`Format::names`].
    ///
    /// # Errors
    /// When a file cannot be read, or holds images of another shape, another number of them, or other labels than `set` has.
    fn read(&self, set: &Descriptor, files: &[PathBuf]) -> Result<(Images, Images)>;
}

impl Descriptor {
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Where its files are published; a data set that is drawn has none.
    pub fn source(&self) -> Option<&Source> {
        match &self.origin {
            Origin::Files(source) => Some(source),
            Origin::Drawn(_) | Origin::Own(_) => None,
        }
    }

    /// Where the user's own images lie, and how they are read.
    pub fn own(&self) -> Option<&Own> {
        match &self.origin {
            Origin::Own(own) => Some(own),
            Origin::Drawn(_) | Origin::Files(_) => None,
        }
    }
}

/// A data set in a config: written as its name (own images: with what was seen of them beside it), and all of its descriptor in
/// memory.
#[derive(Clone, Copy)]
pub struct DatasetName(&'static Descriptor);

impl DatasetName {
    pub const fn of(set: &'static Descriptor) -> DatasetName {
        DatasetName(set)
    }

    pub fn descriptor(self) -> &'static Descriptor {
        self.0
    }

    /// The name as written in a config.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// What a user calls it: the label of own images, else what their file or folder is called; of others the name.
    pub fn label(self) -> &'static str {
        let Some(own) = self.0.own() else { return self.0.name };
        let of_path = || Path::new(&own.path).file_name().and_then(|name| name.to_str());
        own.label.as_deref().or_else(of_path).unwrap_or(self.0.name)
    }

    pub fn image_shape(self) -> ImageShape {
        self.0.shape
    }

    pub fn classes(self) -> usize {
        self.0.classes()
    }

    /// What the class of that label shows; the label itself where there is no such class.
    pub fn class_name(self, label: usize) -> Cow<'static, str> {
        self.0.class_names.get(label).map_or_else(|| label.to_string().into(), |name| (*name).into())
    }
}

impl PartialEq for DatasetName {
    fn eq(&self, other: &DatasetName) -> bool {
        let is_known = |set: &Descriptor| set.own().is_none();
        // Own images are described once each.
        std::ptr::eq(self.0, other.0) || (is_known(self.0) && is_known(other.0) && self.0.name == other.0.name)
    }
}

impl Eq for DatasetName {}

impl fmt::Debug for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
