//! Measured steps. What is measured is never asserted, only that it fits together.

use candle_core::Device;
use fastrcaps::{
    learn::{
        config::TrialConfig,
        model::{config::Precision, pass::Work, scope::Scope},
        train::laps::Part,
    },
    timing::{
        repeat::Limits,
        roofline::{Bound, Ceilings, Measured, MeasuredPart, PUBLISHED, Published, launches, measure},
        stand_in::stand_in,
    },
};

const CEILINGS: Ceilings = Ceilings { flops: 1e11, bandwidth: 4e10 };

fn config(text: &str) -> TrialConfig {
    TrialConfig::resolve(toml::from_str(text).unwrap()).unwrap()
}

fn measured(text: &str, batch: usize, steps: usize) -> Measured {
    let config = config(text);
    let limits = Limits { least: steps, most: steps, patience: std::time::Duration::ZERO };
    measure(&config, &stand_in(config.data.name), &Device::Cpu, batch, Scope::default(), limits, &mut |_| {}).unwrap()
}

fn names(measured: &Measured) -> Vec<&'static str> {
    measured.parts.iter().map(|part| part.part.as_str()).collect()
}

#[test]
fn parts_of_a_step_take_no_longer_than_the_step() {
    let measured = measured("model = { preset = 'tiny' }", 5, 4);
    assert_eq!(measured.steps.len(), 4);
    assert_eq!(
        names(&measured),
        [
            "batch",
            "conv1",
            "primary-capsules",
            "class-capsules",
            "decoder",
            "loss",
            "decoder-backward",
            "class-capsules-backward",
            "primary-capsules-backward",
            "conv1-backward",
            "optimizer"
        ]
    );
    for (index, step) in measured.steps.iter().enumerate() {
        let parts: f64 = measured.parts.iter().map(|part| part.seconds[index]).sum();
        assert!(parts <= step * (1.0 + 1e-9), "step {index}: {parts} s of {step} s");
    }
    let shares: f64 = measured.parts.iter().map(|part| part.share(&measured)).sum();
    assert!(shares > 0.0 && shares <= 1.0 + 1e-9, "{shares}");
}

#[test]
fn the_work_of_the_paper_is_counted() {
    let measured = measured("model = { preset = 'paper' }", 2, 1);
    let work = |name: &str| measured.parts.iter().find(|part| part.part.as_str() == name).unwrap().work.unwrap();
    // Two samples: 20×20 positions of 9×9 taps into 256 channels, and so on; backward twice as much, but for Conv1.
    assert_eq!(work("conv1").direct_multiply_adds, 2 * 400 * 81 * 256);
    assert_eq!(work("conv1-backward").direct_multiply_adds, 2 * 400 * 81 * 256);
    assert_eq!(work("primary-capsules").direct_multiply_adds, 2 * 36 * 81 * 256 * 256);
    assert_eq!(work("primary-capsules-backward").direct_multiply_adds, 2 * 2 * 36 * 81 * 256 * 256);
    // Votes, three weighted sums and two agreements: of few samples, votes are kept.
    assert_eq!(work("class-capsules").multiply_adds, 2 * 1152 * 160 * (8 + 5));
    let decoder = 2 * (16 * 512 + 512 * 1024 + 1024 * 784);
    assert_eq!(work("decoder").multiply_adds, decoder);
    assert_eq!(work("decoder-backward").multiply_adds, 2 * decoder);
    assert_eq!(work("optimizer").bytes, 6 * 4 * 8_215_728);
    assert_eq!(work("batch").bytes, 2 * 784 * 5);
    assert_eq!(work("conv1").bytes, 4 * (2 * 784 + 256 * 82 + 2 * 256 * 400));
    // Of ten classes two are seen.
    let weights = 2 * 16 * 512 + 512 * 1024 + 1024 * 784;
    assert_eq!(work("decoder").bytes, 4 * (2 * (16 + 512 + 1024 + 784) + weights + 512 + 1024 + 784));
}

#[test]
fn a_convolution_in_the_frequency_domain_multiplies_less() {
    let measured = measured("model = { preset = 'paper' }", 64, 1);
    for name in ["primary-capsules", "primary-capsules-backward"] {
        let part = measured.parts.iter().find(|part| part.part.as_str() == name).unwrap();
        let work = part.work.unwrap();
        assert!(work.direct_multiply_adds > 2 * work.multiply_adds, "{name}: {work:?}");
        assert!(part.speed(CEILINGS).direct_flops > part.speed(CEILINGS).flops);
    }
}

#[test]
fn a_part_is_held_against_the_ceiling_that_binds_it() {
    let part = |multiply_adds, bytes, seconds| MeasuredPart {
        part: Part::Optimizer,
        seconds: vec![seconds; 3],
        work: Some(Work { multiply_adds, direct_multiply_adds: 3 * multiply_adds, bytes }),
    };
    // At 100 GFLOP/s and 40 GB/s the first takes at least 20 ms to compute, the second at least 100 ms to move.
    let parts = vec![part(1_000_000_000, 100_000_000, 0.04), part(1_000_000, 4_000_000_000, 0.125)];
    let measured = Measured { batch: 8, scope: Scope::default(), steps: vec![0.2; 3], parts, in_training: Vec::new() };
    let close = |found: Option<f64>, wanted: f64| (found.unwrap() / wanted - 1.0).abs() < 1e-12;
    let [computes, moves] = [0, 1].map(|at: usize| measured.parts[at].speed(CEILINGS));
    assert_eq!((computes.bound, moves.bound), (Some(Bound::Compute), Some(Bound::Memory)));
    assert!(close(computes.of_ceiling, 0.5) && close(moves.of_ceiling, 0.8), "{computes:?} {moves:?}");
    assert!(close(computes.flops, 5e10) && close(computes.direct_flops, 1.5e11) && close(moves.bandwidth, 3.2e10));
    // A whole step takes at least what its parts do, one after the other: 120 of 200 ms.
    let step = measured.speed(CEILINGS);
    assert!(close(step.of_ceiling, 0.6) && step.bound.is_none(), "{step:?}");
    assert_eq!((measured.samples_per_second(), measured.parts[1].share(&measured)), (40.0, 0.625));
}

#[test]
fn networks_without_a_decoder_or_capsules_have_fewer_parts() {
    let bare = measured("model = { preset = 'tiny', decoder = 'none' }", 2, 1);
    assert!(!names(&bare).iter().any(|name| name.starts_with("decoder")), "{:?}", names(&bare));
    assert!(bare.parts.iter().all(|part| part.work.is_some()));
    let lenet = measured("model = { kind = 'lenet5' }", 2, 1);
    assert_eq!(names(&lenet), ["batch", "graph", "optimizer"]);
    let graph = lenet.parts.iter().find(|part| part.part == Part::Graph).unwrap();
    assert!(graph.speed(CEILINGS).of_ceiling.is_some());
    // Convolutions of 24×24 × 5×5 × 6 and 8×8 × 5×5×6 × 16, and dense layers: forward, and backward but for the image.
    let (first, others) = (576 * 25 * 6, 64 * 150 * 16 + 256 * 120 + 120 * 84 + 84 * 10);
    assert_eq!(graph.work.unwrap().direct_multiply_adds, 2 * (2 * first + 3 * others));
    assert!(lenet.speed(CEILINGS).flops.is_some());
}

#[test]
fn ceilings_are_numbers_above_zero() {
    let Ceilings { flops, bandwidth } = Ceilings::measure(&Device::Cpu, Precision::F32).unwrap();
    assert!(flops > 0.0 && flops.is_finite() && bandwidth > 0.0 && bandwidth.is_finite());
}

#[test]
fn the_launches_of_the_paper_add_up_to_its_work() {
    let config = config("model = { preset = 'paper' }");
    let launches = launches(&config, Scope::default(), 128).unwrap();
    let sum = |part: &str| -> (u64, u64) {
        let of = launches.iter().filter(|launch| launch.part.as_str() == part);
        of.fold((0, 0), |(adds, bytes), launch| (adds + launch.multiply_adds, bytes + launch.bytes))
    };
    assert_eq!(sum("conv1").0, 128 * 400 * 81 * 256);
    assert_eq!(sum("conv1-backward").0, 128 * 400 * 81 * 256);
    assert_eq!(sum("primary-capsules").0, 128 * 36 * 81 * 256 * 256);
    assert_eq!(sum("primary-capsules-backward").0, 2 * 128 * 36 * 81 * 256 * 256);
    let decoder = 128 * (160 * 512 + 512 * 1024 + 1024 * 784);
    assert_eq!((sum("decoder").0, sum("decoder-backward").0), (decoder, 2 * decoder));
    // 23.6 million values of votes, each made of 8 products: 28 multiply-adds for each forward, 43 backward.
    assert_eq!((sum("class-capsules").0, sum("class-capsules-backward").0), (660_602_880, 1_014_497_280));
    let adam = launches.iter().find(|launch| launch.name == "adam_step").unwrap();
    assert_eq!(adam.bytes, 7 * 4 * 8_215_728);
    let unfolded = launches.iter().filter(|launch| launch.name == "unfolded_unfold").nth(1).unwrap();
    assert_eq!(unfolded.bytes, 141_557_760 + 4 * 128 * 256 * 400);
}

#[test]
fn launches_are_held_against_published_figures() {
    let f32_config = config("model = { preset = 'paper' }");
    let bf16 = config("train = { precision = 'bf16' }\nmodel = { preset = 'paper' }");
    let [h100, h200, a100] = PUBLISHED;
    let seconds = |gpu: Published, config: &TrialConfig, batch| -> f64 {
        launches(config, Scope::default(), batch).unwrap().iter().map(|launch| gpu.least_seconds(launch).0).sum()
    };
    // Three passes of 24.5 GFLOP·2 at 67 TFLOP/s are 2.2 ms, and more than nine tenths of a step in f32.
    let step = seconds(h100, &f32_config, 128);
    assert!(step > 2.2e-3 && step < 3.5e-3, "{step}");
    assert!(seconds(h200, &f32_config, 128) < step && seconds(a100, &f32_config, 128) > 2.0 * step);
    assert!(seconds(h100, &bf16, 128) < 0.5 * step);
    assert!(seconds(h100, &f32_config, 512) > 3.0 * step);
    let product = launches(&bf16, Scope::default(), 128)
        .unwrap()
        .into_iter()
        .find(|launch| launch.name == "product: layer")
        .unwrap();
    assert_eq!(product.precision, Precision::Tf32);
    assert!(launches(&config("model = { kind = 'lenet5' }"), Scope::default(), 16).is_err());
}
