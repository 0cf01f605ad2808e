//! What a chart is: a name, and a pure function from a study to a value that can be drawn and serialised.

use anyhow::Result;
use serde::Serialize;

use super::canvas::Scene;
use super::facts::{Facts, Options};
use super::look::Style;

/// A chart of a study, as the table of charts has it.
pub struct ChartKind {
    /// As the command line and files call it.
    pub name: &'static str,
    /// As a heading of a page calls it.
    pub title: &'static str,
    /// What it shows, in a line.
    pub help: &'static str,
    /// Which axes a user may give a range for.
    pub ranges: Ranges,
    /// What it shows of a study.
    pub data: fn(&Facts, &Options) -> Result<Box<dyn ChartData>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    Neither,
    X,
    Both,
}

/// What a chart shows: a value that a picture, a page and a file are made of alike.
pub trait ChartData {
    /// The picture, in the size and colours of the style.
    fn draw(&self, style: &Style) -> Scene;

    /// The same as JSON.
    fn json(&self) -> Result<serde_json::Value>;
}

/// A value that draws itself on a sheet: see [`Style::finish`] for how that becomes a picture.
pub trait OnSheet: Serialize {
    fn on_sheet(&self, style: &Style) -> Scene;
}

impl<T: OnSheet> ChartData for T {
    fn draw(&self, style: &Style) -> Scene {
        style.finish(&self.on_sheet(style))
    }

    fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }
}

/// A value of a chart, as the table wants it.
pub fn boxed<T: OnSheet + 'static>(data: T) -> Result<Box<dyn ChartData>> {
    Ok(Box::new(data))
}
