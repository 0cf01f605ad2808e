//! The self-test of a device: passes where all is well, and finds what is planted.

use candle_core::Device;
use fastrcaps::learn::{
    kernels::{self, reference},
    selftest::{self, Case, Draw, OpCase, Options, Row, Test, of_op},
};

use crate::{
    cli::{refused, succeed},
    facts::Facts,
};

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
    out.names(["16 tests", "cpu"]).is_silent_on(["FAILED"]);
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
fn what_cannot_be_tested_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let rows: [(&str, i32, &[&str]); 9] = [
        ("selftest --device gpu", 2, &["--device", "gpu", "cpu", "cuda:0"]),
        ("selftest --only conv3d", 1, &["conv3d", "cpu", "conv2d", "conv2d-relu"]),
        ("selftest --only linear,relu --case 1", 1, &["--case"]),
        ("selftest --case 1", 2, &["--only"]),
        ("selftest --cases 0", 2, &["--cases", "0", "1.."]),
        ("bench step --precision tf32", 1, &["f32"]),
        ("bench step --precision f16", 2, &["--precision", "f16", "f32", "tf32", "bf16"]),
        ("bench step --estimate v100", 2, &["--estimate", "v100", "h100", "h200", "a100"]),
        ("bench step --estimate h100 --device cuda:0", 2, &["--estimate", "--device"]),
    ];
    for (arguments, code, facts) in rows {
        let (ended, said) = refused(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        said.names(facts);
        assert_eq!(ended, code, "{arguments}: {said}");
    }
    #[cfg(not(feature = "cuda"))]
    for command in [vec!["selftest"], vec!["bench", "step"]] {
        refused(folder.path(), &[command, vec!["--device", "cuda:0"]].concat()).1.names(["cuda:0", "--features cuda"]);
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
    failure.shape.names(["s [3, 4]", "exact"]);
    // Of which tensor, its error, and what is tolerated.
    failure.what.names(["s", "1.0e-3", "2.0e-5"]);
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
        anyhow::ensure!(draw.case < 1, "error 0x1f");
        Ok(())
    });
    let row = run(&test, &OPTIONS);
    let failure = row.failure.unwrap();
    assert_eq!((row.cases, failure.case, failure.shape.as_str()), (2, 1, "case 1"));
    failure.what.names(["error 0x1f"]);
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
