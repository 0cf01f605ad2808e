//! A trial that runs, or waits to: its attempt, and what is known of it so far.

use std::time::Instant;

use super::{Need, queue, work::Attempt};
use crate::{learn::folder::TrialFolder, search::worker::End};

pub(super) struct Running {
    pub key: String,
    /// Name of the attempt, and its folder.
    pub name: String,
    pub attempt: Attempt,
    pub folder: TrialFolder,
    pub need: Need,
    /// What its training is told beside what all are told, as words of a shell.
    pub arguments: String,
    /// Array and task.
    pub task: Option<(u64, usize)>,
    pub epochs_seen: usize,
    pub has_begun: bool,
    /// Whether Slurm says that it runs.
    pub is_running: bool,
    /// The newest of its starts, and when it was first seen.
    pub newest: Option<(u64, Instant)>,
    /// The last of its starts that a requeue ended.
    pub requeued_after: Option<u64>,
    /// Looks at the queue that found it over or gone without a word of its own.
    pub silent: usize,
    /// Whether its job said that it is over, and what follows from that alone where it was killed.
    pub has_word: bool,
    pub killed: Option<End>,
    /// How it ended, once that is known and only what it left is to be brought home.
    pub end: Option<End>,
    /// What Slurm says of its end, while its exit code is asked for.
    pub asked_for_exit: Option<(queue::Over, String)>,
}

impl Running {
    /// One of which nothing is known yet, and that is in no array.
    pub fn new(key: String, name: String, attempt: Attempt, folder: TrialFolder) -> Running {
        Running {
            key,
            name,
            attempt,
            folder,
            need: Need { mebibytes: None, time: None },
            arguments: String::new(),
            task: None,
            epochs_seen: 0,
            has_begun: false,
            is_running: false,
            newest: None,
            requeued_after: None,
            silent: 0,
            has_word: false,
            killed: None,
            end: None,
            asked_for_exit: None,
        }
    }

    /// Notes a start that was not seen before.
    pub fn note_start(&mut self) {
        let last = self.attempt.numbers().last().copied();
        if let Some(last) = last.filter(|last| self.newest.is_none_or(|(newest, _)| newest < *last)) {
            self.newest = Some((last, Instant::now()));
        }
    }

    /// Takes up that its job waited when the queue was asked: a start that was seen before that is over. A younger one may have
    /// begun after it.
    pub fn waited(&mut self, asked: Instant) {
        if let Some((newest, _)) = self.newest.filter(|(_, since)| *since < asked) {
            self.requeued_after = self.requeued_after.max(Some(newest));
        }
        self.note_start();
    }
}
