//! Signals that end a command: the first asks it to come to its end, the second ends it.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context, Result};
use fastrcaps::base::machine;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Exit code that a shell reports for a command that Ctrl-C ended: 128 plus the signal's number.
pub const INTERRUPTED: u8 = 130;

/// A flag that the first of SIGINT (Ctrl-C), SIGTERM and SIGHUP sets. The second one ends this process at once, with exit
/// code 128 plus its number, as a shell does. Signals that this process was started to ignore (by nohup, or in the
/// background of a script) stay ignored.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    stop_on(&[SIGINT, SIGTERM, SIGHUP])
}

/// The same but for SIGHUP, which ends this process: a connection that is lost is no wish that jobs on a cluster end.
pub fn stop_on_wishes() -> Result<Arc<AtomicBool>> {
    stop_on(&[SIGINT, SIGTERM])
}

fn stop_on(signals: &[i32]) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    // Of its own: `stop` may also be set otherwise, after which a first signal is no second one.
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in signals.iter().copied().filter(|signal| !machine::is_ignored(*signal)) {
        // In this order: what is registered first acts first.
        flag::register_conditional_shutdown(signal, 128 + signal, is_second.clone())
            .and_then(|_| flag::register(signal, is_second.clone()))
            .and_then(|_| flag::register(signal, stop.clone()))
            .with_context(|| format!("cannot handle signal {signal}"))?;
    }
    Ok(stop)
}

/// A flag that SIGTERM sets, however often it comes: a cluster sends it to a job and to all of its processes, and SIGKILL later.
pub fn stop_on_terminations() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    flag::register(SIGTERM, stop.clone()).context("cannot handle SIGTERM")?;
    Ok(stop)
}
