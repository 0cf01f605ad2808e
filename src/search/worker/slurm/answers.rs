//! What Slurm is asked for as time goes by, and what its answers change.

use std::time::Instant;

use super::{
    AGAIN, QUEUE, SHARE, SHARE_AFAR, Slurm, Worker,
    control::{Answer, Ask},
};

impl Slurm {
    /// Says to Slurm what it is to end, all of it in one command.
    pub(super) fn tell(&mut self) {
        if self.unheard.is_some_and(|since| since.elapsed() < AGAIN) {
            return;
        }
        self.unheard = None;
        if !self.to_stop.is_empty() {
            self.control.ask(Ask::Stop(std::mem::take(&mut self.to_stop)));
        }
        if !self.to_cancel.is_empty() {
            self.control.ask(Ask::Cancel(std::mem::take(&mut self.to_cancel)));
        }
    }

    pub(super) fn look_at_queue(&mut self) {
        if self.is_looking || self.queued.elapsed() < self.queue_every {
            return;
        }
        // Also where nothing runs any more: a trouble is over once the queue is seen.
        let is_busy = self.trouble().is_some() || self.running.iter().any(Option::is_some);
        if is_busy || self.is_untidy() {
            self.is_looking = true;
            self.ask_for_round();
            self.control.ask(Ask::Look);
        }
    }

    pub(super) fn take_up(&mut self, answer: Answer) {
        match answer {
            Answer::Submitted { number, job } => self.submitted(number, job),
            Answer::Seen { queue, asked, took } => {
                (self.is_looking, self.queued) = (false, Instant::now());
                let share = if self.far.is_some() { SHARE_AFAR } else { SHARE };
                // One that was not answered took as long as it was waited for, which says nothing of what a look costs.
                self.queue_every = if queue.is_ok() { QUEUE.max(share * took) } else { AGAIN };
                match queue {
                    // A job that is over may have told of itself what did not arrive.
                    Ok(_) if self.far.as_ref().is_some_and(|far| far.trouble.is_some()) => self.trouble = None,
                    Ok(lines) => {
                        self.trouble = None;
                        self.seen(&lines, asked);
                    }
                    Err(error) => self.trouble = Some(format!("Slurm's queue cannot be seen: {error}")),
                }
            }
            Answer::Exit { job, told } => self.exited(&job, &told),
            Answer::Rounded(orders) => self.rounded(orders),
            Answer::Unheard(ask) => {
                self.unheard = Some(Instant::now());
                match ask {
                    Ask::Cancel(jobs) => self.to_cancel.extend(jobs),
                    Ask::Stop(jobs) => self.to_stop.extend(jobs),
                    _ => {}
                }
            }
        }
    }
}
