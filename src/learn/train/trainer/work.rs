//! The work of a step, part by part.

use anyhow::Result;

use super::{Engine, Trainer};
use crate::learn::{
    kernels::Average,
    model::{graph_work, pass::Work},
    train::laps::Part,
};

impl Trainer {
    /// The work of the parts of the last step, as far as it is known.
    pub fn work(&self) -> Result<Vec<(Part, Work)>> {
        let (untrained, stages) = match &self.engine {
            Engine::Pass(pass) => {
                let stages = pass.work()?.into_iter().map(|(stage, work)| (Part::Pass(stage), work)).collect();
                (pass.untrained(), stages)
            }
            Engine::Graph(layers, scope) => {
                let work = graph_work::work(layers, *scope, self.labels.len())?;
                (graph_work::untrained(layers, *scope), vec![(Part::Graph, work)])
            }
            #[cfg(feature = "cuda")]
            Engine::Device(_) => return Ok(Vec::new()),
        };
        let pixels = self.pixels.len();
        let [multiply_adds, values] = self.optimizer.work(&untrained);
        let products = multiply_adds as u64;
        let optimizer = Work { multiply_adds: products, direct_multiply_adds: products, ..of_values(values) };
        // Bytes of images become floats; an average is read and written, and the values are read.
        let mut own = vec![
            (Part::Batch, Work::moving(pixels * (size_of::<u8>() + size_of::<f32>()))),
            (Part::Optimizer, optimizer),
        ];
        if self.average.as_ref().is_some_and(Average::is_kept) {
            own.push((Part::Average, of_values(3 * self.parameters.count())));
        }
        own.extend(stages);
        Ok(own)
    }
}

/// What it takes to move so many values.
fn of_values(values: usize) -> Work {
    Work::moving(values * size_of::<f32>())
}
