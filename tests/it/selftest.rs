//! The self-test of a device: passes where all is well, and finds what is planted.

use candle_core::Device;
use fastrcaps::learn::{
    kernels::{self, reference},
    selftest::{self, Case, Draw, OpCase, Options, Row, Test, of_op},
};

use crate::cli::{refuse, succeed};

const OPTIONS: Options = Options { seed: 3, cases: 3, is_quick: true, case: None };

fn run(test: &Test, options: &Options) -> Row {
    selftest::run(test, &Device::Cpu, options)
}

#[test]
fn cpu_cores_compute_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let out = succeed(folder.path(), &["selftest", "--quick", "--cases", "2", "--seed", "5"]);
    for name in ["conv2d-relu ", "class-capsules ", "adam ", "network ", "steps ", "training-f32 ", "same-bits-f32 "] {
        assert!(out.lines().any(|line| line.starts_with(name) && line.ends_with("ok")), "no {name} in {out}");
    }
    assert!(out.contains("all 12 tests ok on cpu") && !out.contains("FAILED"), "{out}");
}

#[test]
fn a_case_runs_again_by_itself_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["selftest", "--only", "linear", "--seed", "2", "--case", "7", "--json"];
    let all: serde_json::Value = serde_json::from_str(&succeed(folder.path(), &arguments)).unwrap();
    assert_eq!((&all["ok"], &all["seed"], &all["device"]["place"]), (&true.into(), &2.into(), &"cpu".into()));
    let rows = all["tests"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["cases"]), (1, &1.into()));
    assert!(rows[0]["error"].as_f64().unwrap() <= rows[0]["tolerance"].as_f64().unwrap());
}

#[test]
fn what_cannot_be_tested_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, wanted) in [
        (vec!["selftest", "--device", "gpu"], "a device is cpu or cuda:N"),
        (vec!["selftest", "--only", "conv3d"], "there is no test conv3d of cpu; there are conv2d, conv2d-relu"),
        (vec!["selftest", "--only", "linear,relu", "--case", "1"], "--case is the case of one test"),
        (vec!["selftest", "--case", "1"], "--only"),
        (vec!["selftest", "--cases", "0"], "0 is not in 1.."),
        (vec!["bench", "step", "--precision", "tf32"], "CPU cores compute in f32 alone"),
        (vec!["bench", "step", "--precision", "f16"], "[possible values: f32, tf32, bf16]"),
        (vec!["bench", "step", "--estimate", "v100"], "[possible values: h100, h200, a100]"),
        (vec!["bench", "step", "--estimate", "h100", "--device", "cuda:0"], "cannot be used with"),
    ] {
        let said = refuse(folder.path(), &arguments);
        assert!(said.contains(wanted), "{arguments:?} says {said} without {wanted}");
    }
    #[cfg(not(feature = "cuda"))]
    for command in [vec!["selftest"], vec!["bench", "step"]] {
        let said = refuse(folder.path(), &[command, vec!["--device", "cuda:0"]].concat());
        assert!(said.contains("built without CUDA") && said.contains("--features cuda"), "{said}");
    }
}

/// A test of squashing whose gradient is scaled by `factor`, and whose value is not.
fn squash_with_gradient(factor: f64) -> Test {
    of_op("squash", "", 2e-5, move |draw: &mut Draw| {
        let kind = fastrcaps::learn::model::config::Squash::Exact;
        Ok(OpCase {
            options: "exact".into(),
            operands: vec![("s", draw.values(&[3, 4])?)],
            fast: Box::new(move |t| {
                let v = kernels::squash(&t[0], kind)?;
                // v·factor + v·(1 − factor), of which the second has no gradient.
                (&v * factor)? + (v.detach() * (1. - factor))?
            }),
            plain: Box::new(move |t| reference::squash(&t[0], kind)),
        })
    })
}

#[test]
fn a_wrong_gradient_is_found_and_a_right_one_passes() {
    assert!(run(&squash_with_gradient(1.0), &OPTIONS).is_ok());
    let row = run(&squash_with_gradient(1.001), &OPTIONS);
    let failure = row.failure.expect("a gradient of 1.001 times its value fails");
    assert_eq!((failure.case, row.cases), (0, 1));
    assert!(failure.shape.contains("s [3, 4], exact"), "{failure:?}");
    assert!(failure.what.starts_with("gradient of s: error 1.0e-3, tolerated 2.0e-5"), "{failure:?}");
}

#[test]
fn values_that_are_no_numbers_or_too_few_fail() {
    let test = |got: &'static [f64], expected: &'static [f64]| {
        let test = Test::new("x", "", move |_, _, case: &mut Case| {
            case.shape = "drawn".into();
            case.compare("x", got, expected, 0.1);
            Ok(())
        });
        run(&test, &OPTIONS)
    };
    assert!(test(&[1.0, 2.1], &[1.0, 2.0]).is_ok());
    assert!(test(&[0.0, 0.0], &[0.0, 0.0]).is_ok());
    for (got, expected) in [
        (&[1.0, f64::NAN][..], &[1.0, 2.0][..]),
        (&[1.0, 2.0], &[1.0, f64::NAN]),
        (&[f64::INFINITY], &[1.0]),
        (&[1e-30], &[0.0]),
        (&[1.0], &[1.0, 2.0]),
        (&[1.0, 2.3], &[1.0, 2.0]),
    ] {
        assert!(!test(got, expected).is_ok(), "{got:?} passes for {expected:?}");
    }
}

#[test]
fn an_error_is_a_failure_with_its_case() {
    let test = Test::new("x", "", |_, draw: &mut Draw, case: &mut Case| {
        case.shape = format!("case {}", draw.case);
        case.compare("x", &[1.0], &[1.0], 0.0);
        anyhow::ensure!(draw.case < 1, "the device fell off the bus");
        Ok(())
    });
    let row = run(&test, &OPTIONS);
    let failure = row.failure.unwrap();
    assert_eq!((row.cases, failure.case, failure.shape.as_str()), (2, 1, "case 1"));
    assert!(failure.what.contains("fell off the bus"));
}

#[test]
fn a_case_is_the_same_whatever_ran_before_it() {
    let values = |options: Options| {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = seen.clone();
        let test = Test::new("x", "", move |_, draw: &mut Draw, case: &mut Case| {
            into.lock().unwrap().push((draw.case, draw.size(0..=1_000_000), draw.values(&[2])?.to_vec1::<f32>()?));
            case.compare("x", &[1.0], &[1.0], 0.0);
            Ok(())
        });
        run(&test, &options);
        drop(test);
        std::sync::Arc::into_inner(seen).unwrap().into_inner().unwrap()
    };
    let all = values(OPTIONS);
    assert_eq!(all.len(), 3);
    assert_eq!(values(Options { case: Some(2), ..OPTIONS }), all[2..]);
    assert_ne!(values(Options { seed: 4, ..OPTIONS })[2], all[2]);
}
