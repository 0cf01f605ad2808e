//! Signals that ask this process to end.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context, Result};
use signal_hook::{consts::signal, flag};

/// Exit code of a command that was asked to end, and did so in order: what shells say of Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// What is set once this process was asked to end: by Ctrl-C, by `kill`, or by its terminal closing. When it is asked a
/// second time, it ends at once.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [signal::SIGINT, signal::SIGTERM, signal::SIGHUP] {
        // In this order: the second signal finds the flag set by the first.
        flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
            .and_then(|_| flag::register(signal, asked.clone()))
            .context("cannot listen to signals")?;
    }
    Ok(asked)
}
