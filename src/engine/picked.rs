//! The configuration of a study that was picked, and what its trained network makes of test images.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    learn::{
        config::TrialConfig,
        data::{self, DataDirs},
        model::argmax,
        record::Status,
        train::{Predictions, run::predict_again},
    },
    present::{
        charts::reconstructions::{Picture, Sample},
        report::{findings::Findings, view::StudyView},
    },
    search::study::Study,
};

/// The configuration that `fastrcaps pick` chose last; where it chose none yet, the most accurate on the front.
pub fn picked(study: &Study, view: &StudyView) -> Option<usize> {
    chosen(study, view).or_else(|| {
        let findings = Findings::of(view);
        findings.front.last().map(|index| findings.points[*index].candidate)
    })
}

fn chosen(study: &Study, view: &StudyView) -> Option<usize> {
    let text = fs::read_to_string(study.folder.join("pick").join("config.toml")).ok()?;
    let config = TrialConfig::resolve(text.parse().ok()?).ok()?;
    // A pick may be the beginning of a training.
    let same = |of: &TrialConfig| {
        let train = crate::learn::config::TrainConfig { epochs: config.train.epochs, ..of.train.clone() };
        let beginning = TrialConfig { seed: config.seed, train, ..of.clone() };
        // In its one spelling, which may depend on its epochs.
        TrialConfig::resolve(beginning.to_table()).is_ok_and(|of| of == config)
    };
    view.expansion.candidates.iter().position(|candidate| same(&candidate.config))
}

/// Test images of each class in turn beside what a configuration's decoder makes of them; none where it has no decoder.
///
/// # Errors
/// No trial of it was trained to its end here, its weights are gone, or the data cannot be read.
pub fn samples(
    study: &Study,
    view: &StudyView,
    candidate: usize,
    dirs: &DataDirs,
    count: usize,
) -> Result<Vec<Sample>> {
    let label = &view.expansion.candidates[candidate].label;
    let trials = view.trials.iter().zip(&view.records).zip(&view.keys);
    let done = |((trial, record), _): &((&crate::search::space::Trial, &Option<_>), &String)| {
        trial.candidate == candidate
            && record.as_ref().is_some_and(|of: &crate::learn::record::TrialRecord| of.status == Status::Done)
    };
    let Some(((trial, record), key)) = trials.into_iter().find(done) else {
        bail!("no trial of {label:?} was trained to its end: there are no weights to reconstruct with")
    };
    let data = data::load(&trial.config.data, dirs)?;
    let sha256 = record.as_ref().and_then(|record| record.weights_sha256.as_deref());
    let said = predict_again(&study.trial(key), &trial.config, sha256, &data, count)
        .with_context(|| format!("the network of {label:?} cannot be asked for reconstructions"))?;
    shown(&said, &trial.config, count)
}

/// Predictions of `count` images, of each class in turn, as pictures; none without a decoder.
pub fn shown(said: &Predictions, config: &TrialConfig, count: usize) -> Result<Vec<Sample>> {
    let Some(reconstruction) = &said.reconstruction else { return Ok(Vec::new()) };
    let shape = config.data.name.image_shape();
    let picture =
        |values: Vec<f32>| Picture { channels: shape.channels, height: shape.height, width: shape.width, values };
    let class = |label| config.data.name.class_name(label).into_owned();
    let labels = said.labels.to_vec1::<u32>()?;
    let originals = said.images.flatten_from(1)?.to_vec2::<f32>()?;
    let (reconstructions, scores) = (reconstruction.to_vec2::<f32>()?, said.scores.to_vec2::<f32>()?);
    let sample = |index: usize| Sample {
        original: picture(originals[index].clone()),
        reconstruction: picture(reconstructions[index].clone()),
        truth: class(labels[index] as usize),
        predicted: class(argmax(&scores[index])),
    };
    Ok(data::in_turn(&labels, count).into_iter().map(sample).collect())
}
