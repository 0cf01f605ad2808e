//! `fastrcaps bench step --estimate GPU`: what a step takes at least on a GPU that need not be there.

use anyhow::Result;
use fastrcaps::{
    learn::{config::TrialConfig, model::scope::Scope},
    timing::roofline::{Launch, PUBLISHED, Published, launches},
};
use serde_json::json;

use super::{display::aligned, input::outln};

/// Lists the launches of a step of each size on the GPU of this name.
///
/// Errors: a network whose launches are not known.
pub fn show(config: &TrialConfig, network: &str, name: &str, batches: &[u32], as_json: bool) -> Result<()> {
    // The command line takes these names alone.
    let gpu = PUBLISHED.into_iter().find(|of| of.name == name).expect("a name of the list");
    let precision = config.train.precision;
    let scopes = config.schedule.scopes();
    let kinds = batches.iter().flat_map(|&batch| scopes.iter().map(move |&scope| (batch, scope)));
    let steps = kinds.map(|(batch, scope)| Ok((batch, scope, launches(config, scope, batch as usize)?)));
    let steps: Vec<(u32, Scope, Vec<Launch>)> = steps.collect::<Result<_>>()?;
    if as_json {
        let batches: Vec<_> =
            steps.iter().map(|(batch, scope, launches)| object(&gpu, *batch, *scope, launches)).collect();
        let object = json!({
            "gpu": gpu.full_name,
            "source": SOURCE,
            "precision": precision,
            "network": { "name": network, "parameters": config.parameters() },
            "ceilings": { "gflops": gpu.flops(precision) / 1e9, "gigabytes_per_second": gpu.bandwidth / 1e9 },
            "is_measured": false,
            "batches": batches,
        });
        outln!("{object:#}");
        return Ok(());
    }
    outln!(
        "NOTHING HERE WAS MEASURED: the least a step of network {network} in {} can take on one {}, by {:.1} TFLOP/s of products and \
         {:.2} TB/s of memory ({SOURCE}). Every launch adds a few microseconds of its own, and no kernel reaches these figures.",
        precision.as_str(),
        gpu.full_name,
        gpu.flops(precision) / 1e12,
        gpu.bandwidth / 1e12,
    );
    for (batch, scope, launches) in &steps {
        outln!("\n{}", table(&gpu, *batch, *scope, launches));
    }
    Ok(())
}

const SOURCE: &str = "NVIDIA's data sheets, dense";

fn table(gpu: &Published, batch: u32, scope: Scope, launches: &[Launch]) -> String {
    let mut rows: Vec<Vec<String>> =
        vec!["PART|LAUNCH|COUNT|MB|GFLOP|IN|LEAST MS|BOUND BY".split('|').map(String::from).collect()];
    let figures = |bytes: u64, multiply_adds: u64| [bytes as f64 / 1e6, 2e-9 * multiply_adds as f64];
    for launch in launches {
        let [mb, gflop] = figures(launch.bytes, launch.multiply_adds);
        let (seconds, bound) = gpu.least_seconds(launch);
        let gflop = if launch.multiply_adds > 0 { format!("{gflop:.3}") } else { String::new() };
        rows.push(vec![
            launch.part.as_str().into(),
            launch.name.into(),
            launch.count.to_string(),
            format!("{mb:.2}"),
            gflop,
            if launch.multiply_adds > 0 { launch.precision.as_str().into() } else { String::new() },
            format!("{:.4}", 1e3 * seconds),
            bound.as_str().into(),
        ]);
    }
    let Sum { launches: count, bytes, multiply_adds, seconds } = Sum::of(gpu, launches);
    let [mb, gflop] = figures(bytes, multiply_adds);
    let sum = ["step".into(), String::new(), count.to_string(), format!("{mb:.2}"), format!("{gflop:.3}")];
    rows.push(sum.into_iter().chain([String::new(), format!("{:.4}", 1e3 * seconds)]).collect());
    let scope = if scope.is_whole() { String::new() } else { format!(", {scope}") };
    format!("batch {batch}{scope}: {:.0} samples/s at most\n{}", f64::from(batch) / seconds, aligned(&rows).trim_end())
}

/// All launches of a step together.
struct Sum {
    launches: usize,
    bytes: u64,
    multiply_adds: u64,
    seconds: f64,
}

impl Sum {
    fn of(gpu: &Published, launches: &[Launch]) -> Sum {
        Sum {
            launches: launches.iter().map(|launch| launch.count).sum(),
            bytes: launches.iter().map(|launch| launch.bytes).sum(),
            multiply_adds: launches.iter().map(|launch| launch.multiply_adds).sum(),
            seconds: launches.iter().map(|launch| gpu.least_seconds(launch).0).sum(),
        }
    }
}

fn object(gpu: &Published, batch: u32, scope: Scope, launches: &[Launch]) -> serde_json::Value {
    let rows = launches.iter().map(|launch| {
        let (seconds, bound) = gpu.least_seconds(launch);
        json!({
            "part": launch.part.as_str(),
            "launch": launch.name,
            "count": launch.count,
            "precision": launch.precision,
            "bytes": launch.bytes,
            "multiply_adds": launch.multiply_adds,
            "least_ms": 1e3 * seconds,
            "bound_by": bound.as_str(),
        })
    });
    let Sum { launches: count, bytes, multiply_adds, seconds } = Sum::of(gpu, launches);
    let step = json!({ "count": count, "bytes": bytes, "multiply_adds": multiply_adds, "least_ms": 1e3 * seconds });
    let mut object = json!({ "batch": batch, "launches": rows.collect::<Vec<_>>(), "step": step });
    if !scope.is_whole() {
        object["scope"] = json!(scope);
    }
    object
}
