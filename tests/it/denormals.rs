//! Denormal numbers are flushed to zero wherever a training computes.

use std::hint::black_box;

use candle_core::{Device, Tensor, Var};
use fastrcaps::{
    learn::{
        config::TrialConfig,
        data::{Dataset, DatasetName},
        kernels::{
            flush_denormals,
            optimizer::{Constants, Optimizer, Rule},
        },
        train::Trainer,
    },
    timing::stand_in::stand_in,
};

/// Whether a denormal result and a denormal operand are zero on this thread.
fn are_flushed() -> bool {
    let result = black_box(f32::MIN_POSITIVE) * black_box(0.5);
    let operand = black_box(1e-40_f32) * black_box(1e10);
    let double = black_box(f64::MIN_POSITIVE) * black_box(0.5);
    result == 0.0 && operand == 0.0 && double == 0.0
}

fn tiny() -> (TrialConfig, Dataset) {
    let config = TrialConfig::resolve("[model]\npreset = 'tiny'\n".parse().unwrap()).unwrap();
    (config, stand_in(DatasetName::named("glyphs").unwrap()))
}

#[test]
fn every_thread_that_trains_flushes_denormals() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert!(pool.broadcast(|_| are_flushed()).iter().all(|flushes| !flushes), "a thread flushes from its start");
    let (config, data) = tiny();
    pool.install(|| drop(Trainer::new(&config, &data, &Device::Cpu).unwrap()));
    assert!(pool.broadcast(|_| are_flushed()).iter().all(|flushes| *flushes));
}

// With CUDA a trainer stays on the thread that made it.
#[cfg(not(feature = "cuda"))]
#[test]
fn a_thread_that_takes_over_a_training_flushes_denormals() {
    let (config, data) = tiny();
    // Threads begin as the one that starts them: that one must not have flushed.
    let make = || Trainer::new(&config, &data, &Device::Cpu).unwrap();
    let mut trainer = std::thread::scope(|scope| scope.spawn(make).join().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(!are_flushed());
            trainer.evaluate(&data, &data.test).unwrap();
            assert!(are_flushed());
        });
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(!are_flushed());
            trainer.step(&data, &[0, 1, 2], 0, 1e-3).unwrap();
            assert!(are_flushed());
        });
    });
}

#[test]
fn adams_moments_of_a_gradient_that_stopped_end_at_zero() {
    std::thread::spawn(|| {
        flush_denormals();
        let weight = Var::from_tensor(&Tensor::ones(5, candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap();
        let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let mut adam = Optimizer::new(vec![("weight".into(), weight)], Rule::adam(constants)).unwrap();
        let mut step = |gradient: f32| {
            adam.begin(1e-3);
            adam.lend::<f32>(0, &mut |weight| weight.whole(&[gradient; 5])).unwrap();
        };
        step(1.0);
        // 0.1 · 0.9^n falls below the least normal number after 807 steps, 0.001 · 0.999^n after 80 300.
        (0..81_000).for_each(|_| step(0.0));
        let moments = adam.view().1["weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(moments, vec![0.0; 10]);
    })
    .join()
    .unwrap();
}
