//! The command line of fastrcaps.

mod cli;

use std::process::ExitCode;

use cli::input::errln;

/// Keeps the large blocks that training steps free and ask for again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The first things of all: there are no threads yet.
    fastrcaps::learn::kernels::open::number_gpus_by_bus();
    keep_backtraces_to_panics();
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            errln!("error: {error}");
            for cause in error.chain().skip(1) {
                errln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

/// With `RUST_BACKTRACE=1` a panic shows where it came from; without this, so would messages of errors that candle made, on the
/// screen and in the records of trials. Who wants that sets `RUST_LIB_BACKTRACE`. To be called before any thread is started.
fn keep_backtraces_to_panics() {
    const OF_ERRORS: &str = "RUST_LIB_BACKTRACE";
    if std::env::var_os(OF_ERRORS).is_none() {
        // SAFETY: nothing else reads or writes the environment meanwhile, as there is no other thread.
        unsafe { std::env::set_var(OF_ERRORS, "0") };
    }
}
