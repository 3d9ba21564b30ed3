//! The disk's thread: it takes requests, does them one after the other, and wakes the loop for each report. The loop never
//! waits for it but at the end.

use super::data_dir::DataDir;
use crate::journal::worker::Worker;
use crate::journal::{REQUESTS_MAX, Report, Request};
use mio::Waker;
use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes of the thread's stack.
pub const STACK_BYTES: usize = 128 * 1024;

/// The thread and both channels.
pub struct Disk {
    /// `None`: no more requests come.
    requests: Option<SyncSender<Request>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn spawn(mut worker: Worker<DataDir>, waker: Waker) -> io::Result<Disk> {
        let (requests, to_do) = mpsc::sync_channel::<Request>(REQUESTS_MAX);
        let (done, reports) = mpsc::sync_channel(REQUESTS_MAX);
        let body = move || {
            for request in to_do {
                // The loop is gone: so is what it would have learned.
                if done.send(worker.handle(request)).is_err() {
                    return;
                }
                if let Err(error) = waker.wake() {
                    log::error!(error:%; "the loop cannot be woken: {error}");
                }
            }
        };
        let thread =
            thread::Builder::new().name("pannier-disk".to_owned()).stack_size(STACK_BYTES).spawn(body)?;
        Ok(Disk { requests: Some(requests), reports, thread: Some(thread) })
    }

    /// Hands a request over. There are never more under way than the channel holds.
    pub fn send(&self, request: Request) {
        if let Some(requests) = &self.requests
            && let Err(error) = requests.try_send(request)
        {
            // A thread that has ended by a panic has said so.
            log::error!(error:%; "the disk's thread takes no request: {error}");
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
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
