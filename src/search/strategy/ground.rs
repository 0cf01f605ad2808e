//! What a strategy that proposes may choose among: configurations by their places, counted but not listed.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
};

use super::Brief;
use crate::search::space::Candidate;

/// An axis as a strategy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its values go by their index below this.
    pub values: usize,
    /// Whether the values ascend, so that neighbours are alike.
    pub is_ordered: bool,
}

/// A configuration that may be proposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// Two places with the same key are one configuration: that of its first trial, whatever the data.
    pub key: String,
    /// Epochs after which its training counts as a point.
    pub stops: Vec<usize>,
    /// Up to each epoch, from the first: seconds or anything that is in proportion.
    pub seconds: Vec<f64>,
    pub parameters: usize,
}

/// Configurations by their places: the index of the value on each axis.
pub trait Ground: Debug {
    fn lines(&self) -> &[Line];

    /// Where the baseline is; none where there is none.
    fn start(&self) -> Option<Vec<usize>>;

    /// The configuration at a place; none where there is none that may be trained.
    fn at(&self, place: &[usize]) -> Option<Offered>;

    /// All places, where these are known.
    fn places(&self) -> Option<&[Vec<usize>]>;
}

/// The configurations of the trials, and no others.
#[derive(Debug)]
pub(super) struct Listed {
    lines: Vec<Line>,
    places: Vec<Vec<usize>>,
    offered: HashMap<Vec<usize>, Offered>,
    start: Option<Vec<usize>>,
}

impl Listed {
    /// `seconds` are of each configuration, up to each epoch.
    pub fn of(brief: &Brief, seconds: &[Vec<f64>], parameters: &[usize]) -> Listed {
        let (mut lines, mut places) = places(brief.candidates);
        let mut twins: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut most = 0;
        // Configurations that differ in nothing that their values tell are told apart by a number.
        let numbers: Vec<usize> = (places.iter())
            .map(|place| {
                let twin = twins.entry(place.clone()).or_insert(0);
                *twin += 1;
                most = most.max(*twin);
                *twin - 1
            })
            .collect();
        if most > 1 {
            lines.push(Line { values: most, is_ordered: false });
            places.iter_mut().zip(numbers).for_each(|(place, number)| place.push(number));
        }
        let offered = |(at, candidate): (usize, &Candidate)| Offered {
            key: candidate.config.key(""),
            stops: candidate.config.schedule.stops(candidate.config.train.epochs),
            seconds: seconds[at].clone(),
            parameters: parameters[at],
        };
        let start = brief.baseline.map(|baseline| places[baseline].clone());
        let offered = places.iter().cloned().zip(brief.candidates.iter().enumerate().map(offered)).collect();
        Listed { lines, places, offered, start }
    }
}

impl Ground for Listed {
    fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn start(&self) -> Option<Vec<usize>> {
        self.start.clone()
    }

    fn at(&self, place: &[usize]) -> Option<Offered> {
        self.offered.get(place).cloned()
    }

    fn places(&self) -> Option<&[Vec<usize>]> {
        Some(&self.places)
    }
}

/// The axes of some configurations, and the place of each: numbers by their rank, other values as they come.
fn places(candidates: &[Candidate]) -> (Vec<Line>, Vec<Vec<usize>>) {
    let axes = candidates.first().map_or(0, |candidate| candidate.values.len());
    let (mut lines, mut places) = (Vec::new(), vec![Vec::with_capacity(axes); candidates.len()]);
    for axis in 0..axes {
        let values: Vec<Option<&str>> = candidates.iter().map(|of| of.values[axis].as_deref()).collect();
        let mut known: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for value in &values {
            let next = known.len();
            known.entry(*value).or_insert(next);
        }
        let number = |value: &Option<&str>| value.as_ref()?.parse::<f64>().ok().filter(|number| number.is_finite());
        let numbers: Option<Vec<(f64, Option<&str>)>> =
            known.keys().map(|value| Some((number(value)?, *value))).collect();
        let is_ordered = numbers.is_some();
        if let Some(mut numbers) = numbers {
            numbers.sort_by(|one, other| one.0.total_cmp(&other.0));
            for (rank, (_, value)) in numbers.into_iter().enumerate() {
                known.insert(value, rank);
            }
        }
        lines.push(Line { values: known.len(), is_ordered });
        values.iter().zip(&mut places).for_each(|(value, place)| place.push(known[value]));
    }
    (lines, places)
}
