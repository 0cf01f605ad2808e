//! `fastrcaps chart`: any chart of a study, as a picture or as JSON.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use fastrcaps::{
    engine::picked,
    present::charts::{self, CHARTS, ChartKind, Facts, Options, Ranges, SCREEN, Style, Theme},
    search::study::Study,
};

use super::{
    data::DataDirArg,
    input::{TimesArg, outln, share_of},
    target::Target,
};

/// Pixels of a side, and dots per inch, beyond which a picture is taken for a mistake.
const LARGEST: u32 = 20_000;
const FINEST: u32 = 1200;
/// Pixels of the largest picture: painting takes ten bytes and more for each.
const MOST_PIXELS: u64 = 100_000_000;

/// Draw a chart of a study.
///
/// Width and height are those of the picture on a screen. With --dpi it has the same size on paper and more pixels.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps chart --list
  fastrcaps chart front results/smoke
  fastrcaps chart scatter results/smoke --out figure.png --width 800 --height 600 --dpi 300
  fastrcaps chart curves results/smoke --format svg --x-range 0:5 --y-range 90%:100% --dark
  fastrcaps chart interactions results/smoke --format json")]
pub struct Args {
    /// Name of the chart: --list has all
    #[arg(required_unless_present = "list", value_name = "NAME")]
    chart: Option<String>,
    /// A study folder, made by `fastrcaps explore`
    #[arg(required_unless_present = "list")]
    study: Option<PathBuf>,
    /// List the charts
    #[arg(long, exclusive = true)]
    list: bool,
    /// File to draw to [default: STUDY/charts/NAME.png]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Format of the file [default: as the name of --out ends, else png]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Width in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 1600, value_parser = clap::value_parser!(u32).range(200..=i64::from(LARGEST)))]
    width: u32,
    /// Height in pixels [default: as high as the chart needs]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(150..=i64::from(LARGEST)))]
    height: Option<u32>,
    /// Dots per inch of a PNG
    #[arg(long, value_name = "DOTS", default_value_t = SCREEN, value_parser = clap::value_parser!(u32).range(24..=i64::from(FINEST)))]
    dpi: u32,
    /// Title in the place of the chart's own
    #[arg(long)]
    title: Option<String>,
    /// Where the x axis begins and ends, in seconds, epochs or what else it shows, as in 0:600
    #[arg(long, value_name = "FROM:TO", value_parser = parse_range, allow_hyphen_values = true)]
    x_range: Option<(f64, f64)>,
    /// Where the y axis begins and ends, as in 0.98:1 or 98%:100%
    #[arg(long, value_name = "FROM:TO", value_parser = parse_range, allow_hyphen_values = true)]
    y_range: Option<(f64, f64)>,
    /// Light on dark
    #[arg(long)]
    dark: bool,
    /// A configuration to show in the place of the chart's own choice, as trials.csv names it; can be given repeatedly
    #[arg(long = "configuration", value_name = "LABEL")]
    configurations: Vec<String>,
    #[command(flatten)]
    times: TimesArg,
    #[command(flatten)]
    data_dir: DataDirArg,
    /// Replace a file that is not a chart of this program
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Png,
    Svg,
    /// What the chart shows, as data
    Json,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Svg => "svg",
            Format::Json => "json",
        }
    }

    /// Whether bytes are those of such a file that this program wrote.
    fn is_own(self, bytes: &[u8]) -> bool {
        match self {
            Format::Png => charts::is_own(bytes),
            Format::Svg => bytes.starts_with(charts::SVG_START.as_bytes()),
            Format::Json => bytes.starts_with(JSON_START.as_bytes()),
        }
    }
}

/// How a JSON file of this command begins.
const JSON_START: &str = "{\"chart\":";

pub fn run(args: Args) -> Result<ExitCode> {
    if args.list {
        let rows: Vec<Vec<String>> = CHARTS.iter().map(|of| vec![of.name.into(), of.help.into()]).collect();
        let names = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
        rows.iter().try_for_each(|row| super::input::print_line(&format!("{:names$}  {}", row[0], row[1])))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(name), Some(folder)) = (&args.chart, &args.study) else { bail!("give a chart and a study") };
    let kind = named(name)?;
    let style = args.style(kind)?;
    let format = args.format()?;
    let out = args.out.clone().unwrap_or_else(|| default_file(folder, kind, format));
    let out = Target::checked(out, args.force, |bytes| format.is_own(bytes))?;
    let study = Study::new(folder);
    let view = args.times.read(&study)?;
    let options = Options { configurations: args.configurations.clone() };
    let mut facts = Facts::of(&view);
    if kind.name == charts::reconstructions::KIND.name {
        let asked = facts.asked(&options)?.and_then(|asked| asked.first().copied());
        let candidate = asked.or_else(|| picked::picked(&study, &view));
        let candidate =
            candidate.context("no configuration was trained to its end yet: there is nothing to reconstruct")?;
        facts.picked = Some(candidate);
        facts.samples = picked::samples(
            &study,
            &view,
            candidate,
            &args.data_dir.dirs(),
            charts::reconstructions::samples_for(&style),
        )?;
    }
    let data = (kind.data)(&facts, &options).with_context(|| format!("the chart {name} cannot be drawn"))?;
    let bytes = match format {
        Format::Png => data.draw(&style).png(),
        Format::Svg => data.draw(&style).svg().into_bytes(),
        Format::Json => {
            let json = serde_json::json!({"chart": kind.name, "title": kind.title, "data": data.json()?});
            format!("{}\n", serde_json::to_string(&json)?).into_bytes()
        }
    };
    out.write(&bytes)?;
    outln!("drawn to {}", out.path().display());
    Ok(ExitCode::SUCCESS)
}

fn named(name: &str) -> Result<&'static ChartKind> {
    let names = || CHARTS.iter().map(|chart| chart.name).collect::<Vec<_>>().join(", ");
    charts::find(name).with_context(|| format!("there is no chart {name:?}: give one of {}", names()))
}

fn default_file(study: &Path, kind: &ChartKind, format: Format) -> PathBuf {
    study.join("charts").join(kind.name).with_extension(format.extension())
}

impl Args {
    fn format(&self) -> Result<Format> {
        let ending = self.out.as_ref().and_then(|out| out.extension()).map(|of| of.to_string_lossy().to_lowercase());
        let of_name = ending.as_ref().and_then(|ending| Format::from_str(ending, true).ok());
        match (self.format, of_name, &ending) {
            (Some(asked), Some(named), Some(ending)) if asked != named => {
                bail!("--out ends in .{ending} and --format says {}: give one of them", asked.extension())
            }
            (Some(asked), ..) => Ok(asked),
            (None, Some(named), _) => Ok(named),
            (None, None, Some(ending)) => {
                bail!("--out ends in .{ending}: end it in .png, .svg or .json, or give --format")
            }
            (None, None, None) => Ok(Format::Png),
        }
    }

    fn style(&self, kind: &ChartKind) -> Result<Style> {
        if self.dpi != SCREEN && self.format()? != Format::Png {
            bail!("--dpi is for PNG: a file of another format has no dots");
        }
        let refused = match kind.ranges {
            Ranges::Both => None,
            Ranges::X => self.y_range.and(Some("--y-range")),
            Ranges::Neither => self.x_range.and(Some("--x-range")).or(self.y_range.and(Some("--y-range"))),
        };
        if let Some(flag) = refused {
            bail!("the chart {} has no axis that {flag} could set", kind.name);
        }
        let dots = |pixels: u32| u64::from(pixels) * u64::from(self.dpi) / u64::from(SCREEN);
        let pixels = dots(self.width) * dots(self.height.unwrap_or(self.width));
        if pixels > MOST_PIXELS {
            bail!("{pixels} pixels are too many: at most {MOST_PIXELS}; give a smaller --width, --height or --dpi");
        }
        Ok(Style {
            width: self.width,
            height: self.height,
            dpi: self.dpi,
            title: self.title.clone(),
            x_range: self.x_range,
            y_range: self.y_range,
            theme: if self.dark { Theme::Dark } else { Theme::Light },
        })
    }
}

/// Two numbers, or shares in per cent.
fn parse_range(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once(':').and_then(|(from, to)| Some((share_of(from, "%")?, share_of(to, "%")?)));
    let is_range = |(from, to): &(f64, f64)| from < to && from.abs() < 1e12 && to.abs() < 1e12;
    ends.filter(is_range).ok_or_else(|| "give two numbers, the smaller one first, as in 0:600 or 98%:100%".into())
}
