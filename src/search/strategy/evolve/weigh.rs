//! What a configuration that nobody has trained may come to, by those that were.

use crate::search::strategy::{
    Offered,
    freeze::{
        bar::Bar,
        outlook::{Models, Outlook},
        regression::Regression,
        unit::{Unit, accuracy_of, log_error},
    },
};

/// Trainings that others are guessed from, at most: the last ones.
const MOST_EXAMPLES: usize = 100;
/// A guess strays at least so far, in the logarithm of the error.
const LEAST_DOUBT: f64 = 0.05;
/// Where nothing is known.
const BLIND: f64 = 1.0;
/// What a training that diverged counts for: a guess at one of its kind is to be no better.
const LOST: f64 = 0.1;

/// Guesses of the first rung.
pub(super) struct Guess {
    regression: Option<Regression>,
    /// How far they stray.
    doubt: f64,
    /// What an epoch of a known training takes, over what the ground says of it.
    rate: f64,
}

impl Guess {
    /// Learns from the units that came to their first rung, by their features; `rate` turns the ground's seconds into those of units.
    pub fn learn(units: &[Unit], features: impl Fn(usize) -> Vec<f64>, rate: f64) -> Guess {
        let has_come = |unit: &usize| units[*unit].is_dead || units[*unit].seen() >= units[*unit].rungs[0];
        let all: Vec<usize> = (0..units.len()).filter(has_come).collect();
        let last = &all[all.len().saturating_sub(MOST_EXAMPLES)..];
        if last.len() < 2 {
            return Guess { regression: None, doubt: BLIND, rate };
        }
        let error = |unit: usize, epochs: usize| match &units[unit] {
            unit if unit.is_dead => log_error(LOST),
            unit => unit.log_error(epochs),
        };
        let targets: Vec<Vec<f64>> = vec![
            last.iter().map(|unit| error(*unit, 1)).collect(),
            last.iter().map(|unit| error(*unit, units[*unit].rungs[0])).collect(),
        ];
        let regression = Regression::fit(last.iter().map(|unit| features(*unit)).collect(), &targets);
        let residuals = regression.residuals(1);
        let squares = residuals.iter().map(|of| of * of).sum::<f64>();
        let doubt = (squares / (residuals.len() as f64 - 1.5).max(0.5)).sqrt().max(LEAST_DOUBT);
        Guess { regression: Some(regression), doubt, rate }
    }

    /// What a configuration may come to, with the seconds of its first rung.
    pub fn outlook(
        &self,
        offered: &Offered,
        shares: &[f64],
        features: &[f64],
        models: &Models,
        bar: &Bar,
    ) -> (Outlook, f64) {
        let epochs = offered.seconds.len();
        let rungs: Vec<usize> =
            shares.iter().map(|share| ((share * epochs as f64).round() as usize).clamp(1, epochs)).collect();
        let guessed = self.regression.as_ref().map_or(vec![log_error(0.5); 2], |of| of.at(features));
        let [first, here] = [guessed[0], guessed[1]].map(accuracy_of);
        let mut curve = vec![here.max(first); rungs[0]];
        curve[0] = if rungs[0] > 1 { first } else { here };
        let unit = Unit {
            candidate: 0,
            trials: vec![0],
            epochs,
            stops: offered.stops.clone(),
            seconds: offered.seconds.iter().map(|seconds| self.rate * seconds).collect(),
            parameters: offered.parameters as f64,
            rungs,
            curves: vec![curve],
            is_dead: false,
        };
        let mut outlook = models.outlook_of(&unit, features, bar, self.doubt);
        // It is a guess: nothing is trained.
        (outlook.basis.trained, outlook.basis.reached) = (0, 0.0);
        let seconds = unit.cost(0, unit.rungs[0]);
        (outlook, seconds)
    }
}
