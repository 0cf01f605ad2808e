//! `fastrcaps data`: list, fetch and verify data sets, and look at images of one's own.

use std::{ffi::OsString, fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::{
    Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fastrcaps::{
    base::words::plural,
    learn::data::{
        DataDirs, DatasetName,
        dirs::Environment,
        fetch::{self, Outcome, Progress},
        verify::{self, Identity},
    },
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    input::{print_line, tell},
    inspect::{self, class_table},
};

/// List, fetch and verify data sets, and look at images of your own.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every data set, its sizes, and where it was found
    #[command(after_help = "Example:\n  fastrcaps data list")]
    List {
        #[command(flatten)]
        dirs: DataDirArg,
    },
    /// Download a data set and check its SHA-256; continues an interrupted download
    #[command(after_help = "\
Examples:
  fastrcaps data fetch mnist
  fastrcaps data fetch cifar10 --data-dir ~/data
  fastrcaps data fetch mnist --mirror https://mirror.example.org/mnist")]
    Fetch {
        #[arg(value_parser = dataset())]
        name: DatasetName,
        /// Download from URL/FILE instead of the known mirrors
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        #[command(flatten)]
        dirs: DataDirArg,
    },
    /// Check a data set's files, decode them all, and count the images of each class
    #[command(after_help = "Example:\n  fastrcaps data verify mnist --data-dir ~/data")]
    Verify {
        #[arg(value_parser = dataset())]
        name: DatasetName,
        #[command(flatten)]
        dirs: DataDirArg,
    },
    Inspect(inspect::Args),
}

/// Folder of the data sets, for every subcommand that reads them.
#[derive(clap::Args, Clone, Debug)]
pub struct DataDirArg {
    /// Folder of data sets: NAME lies in DIR/NAME, or in DIR itself [default: $FASTRCAPS_DATA, else
    /// fastrcaps in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DataDirArg {
    /// The option again, for a command that this one starts.
    pub fn arguments(&self) -> Vec<OsString> {
        self.data_dir.iter().flat_map(|dir| ["--data-dir".into(), dir.clone().into()]).collect()
    }

    pub fn dirs(&self) -> DataDirs {
        DataDirs::new(self.data_dir.clone(), &Environment::of_process())
    }
}

/// Accepts the name of a data set.
fn dataset() -> impl TypedValueParser<Value = DatasetName> {
    PossibleValuesParser::new(DatasetName::all().map(DatasetName::as_str))
        .try_map(|text| DatasetName::named(&text).ok_or("no such data set"))
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List { dirs } => print_line(list(&dirs.dirs()).trim_end()),
        Command::Fetch { name, mirror, dirs } => fetch(name, mirror.as_deref(), &dirs.dirs()),
        Command::Verify { name, dirs } => verify(name, &dirs.dirs()),
        Command::Inspect(args) => inspect::run(args),
    }
}

fn list(dirs: &DataDirs) -> String {
    let mut table = format!("{:<14} {:<8} {:>7} {:>7} {:>7}  WHERE\n", "NAME", "SHAPE", "CLASSES", "TRAIN", "TEST");
    for name in DatasetName::all() {
        let shape = name.image_shape();
        let shape = format!("{}×{}×{}", shape.height, shape.width, shape.channels);
        let (train, test, place) = match name.descriptor().source() {
            None => ("any".to_owned(), "any".to_owned(), "built in, drawn when needed".to_owned()),
            Some(_) => {
                let (train, test) = name.descriptor().available;
                let place = match dirs.find(name) {
                    Ok(found) => found.dir.display().to_string(),
                    Err(_) => format!("not found; to get it: fastrcaps data fetch {}", name.as_str()),
                };
                (train.to_string(), test.to_string(), place)
            }
        };
        let _ = writeln!(table, "{:<14} {shape:<8} {:>7} {train:>7} {test:>7}  {place}", name.as_str(), name.classes());
    }
    table
}

fn fetch(name: DatasetName, mirror: Option<&str>, dirs: &DataDirs) -> Result<()> {
    let name_text = name.as_str();
    let Some(source) = name.descriptor().source() else { bail!("{name_text} are built in: there is nothing to fetch") };
    if let Ok(found) = dirs.find(name) {
        return print_line(&format!(
            "{name_text} is already in {}; `fastrcaps data verify {name_text}` checks it",
            found.dir.display()
        ));
    }
    let dir = dirs.root()?.join(name_text);
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{msg}  {wide_bar} {bytes}/{total_bytes}  {eta}")
            .context("the template of the progress bar")?,
    );
    let fetched = fetch::fetch(source, &dir, mirror, &mut |progress: Progress| {
        if bar.message() != progress.file {
            bar.set_message(progress.file.to_owned());
            bar.reset();
        }
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
    });
    bar.finish_and_clear();
    let mut text = String::new();
    for (path, outcome) in fetched? {
        let outcome = match outcome {
            Outcome::Fetched => "fetched, checksum right",
            Outcome::FetchedRepacked => "fetched, packed otherwise than published, checksum of the contents right",
            Outcome::AlreadyThere => "was there, checksum right",
        };
        let _ = writeln!(text, "{}  {outcome}", path.display());
    }
    print_line(text.trim_end())
}

/// Warns of data that is not what its name says.
pub fn tell_differences(differences: &[String]) {
    differences.iter().for_each(|difference| tell(&format!("warning: {difference}")));
}

/// Whether a data set is there and undamaged, in words.
pub fn state(name: DatasetName, dirs: &DataDirs) -> String {
    let text = name.as_str();
    if let Some(own) = name.descriptor().own() {
        let whole = verify::verify(name, dirs).map(|_| format!("{} in {}, readable", name.label(), own.path));
        return whole.unwrap_or_else(|error| format!("{error:#}"));
    }
    if name.descriptor().source().is_none() {
        return format!("{text}, built in");
    }
    let checked = dirs.find(name).and_then(|found| Ok((found.dir, verify::verify(name, dirs)?.files)));
    let (dir, files) = match checked {
        Ok((dir, files)) => (dir.display().to_string(), files),
        Err(error) => return format!("{error:#}"),
    };
    let has = |identity: Identity| files.iter().any(|file| file.identity == identity);
    match (has(Identity::Altered), has(Identity::Unknown)) {
        (true, _) => {
            format!("{text} in {dir} is not the published one: `fastrcaps data verify {text}` says which files")
        }
        (_, true) => format!("{text} in {dir}, readable, but packed otherwise than published"),
        _ => format!("{text} in {dir}, whole"),
    }
}

fn verify(name: DatasetName, dirs: &DataDirs) -> Result<()> {
    let verification = verify::verify(name, dirs)?;
    let mut text = String::new();
    for file in &verification.files {
        let identity = match file.identity {
            Identity::Published => "the published file",
            Identity::SameContents => "the published contents, packed otherwise",
            Identity::Unknown => "readable, but not the published file; no checksum of its contents is known",
            Identity::Altered => "ALTERED: not the published contents",
        };
        let _ = writeln!(text, "{}  {}  {identity}", file.path.display(), plural(file.bytes as usize, "byte"));
    }
    let _ = write!(text, "\n{}", class_table(|class| name.class_name(class), &verification.train, &verification.test));
    print_line(text.trim_end())?;
    if verification.files.iter().any(|file| file.identity == Identity::Altered) {
        bail!(
            "{0} is not the published data set; delete the altered files and run `fastrcaps data fetch {0}`",
            name.as_str()
        );
    }
    Ok(())
}
