//! What each optimisation does, all else equal: one axis set from the baseline's value to another, over all contexts that were
//! trained with both. A context is the values on the other axes.

use std::collections::HashMap;

use crate::analysis::{
    Design, Extent, Point,
    contrast::{Contrast, Measured, SpeedUp, accuracy, has_diverged, speed_up},
};

/// An axis set from the baseline's value to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Optimisation {
    /// Index of the axis.
    pub axis: usize,
    /// The baseline's value.
    pub from: String,
    pub to: String,
}

/// What an optimisation changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub optimisation: Optimisation,
    /// Over all contexts.
    pub overall: Change,
    /// Added to the baseline alone; absent where that was not trained.
    pub at_baseline: Option<Change>,
}

/// A change, over one context or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Pairs of configurations that differ in nothing else.
    pub contexts: usize,
    /// Contexts in which it diverged and the baseline's value did not. Those and any in which the baseline's value diverged
    /// are in neither accuracy nor time.
    pub diverged: usize,
    /// Difference of the best validation accuracies, in 0..=1.
    pub accuracy: Option<Measured>,
    pub speed_up: Option<SpeedUp>,
    /// Contexts without divergence whose times could not be compared.
    pub without_time: usize,
    pub parameters: Share,
}

/// Parameters as a share of those before, over the contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub mean: f64,
    pub least: f64,
    pub greatest: f64,
}

/// There is nothing to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBaseline {
    #[error(
        "the space has no baseline to compare with, as its first combination is excluded or [baseline] matches none: \
         declare a [baseline] in the space file that matches one configuration"
    )]
    Undeclared,
    #[error("no trial of the baseline has ended yet: explore the study further")]
    Untrained,
}

/// The effects of all optimisations that were trained beside the baseline's value, the fastest first.
pub fn effects(design: &Design, points: &[Point]) -> Result<Vec<Effect>, NoBaseline> {
    let grid = Grid::new(design, points)?;
    let mut effects = Vec::new();
    for optimisation in grid.optimisations() {
        let pairs = grid.pairs(&optimisation);
        if pairs.is_empty() {
            continue;
        }
        let alone: Vec<_> =
            pairs.iter().copied().filter(|(before, _)| points[*before].candidate == grid.baseline).collect();
        let overall = change(points, &pairs);
        let at_baseline = (!alone.is_empty()).then(|| change(points, &alone));
        effects.push(Effect { optimisation, overall, at_baseline });
    }
    let factor = |effect: &Effect| effect.overall.speed_up.map_or(f64::NEG_INFINITY, |of| of.factor.estimate);
    effects.sort_by(|a, b| factor(b).total_cmp(&factor(a)));
    Ok(effects)
}

/// The change between points `(before, after)`, a pair a context.
fn change(points: &[Point], pairs: &[(usize, usize)]) -> Change {
    let contrasts: Vec<Contrast> =
        pairs.iter().map(|&(before, after)| vec![(1.0, &points[after]), (-1.0, &points[before])]).collect();
    let diverged = pairs.iter().filter(|(before, after)| points[*before].diverged == 0 && points[*after].diverged > 0);
    let shares: Vec<f64> = (pairs.iter())
        .map(|&(before, after)| points[after].parameters as f64 / points[before].parameters as f64)
        .collect();
    let (speed_up, without_time) = speed_up(&contrasts);
    Change {
        contexts: pairs.len(),
        diverged: diverged.count(),
        accuracy: accuracy(&contrasts),
        speed_up,
        without_time,
        parameters: Share {
            mean: shares.iter().sum::<f64>() / shares.len() as f64,
            least: shares.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: shares.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        },
    }
}

/// Whether two optimisations help or hinder each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Interaction {
    pub first: Optimisation,
    pub second: Optimisation,
    /// Contexts that were trained with both, either and neither.
    pub contexts: usize,
    /// Change of accuracy by both beyond the sum of their own: 0 where they do not touch.
    pub accuracy: Option<Measured>,
    /// Speed-up by both over the product of their own: 1 where they do not touch.
    pub speed_up: Option<SpeedUp>,
}

/// The interactions of all pairs of optimisations on different axes, the largest in accuracy first.
pub fn interactions(design: &Design, points: &[Point]) -> Result<Vec<Interaction>, NoBaseline> {
    let grid = Grid::new(design, points)?;
    let optimisations = grid.optimisations();
    let mut interactions = Vec::new();
    for (index, first) in optimisations.iter().enumerate() {
        let pairs = grid.pairs(first);
        for second in optimisations[index + 1..].iter().filter(|second| second.axis != first.axis) {
            let squares: Vec<Contrast> = (pairs.iter())
                .filter(|(neither, _)| grid.has_from(*neither, second))
                .filter_map(|&(neither, one)| {
                    let (other, both) = (grid.with(neither, second)?, grid.with(one, second)?);
                    Some([(1.0, both), (-1.0, one), (-1.0, other), (1.0, neither)])
                })
                .map(|square| square.map(|(weight, point)| (weight, &points[point])).to_vec())
                .collect();
            // What is known only of trainings that diverged says nothing.
            if squares.iter().all(has_diverged) {
                continue;
            }
            interactions.push(Interaction {
                first: first.clone(),
                second: second.clone(),
                contexts: squares.len(),
                accuracy: accuracy(&squares),
                speed_up: speed_up(&squares).0,
            });
        }
    }
    let size = |of: &Interaction| of.accuracy.map_or(-1.0, |accuracy| accuracy.estimate.abs());
    interactions.sort_by(|a, b| size(b).total_cmp(&size(a)));
    Ok(interactions)
}

/// Whole trainings by their values.
struct Grid<'a> {
    design: &'a Design,
    baseline: usize,
    reference: &'a [Option<String>],
    /// Candidate of each point.
    candidates: Vec<usize>,
    /// Values as numbers by axis, 0 where the axis does not matter; the point of each combination.
    codes: Vec<HashMap<&'a str, usize>>,
    by_codes: HashMap<Vec<usize>, usize>,
    /// Points of whole trainings, in order.
    whole: Vec<usize>,
}

impl<'a> Grid<'a> {
    fn new(design: &'a Design, points: &[Point]) -> Result<Grid<'a>, NoBaseline> {
        let baseline = design.baseline.ok_or(NoBaseline::Undeclared)?;
        let mut codes: Vec<HashMap<&str, usize>> = vec![HashMap::new(); design.axes.len()];
        for values in &design.values {
            for (codes, value) in codes.iter_mut().zip(values) {
                let next = codes.len() + 1;
                value.as_deref().map(|value| *codes.entry(value).or_insert(next));
            }
        }
        let whole: Vec<usize> = (0..points.len()).filter(|index| points[*index].extent == Extent::Whole).collect();
        let candidates = points.iter().map(|point| point.candidate).collect();
        let reference = &design.values[baseline];
        let mut grid = Grid { design, baseline, reference, candidates, codes, by_codes: HashMap::new(), whole };
        grid.by_codes = grid.whole.iter().map(|&point| (grid.code(point), point)).collect();
        Ok(grid)
    }

    fn code(&self, point: usize) -> Vec<usize> {
        let values = &self.design.values[self.candidates[point]];
        values.iter().zip(&self.codes).map(|(value, codes)| value.as_deref().map_or(0, |value| codes[value])).collect()
    }

    /// Every value of every axis but the baseline's, in the order of the space; of no axis that does not matter to the baseline.
    fn optimisations(&self) -> Vec<Optimisation> {
        let mut all = Vec::new();
        for (axis, from) in self.reference.iter().enumerate() {
            let Some(from) = from else { continue };
            let mut values: Vec<(usize, &str)> = self.codes[axis].iter().map(|(value, code)| (*code, *value)).collect();
            values.sort_unstable();
            let others = values.into_iter().map(|(_, value)| value).filter(|value| value != from);
            all.extend(others.map(|to| Optimisation { axis, from: from.clone(), to: to.into() }));
        }
        all
    }

    /// Points that have the baseline's value on the axis, each with the one that differs from it in nothing but that.
    fn pairs(&self, optimisation: &Optimisation) -> Vec<(usize, usize)> {
        let points = self.whole.iter().filter(|point| self.has_from(**point, optimisation));
        points.filter_map(|&point| Some((point, self.with(point, optimisation)?))).collect()
    }

    /// Whether a point has the value that the optimisation begins with.
    fn has_from(&self, point: usize, optimisation: &Optimisation) -> bool {
        self.design.values[self.candidates[point]][optimisation.axis].as_ref() == Some(&optimisation.from)
    }

    /// The point that differs from `point` in nothing but the optimisation.
    fn with(&self, point: usize, optimisation: &Optimisation) -> Option<usize> {
        let mut code = self.code(point);
        code[optimisation.axis] = self.codes[optimisation.axis][optimisation.to.as_str()];
        self.by_codes.get(&code).copied()
    }
}
