//! Evolve: configurations are proposed from a space that is not listed, trained a little, and continued where they promise most.
//!
//! A round has new configurations and old ones that go on. New ones are bred: children of configurations on the front, crossed and
//! mutated (Holland 1975; Real et al. 2019, arXiv 1802.01548), and strangers. Many are bred, and those are taken that promise the
//! greatest gain over the front for their time, by what a regression over all that was trained says of them (a pre-selection by a
//! surrogate, as Jin 2011, doi 10.1016/j.swevo.2011.05.001). Old ones go on as freeze-thaw's do: by the outlook of their curves.
//! Training times and parameters are known of all of them before they begin.

mod breed;
mod process;
mod weigh;

use std::{cell::RefCell, rc::Rc};

use super::{
    Brief, Costs, Decision, Grid, Ground, Offer, Order, Proposal, Searcher, Strategy, Told,
    freeze::proposals::next_training, ground::Listed,
};
use process::Process;

pub(super) const EVOLVE: Strategy = Strategy {
    name: "evolve",
    help: "Proposes configurations of a space too large to list: children of those on the front, that promise most for their time by \
           what others came to, and random ones; all train a little, those go on that can still beat the front; with --until, --budget \
           or --limit",
    reopens: true,
    gives_up: true,
    needs_costs: true,
    proposes: true,
    audits: false,
    searcher: |brief| Box::new(Evolve::new(brief)),
};

/// Proposes and continues configurations, round by round.
struct Evolve {
    order: Vec<usize>,
    /// What was decided so far: a function of the curves that were told, kept so that it need not be found again.
    process: RefCell<Process>,
}

impl Evolve {
    /// Without costs, an epoch of every training is taken for one second.
    fn new(brief: &Brief) -> Evolve {
        // A limit is of proposals.
        let order = Grid::of(&Brief { limit: None, ..*brief }, Order::Grid).trials().to_vec();
        let blank = brief.costs.is_none().then(|| Costs::blank(brief));
        // One of the two is there.
        let costs = brief.costs.or(blank.as_ref()).expect("costs");
        let listed = || Rc::new(Listed::of(brief, &costs.seconds, &costs.parameters)) as Rc<dyn Ground>;
        let ground = brief.ground.cloned().unwrap_or_else(listed);
        Evolve { process: RefCell::new(Process::new(brief, &order, costs, ground)), order }
    }
}

impl Searcher for Evolve {
    fn propose(&self, told: &Told, slot: &Offer) -> Proposal {
        let mut process = self.process.borrow_mut();
        process.advance(told);
        if let Some(proposal) = next_training(process.wanted(), told, slot) {
            return proposal;
        }
        if !process.is_over() {
            // What it wants next has to be listed.
            return Proposal::Done;
        }
        process.set_aside(told).unwrap_or(Proposal::Done)
    }

    fn trials(&self) -> &[usize] {
        &self.order
    }

    fn decisions(&self, from: usize) -> Vec<Decision> {
        self.process.borrow().decisions.iter().skip(from).cloned().collect()
    }

    fn further(&self) -> Vec<Vec<usize>> {
        self.process.borrow().further()
    }
}
