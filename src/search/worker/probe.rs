//! A look at a GPU through a process of its own, so that who asks holds no context on it afterwards.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{Heard, Task, Tasks};
use crate::base::device::{Gpu, Place};

/// How long the driver may take once the task has begun: a GPU that is lost may never answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often somebody who waits for a line asks again.
const POLL: Duration = Duration::from_secs(1);

/// Opens the GPU at `place` as a training does, in a task `probe-device`, and gives what it is.
///
/// Errors: it cannot be opened, with the reason and the mend; the task does not end, or says nothing that is understood; an error of
/// `waits`.
fn probe(tasks: &dyn Tasks, place: Place, waits: &mut Waits) -> Result<Gpu> {
    let mut task = tasks.start(&Task {
        arguments: vec!["probe-device".into()],
        place,
        is_alone: false,
        threads: 1,
        is_exclusive: false,
    })?;
    task.end_input();
    let mut began = None;
    let mut said = String::new();
    loop {
        match task.hear(POLL)? {
            Heard::Line(line) => said += &line,
            Heard::Nothing if task.is_waiting() => waits()?,
            Heard::Nothing if began.get_or_insert_with(Instant::now).elapsed() < PATIENCE => {}
            Heard::Nothing => {
                bail!("{place} did not answer within {} s: look at it with nvidia-smi", PATIENCE.as_secs())
            }
            Heard::Ended => break,
            Heard::Failed { status, complaints } => {
                let said = complaints.trim_start_matches("error: ").replace("\n  because: ", ": ");
                bail!("{}", if said.is_empty() { format!("{place}: looking at it ended with {status}") } else { said })
            }
        }
    }
    serde_json::from_str(said.trim())
        .with_context(|| format!("{place}: what it is was not understood: {}", said.trim()))
}

/// Called each second while a task waits for a host; an error ends that.
pub type Waits<'a> = dyn FnMut() -> Result<()> + 'a;

/// The GPUs among `places`, each opened once by a process of its own.
///
/// Errors: one that cannot be used, with the reason and the mend; an error of `waits`.
pub fn probe_all(
    tasks: &dyn Tasks,
    places: impl IntoIterator<Item = Place>,
    waits: &mut Waits,
) -> Result<BTreeMap<Place, Gpu>> {
    let gpus = places.into_iter().filter(|place| !place.is_cpu());
    gpus.map(|place| {
        if !tasks.is_elsewhere() {
            // What hides it is told in the words that were used.
            place.environment()?;
        }
        Ok((place, probe(tasks, place, waits)?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{
        super::{Dialogue, LocalTasks},
        *,
    };

    /// Tasks whose process is not begun before it was asked for so many times.
    struct Queued(u32);

    impl Tasks for Queued {
        fn start(&self, _: &Task) -> Result<Box<dyn Dialogue>> {
            Ok(Box::new(Queued(self.0)))
        }
    }

    impl Dialogue for Queued {
        fn say(&mut self, _: &str) {}

        fn end_input(&mut self) {}

        fn is_waiting(&self) -> bool {
            self.0 > 0
        }

        fn hear(&mut self, _: Duration) -> Result<Heard> {
            self.0 = self.0.saturating_sub(1);
            Ok(if self.0 > 0 { Heard::Nothing } else { Heard::Ended })
        }
    }

    #[test]
    fn a_node_is_waited_for_until_who_waits_has_had_enough() {
        let mut waited = 0;
        let said = probe(&Queued(500), Place::Cuda(0), &mut || {
            waited += 1;
            Ok(())
        });
        assert!(said.unwrap_err().to_string().contains("not understood") && waited == 499);
        let stopped = probe(&Queued(500), Place::Cuda(0), &mut || bail!("enough"));
        assert_eq!(stopped.unwrap_err().to_string(), "enough");
    }

    fn answer(script: &str) -> Result<Gpu> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        probe(&LocalTasks { program }, Place::Cuda(1), &mut || Ok(()))
    }

    #[test]
    fn what_the_process_says_of_a_gpu_is_understood_or_an_error() {
        let gpu = answer(
            "test \"$*\" = 'probe-device --device cuda:1' && echo '{\"name\":\"a\",\"uuid\":\"GPU-1\",\"capability\":[9,0],\
             \"memory_bytes\":5,\"free_bytes\":4,\"driver\":null}'",
        );
        let gpu = gpu.unwrap();
        assert_eq!((gpu.name.as_str(), gpu.capability, gpu.memory_bytes, gpu.free_bytes), ("a", [9, 0], 5, 4));
        let error = |script| answer(script).unwrap_err().to_string();
        assert_eq!(error("echo 'error: no\n  because: none' >&2; exit 1"), "no: none");
        assert!(error("exit 3").contains("cuda:1: looking at it ended with exit status: 3"));
        assert!(error("echo nonsense").contains("not understood: nonsense"));
    }
}
