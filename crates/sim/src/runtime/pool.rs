//! Threads of the system for tasks, kept for the next run: thousands of seeds would otherwise start
//! hundreds of thousands of them.

#![allow(
    clippy::disallowed_methods,
    reason = "the threads below the simulation are the system's"
)]

use std::sync::mpsc::{Sender, channel};

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// Those that have nothing to do.
static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());

/// Run `job` on a thread of its own.
pub(super) fn run(job: impl FnOnce() + Send + 'static) {
    let job: Job = Box::new(job);
    let idle = IDLE.lock().pop();
    let refused = match idle {
        Some(thread) => thread.send(job).err().map(|refused| refused.0),
        None => Some(job),
    };
    if let Some(job) = refused {
        std::thread::spawn(move || work(job));
    }
}

fn work(first: Job) {
    let (jobs, next) = channel();
    first();
    loop {
        IDLE.lock().push(jobs.clone());
        match next.recv() {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
