//! Freeze-thaw with known costs: all configurations train a little, and those go on that can still beat the front.
//!
//! After Swersky, Snoek and Adams 2014 (arXiv 1406.3896), with two differences. A training's time and its parameters are known before it begins, so
//! that only accuracies are predicted, and each configuration is held against what is known at the times it can still come to.
//! And a random sample of what was paused is trained to its end, which bounds what was lost without trust in the predictions.

mod audit;
pub(super) mod bar;
mod decision;
mod features;
pub(super) mod outlook;
mod process;
pub(super) mod proposals;
pub(super) mod regression;
pub(super) mod unit;

pub use audit::{Audit, upper_bound};
pub use decision::{Decision, Why};
pub use outlook::Basis;

use std::cell::RefCell;

use super::{Brief, Costs, Grid, Offer, Order, Proposal, Searcher, Strategy, Told};
use crate::analysis::Objectives;
use process::Process;
use proposals::next_training;

pub(super) const FREEZE_THAW: Strategy = Strategy {
    name: "freeze-thaw",
    help: "All configurations train a little; those go on that can still beat the front at one of their known times, by what whole \
           trainings of a random few tell of them; the others are paused, and an audit of a random few bounds what was lost",
    reopens: true,
    gives_up: true,
    needs_costs: true,
    proposes: false,
    audits: true,
    searcher: |brief| Box::new(FreezeThaw::new(brief)),
};

/// What may be wanted of freeze-thaw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub objectives: Objectives,
    /// Of its random choices.
    pub seed: u64,
    /// Share of the paused configurations that the audit finishes, where no risk is given.
    pub audit: f64,
    /// The audit finishes more until no more than this share of the paused configurations belongs on the front.
    pub risk: Option<f64>,
    /// Share of the configurations with each value of each axis that is trained to its end.
    pub keep_factors: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { objectives: Objectives::TimeAccuracy, seed: 0, audit: 0.03, risk: None, keep_factors: 0.0 }
    }
}

/// See the module.
pub struct FreezeThaw {
    order: Vec<usize>,
    /// What was decided so far: a function of the curves that were told, kept so that it need not be found again.
    process: RefCell<Process>,
}

impl FreezeThaw {
    /// Without costs, an epoch of every training is taken for one second.
    pub fn new(brief: &Brief) -> FreezeThaw {
        let order = Grid::of(brief, Order::Grid).trials().to_vec();
        let blank = brief.costs.is_none().then(|| Costs::blank(brief));
        // One of the two is there.
        let costs = brief.costs.or(blank.as_ref()).expect("costs");
        let process = RefCell::new(Process::new(brief, &order, costs, brief.settings));
        FreezeThaw { order, process }
    }
}

impl Searcher for FreezeThaw {
    fn propose(&self, told: &Told, slot: &Offer) -> Proposal {
        let mut process = self.process.borrow_mut();
        process.advance(told);
        if let Some(proposal) = next_training(process.wanted(), told, slot) {
            return proposal;
        }
        if !process.is_over() {
            return Proposal::Wait;
        }
        process.set_aside(told).unwrap_or(Proposal::Done)
    }

    fn trials(&self) -> &[usize] {
        &self.order
    }

    fn decisions(&self, from: usize) -> Vec<Decision> {
        self.process.borrow().decisions.iter().skip(from).cloned().collect()
    }

    fn audit(&self) -> Option<Audit> {
        let process = self.process.borrow();
        process.is_over().then(|| process.audit())
    }
}
