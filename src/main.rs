//! The command line of fastrcaps.

mod cli;

use std::process::ExitCode;

use cli::input::errln;

/// Keeps the large blocks that training steps free and ask for again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The first thing of all: there are no threads yet.
    fastrcaps::kernels::open::number_gpus_by_bus();
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
