//! The disk's thread: it takes jobs, does them one after the other, and wakes the loop for each report. The loop never
//! waits for it but at the end.

use super::data_dir::DataDir;
use crate::journal::worker::Worker;
use crate::journal::{JOBS_MAX, Job, Report};
use mio::Waker;
use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes of the thread's stack.
pub const STACK_BYTES: usize = 128 * 1024;

/// The thread and both channels.
pub struct Disk {
    /// `None`: no more jobs come.
    jobs: Option<SyncSender<Job>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn spawn(mut worker: Worker<DataDir>, waker: Waker) -> io::Result<Disk> {
        let (jobs, to_do) = mpsc::sync_channel::<Job>(JOBS_MAX);
        let (done, reports) = mpsc::sync_channel(JOBS_MAX);
        let body = move || {
            for job in to_do {
                // The loop is gone: so is what it would have learned.
                if done.send(worker.handle(job)).is_err() {
                    return;
                }
                if let Err(error) = waker.wake() {
                    log::error!("the loop cannot be woken: {error}");
                }
            }
        };
        let thread =
            thread::Builder::new().name("pannier-disk".to_owned()).stack_size(STACK_BYTES).spawn(body)?;
        Ok(Disk { jobs: Some(jobs), reports, thread: Some(thread) })
    }

    /// Hands a job over. There are never more under way than the channel holds.
    pub fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && let Err(error) = jobs.try_send(job)
        {
            // A thread that has ended by a panic has said so.
            log::error!("the disk's thread takes no job: {error}");
        }
    }

    /// A report that has come.
    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Waits for a report; `None`: none came in this time, or none will.
    pub fn wait(&self, time: Duration) -> Option<Report> {
        self.reports.recv_timeout(time).ok()
    }

    /// Ends the thread, which has nothing to do any more.
    pub fn join(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
