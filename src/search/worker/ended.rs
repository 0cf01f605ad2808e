//! How a process ended, whose fault it was, and in words.

use crate::{
    learn::{folder::TrialFolder, record::Fault},
    search::worker::{End, STOPPED},
};

/// Exit code of a Rust program that panicked.
const PANICKED: i32 = 101;

pub(super) fn with_code(code: i32, folder: &TrialFolder) -> End {
    let how = match code {
        STOPPED => return End::Stopped,
        // A panic comes again: nothing in a training is left to chance.
        PANICKED => return End::Broken(Fault::Configuration, with_last_words("panicked".into(), folder)),
        -1 => "ended, nobody knows how, with no result".to_string(),
        code => format!("ended with exit code {code} and no result"),
    };
    End::Exited(with_last_words(how, folder))
}

/// By a signal that its worker did not send; `was_out_of_memory` where the system killed processes for that meanwhile.
pub(super) fn by_signal(signal: i32, was_out_of_memory: bool, folder: &TrialFolder) -> End {
    let failed_to_allocate = || folder.last_words().is_some_and(|words| words.contains("memory allocation of"));
    let fault = match signal {
        libc::SIGKILL if was_out_of_memory => {
            return End::Broken(Fault::Memory, "killed by the system, which had no memory left".into());
        }
        libc::SIGABRT if failed_to_allocate() => Fault::Memory,
        _ => Fault::Machine,
    };
    End::Broken(fault, with_last_words(told(signal), folder))
}

/// With what the trial said last.
fn with_last_words(how: String, folder: &TrialFolder) -> String {
    match folder.last_words() {
        Some(words) => format!("{how}: {words}"),
        None => how,
    }
}

/// How a process ended that a signal ended, with the signal's name, and what sends it where that can be mended.
fn told(signal: i32) -> String {
    let named = match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("signal {signal}, {name}"),
        None => format!("signal {signal}"),
    };
    match signal {
        libc::SIGKILL => format!("killed by {named} (by hand, or by the system when memory ran out)"),
        libc::SIGABRT => format!("aborted ({named}), as when an allocation fails"),
        libc::SIGXFSZ => {
            format!("ended by {named}: a file grew beyond what may be written (`ulimit -f` says how much)")
        }
        libc::SIGXCPU => format!("ended by {named}: it computed longer than it may (`ulimit -t` says how long)"),
        libc::SIGBUS => format!("ended by {named}, as when a file that is mapped is cut short or its disk fails"),
        libc::SIGILL => format!("ended by {named}: the processor does not know an instruction"),
        _ => format!("ended by {named}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_by_signal_is_told_with_its_name() {
        for (signal, words) in [
            (9, "killed by signal 9, SIGKILL ("),
            (11, "ended by signal 11, SIGSEGV"),
            (libc::SIGXFSZ, "SIGXFSZ: a file grew beyond what may be written"),
            (64, "ended by signal 64"),
        ] {
            assert!(told(signal).contains(words), "{}", told(signal));
        }
    }
}
