//! Whether a data set's files are the published ones.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

pub use super::identity::Identity;
use super::{
    config::DataConfig,
    dataset::read_published,
    descriptor::{DatasetName, Origin, Part},
    dirs::DataDirs,
    file,
    identity::identify,
    images::Images,
    own,
};

/// One file, checked.
#[derive(Clone, Debug)]
pub struct FileCheck {
    pub path: PathBuf,
    pub bytes: u64,
    pub identity: Identity,
}

/// A data set, checked and decoded in full.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Empty where the set is drawn, or the user's own.
    pub files: Vec<FileCheck>,
    /// Images of each class in the training part.
    pub train: Vec<usize>,
    /// Images of each class in the test part.
    pub test: Vec<usize>,
}

/// In what the files of a published data set differ from what was published, a sentence a file. Empty where they do not, and of sets
/// without published files.
///
/// # Errors
/// When files are missing or cannot be read.
pub fn differences(name: DatasetName, dirs: &DataDirs) -> Result<Vec<String>> {
    let Some(source) = name.descriptor().source() else { return Ok(Vec::new()) };
    let found = dirs.find(name)?;
    let mut differences = Vec::new();
    for (path, names) in found.files.iter().zip(found.layout.format.names()) {
        if identify(source, path, names)? == Identity::Altered {
            let contents =
                file::sha256(file::open(path)?).with_context(|| format!("cannot read {}", path.display()))?;
            differences.push(format!(
                "{} is trained on as {}, and is not its published contents: its own have the SHA-256 {contents}",
                path.display(),
                name.as_str()
            ));
        }
    }
    Ok(differences)
}

/// Checks the files of a data set and decodes them; draws those of a set that is drawn.
///
/// # Errors
/// When files are missing or cannot be decoded. That a file is [`Identity::Altered`] is no error here.
pub fn verify(name: DatasetName, dirs: &DataDirs) -> Result<Verification> {
    let counts = |images: &Images| images.class_counts(name.classes());
    let source = match &name.descriptor().origin {
        Origin::Files(source) => source,
        Origin::Drawn(draw) => {
            let config = DataConfig { name, ..DataConfig::default() };
            let sizes = config.counts();
            let train = draw(config.seed, Part::Train, sizes.train + sizes.validation);
            let test = draw(config.seed, Part::Test, sizes.test);
            return Ok(Verification { files: Vec::new(), train: counts(&train), test: counts(&test) });
        }
        Origin::Own(own) => {
            let whole = own::read_described(name.descriptor(), own)?;
            return Ok(Verification { files: Vec::new(), train: counts(&whole.train), test: counts(&whole.test) });
        }
    };
    let found = dirs.find(name)?;
    let (train, test) = read_published(name, &found)?;
    let names = found.layout.format.names();
    let files = found.files.iter().zip(names).map(|(path, names)| {
        let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        Ok(FileCheck { path: path.clone(), bytes, identity: identify(source, path, names)? })
    });
    Ok(Verification { files: files.collect::<Result<_>>()?, train: counts(&train), test: counts(&test) })
}
