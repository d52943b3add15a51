//! What must not hold up anything is done on a thread of its own: lines for a terminal that stands still, a log on a disk
//! that does not answer. Whoever gives something to do never waits; what is too much is left out, and that is said.

use std::{
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use conclave_eth::text::printable;

/// So much may wait.
const QUEUE: usize = 4096;
/// How often a full queue is looked at by who waits for its end.
const LOOK: Duration = Duration::from_millis(10);

type Job = Box<dyn FnOnce() + Send>;

/// The way to such a thread. Clones lead to the same.
#[derive(Clone)]
pub(super) struct Aside {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Aside {
    /// Starts the thread. It tells `sorry` how much was left out when it gets on again.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn new(name: &str, sorry: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel::<Job>(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let left_out = lost.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in inbox {
                // One that fails takes nothing else with it.
                let _ = catch_unwind(AssertUnwindSafe(job));
                match left_out.swap(0, Ordering::Relaxed) {
                    0 => {}
                    lost => sorry(lost),
                }
            }
        })?;
        Ok(Self { jobs, lost })
    }

    /// Has it done after everything that was given before, and does not wait for that.
    pub(super) fn give(&self, job: impl FnOnce() + Send + 'static) {
        if self.jobs.try_send(Box::new(job)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is done that was given before, for so long at most. Whether it is.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let (done, is_done) = channel();
        let mut job: Job = Box::new(move || {
            let _ = done.send(());
        });
        while let Err(error) = self.jobs.try_send(job) {
            if Instant::now() >= end {
                return false;
            }
            job = match error {
                std::sync::mpsc::TrySendError::Full(job)
                | std::sync::mpsc::TrySendError::Disconnected(job) => job,
            };
            thread::sleep(LOOK);
        }
        is_done
            .recv_timeout(end.saturating_duration_since(Instant::now()))
            .is_ok()
    }

    /// Somewhere to write to that nobody waits for.
    pub(super) fn writer<W: Write + Send + 'static>(&self, to: W) -> Writer<W> {
        Writer {
            aside: self.clone(),
            to: Arc::new(Mutex::new(to)),
        }
    }
}

/// Writes text on the other thread, as it may be shown. What is written at once stays together.
pub(super) struct Writer<W> {
    aside: Aside,
    to: Arc<Mutex<W>>,
}

impl<W> Clone for Writer<W> {
    fn clone(&self) -> Self {
        Self {
            aside: self.aside.clone(),
            to: self.to.clone(),
        }
    }
}

impl<W: Write + Send + 'static> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What peers and beacon nodes say stands in it.
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        let (to, copy) = (self.to.clone(), lines.join("\n").into_bytes());
        self.aside.give(move || {
            // There is nobody whom one could tell.
            let _ = to.lock().unwrap_or_else(PoisonError::into_inner).write_all(&copy);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: Write + Send + 'static> MakeWriter<'a> for Writer<W> {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_it_and_what_is_left_out_is_told() {
        let (sorry, told) = channel();
        let aside = Aside::new("test", move |lost| sorry.send(lost).unwrap()).unwrap();
        let (open, gate) = channel::<()>();
        let (come, is_there) = channel();
        aside.give(move || {
            come.send(()).unwrap();
            gate.recv().unwrap();
        });
        // From here on nothing is taken from the queue.
        is_there.recv().unwrap();
        let (said, heard) = channel();
        let all = 3 * QUEUE;
        for number in 0..all {
            let said = said.clone();
            aside.give(move || said.send(number).unwrap());
        }
        assert!(!aside.finish(Duration::from_millis(50)));
        open.send(()).unwrap();
        let lost = told.recv().unwrap();
        assert!(aside.finish(Duration::from_secs(60)));
        drop(said);
        let heard: Vec<usize> = heard.iter().collect();
        // In order, and the oldest ones.
        assert!(heard.iter().copied().eq(0..QUEUE), "{} were done", heard.len());
        assert_eq!(usize::try_from(lost).unwrap() + heard.len(), all);
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_fails_takes_nothing_with_it() {
        let aside = Aside::new("test", |_| {}).unwrap();
        aside.give(|| panic!("on purpose"));
        let to = Arc::new(Mutex::new(Vec::new()));
        let writer = aside.writer(Shared(to.clone()));
        writer
            .make_writer()
            .write_all("one\u{202e} line\u{1b}[2J\nand another".as_bytes())
            .unwrap();
        assert!(aside.finish(Duration::from_secs(60)));
        assert_eq!(
            *to.lock().unwrap(),
            "one\u{fffd} line\u{fffd}[2J\nand another".as_bytes()
        );
    }
}
