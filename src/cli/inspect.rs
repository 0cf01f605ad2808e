//! `fastrcaps data inspect`: what images of one's own would be read as.

use std::{
    borrow::Cow,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use fastrcaps::{
    base::words::spelled,
    learn::data::{
        DataConfig, Images,
        own::{self, HELD_OUT, Inspected, Whole, Wishes},
    },
    present::charts::{
        self,
        image_sheet::{self, Class, ImageSheet},
    },
};
use serde_json::json;

use super::{
    input::{outln, print_line},
    target::Target,
};

/// Of fewer images to validate on it is said what one of them weighs.
const FEW: usize = 500;

/// Show what images of your own would be read as: counts, sizes, classes, and a sheet of images as PNG
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps data inspect letters                      a folder of IDX files, or of class folders
  fastrcaps data inspect emnist/raw/emnist-letters    those of the IDX files there that begin so
  fastrcaps data inspect photos --resize 64x64        PNG and JPEG files of any size
  fastrcaps data inspect digits.npz --json")]
pub struct Args {
    /// A folder of IDX files, a folder of class folders, or an .npz file
    path: String,
    /// Read it as this format [default: what it looks like]
    #[arg(long = "as", value_name = "FORMAT", value_parser = PossibleValuesParser::new(own::format_names()))]
    format: Option<String>,
    /// Bring every picture to this size, height × width, as data.resize does
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    resize: Option<[usize; 2]>,
    /// Make every picture grey (1) or RGB (3), as data.channels does
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// File to draw images to [default: NAME-images.png in the working folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is not a picture of this program
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_size(text: &str) -> Result<[usize; 2], String> {
    // As data.resize is written, too.
    let (height, width) = text.trim_matches(['[', ']']).split_once(['x', '×', ',']).unwrap_or((text, text));
    let size = || Some([height.trim().parse().ok()?, width.trim().parse().ok()?]);
    size().ok_or_else(|| "expected height and width in pixels, as in 64x64".into())
}

pub fn run(args: Args) -> Result<()> {
    let wishes = Wishes { resize: args.resize, channels: args.channels };
    let Inspected { format, own, whole } = own::inspect(&args.path, args.format.as_deref(), wishes)?;
    let stem = Path::new(&own.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{stem}-images.png")));
    let out = Target::checked(out, args.force, charts::is_own)?;
    out.write(&image_sheet::draw(&sheet(&stem, &whole)).png())?;
    let config = config_line(format, &own);
    let count = |images: &Images| images.class_counts(whole.class_names.len());
    let (train, test) = (count(&whole.train), count(&whole.test));
    if args.json {
        let classes = whole.class_names.iter().zip(train.iter().zip(&test));
        let classes = classes.map(|(name, (train, test))| json!({ "name": name, "train": train, "test": test }));
        let object = json!({
            "format": format,
            "path": own.path,
            "height": whole.shape.height,
            "width": whole.shape.width,
            "channels": whole.shape.channels,
            "train": whole.train.len(),
            "test": whole.test.len(),
            "test_held_out": whole.is_held_out,
            "classes": classes.collect::<Vec<_>>(),
            "notes": whole.notes,
            "data": config,
            "sheet": out.path(),
        });
        outln!("{object}");
        return Ok(());
    }
    outln!("{}: read as {format}, {}", spelled(&own.path), summary(&whole));
    if whole.is_held_out {
        outln!("{}", held_out());
    }
    outln!("{}", validated(whole.train.len()));
    whole.notes.iter().try_for_each(|note| print_line(&format!("note: {}", spelled(note))))?;
    outln!("\n{}", class_table(|class| whole.class_names[class].clone().into(), &train, &test));
    outln!("images drawn to {}\n", out.path().display());
    outln!("in the [base] of a space, or in a configuration:\n  {config}");
    Ok(())
}

fn summary(whole: &Whole) -> String {
    let shape = whole.shape;
    format!(
        "{} training and {} test images of {}×{}×{} in {} classes",
        whole.train.len(),
        whole.test.len(),
        shape.height,
        shape.width,
        shape.channels,
        whole.class_names.len()
    )
}

/// The rule by which a test part is held out.
fn held_out() -> String {
    format!(
        "there is no test part: of each class one image of {HELD_OUT} is held out as one, drawn at random, and the same whatever \
         the configuration"
    )
}

/// How many of the training images choose among configurations, and what one of them weighs where there are few.
fn validated(train: usize) -> String {
    let fraction = DataConfig::default().validation_fraction;
    let count = (fraction * train as f64).round() as usize;
    let weight = match count {
        1..FEW => format!(": one of them is {:.1} points of accuracy", 100.0 / count as f64),
        _ => String::new(),
    };
    format!(
        "of the {train} training images {count} are held out for validation, by which configurations are chosen \
         (data.validation_fraction = {fraction}){weight}"
    )
}

/// How a config names the images.
fn config_line(format: &str, own: &own::Own) -> String {
    let mut line = format!("data = {{ name = {format:?}, path = {}", toml::Value::String(own.path.clone()));
    if let Some([height, width]) = own.wishes.resize {
        line.push_str(&format!(", resize = [{height}, {width}]"));
    }
    if let Some(channels) = own.wishes.channels {
        line.push_str(&format!(", channels = {channels}"));
    }
    line + " }"
}

/// How many images each class has.
pub fn class_table(name: impl Fn(usize) -> Cow<'static, str>, train: &[usize], test: &[usize]) -> String {
    let mut text = format!("class {:>8} {:>8}\n", "train", "test");
    for (class, (train, test)) in train.iter().zip(test).enumerate() {
        let shown = name(class);
        let shown = if shown == class.to_string() { String::new() } else { format!("  {shown}") };
        let _ = writeln!(text, "{class:>5} {train:>8} {test:>8}{shown}");
    }
    let (train, test): (usize, usize) = (train.iter().sum(), test.iter().sum());
    let _ = writeln!(text, "  all {train:>8} {test:>8}");
    text
}

/// The first training images of each class.
fn sheet(name: &str, whole: &Whole) -> ImageSheet {
    let shown = image_sheet::images_of_a_class(whole.class_names.len());
    let images = |class: usize| {
        let members = (0..whole.train.len()).filter(|index| usize::from(whole.train.labels[*index]) == class);
        members.take(shown).map(|index| whole.train.image(index).to_vec()).collect()
    };
    let classes = whole.class_names.iter().enumerate().take(image_sheet::MOST_IMAGES);
    let mut classes: Vec<Class> =
        classes.map(|(class, name)| Class { name: name.clone(), images: images(class) }).collect();
    // Counted, though there is no room to show them.
    classes.extend(
        whole.class_names.iter().skip(classes.len()).map(|name| Class { name: name.clone(), images: Vec::new() }),
    );
    let shape = whole.shape;
    ImageSheet {
        title: format!("{name}: training images"),
        subtitle: summary(whole),
        shape: [shape.channels, shape.height, shape.width],
        classes,
    }
}
