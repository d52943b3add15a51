//! Ctrl-C, SIGTERM and a terminal that is closed: one place for the whole process.
//!
//! Whatever the command is doing, the terminal is put back as it was before a question (echo, line mode, the cursor), and what was and was not
//! done is said, before the process ends with the exit code for interruptions. A command that ends in good order by itself is told first, and
//! ended at once by a second signal only.

use std::{
    fs,
    io::{IsTerminal as _, stdin},
    process::exit,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use conclave_ceremony::problem::{Kind, Problem};

use super::output::{Output, obeys_escapes};

/// Signals that come together are one: a terminal and a service manager may each send one.
const TOGETHER: Duration = Duration::from_millis(300);
/// Has a terminal no longer say what is pasted.
pub(super) const SAY_NO_PASTES: &str = "\u{1b}[?2004l";
/// As a shell tells that SIGQUIT ended a program.
const QUIT: i32 = 131;
/// Why, of every interruption.
const STOPPED: &str = "the command was stopped before its end";
/// What to do, where nothing else is said.
const AGAIN: &str = "run the same command again when you want to go on: it overwrites nothing that is there";

/// What was and was not done, and what to do about it.
type Words = (&'static str, &'static str);

/// Whether the command was stopped (Ctrl-Z) and goes on since this was last asked.
static CONTINUED: AtomicBool = AtomicBool::new(false);

static STATE: Mutex<State> = Mutex::new(State {
    json: false,
    said: None,
    question: None,
    orderly: None,
    heard: None,
});

/// What stands in the terminal.
struct Question {
    /// The command goes on meanwhile, and looks after signals by itself if it ends in good order. Else it waits for the answer, and for nothing
    /// else.
    beside: bool,
    /// How the terminal was before, if it is one.
    before: Option<Termios>,
}

/// What a signal finds.
struct State {
    json: bool,
    /// What was and was not done so far.
    said: Option<Words>,
    question: Option<Question>,
    /// Set for a command that ends in good order.
    orderly: Option<Arc<AtomicBool>>,
    /// When a signal was last heard of.
    heard: Option<Instant>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Puts the terminal back as it was before the question that stands in it.
    fn put_back(&mut self) -> bool {
        let Some(question) = self.question.take() else {
            return false;
        };
        if let Some(before) = question.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
        if obeys_escapes() {
            let term = console::Term::stderr();
            let _ = term.write_str(SAY_NO_PASTES);
            let _ = term.show_cursor();
        }
        true
    }

    fn problem(&self) -> Problem {
        let (what, what_to_do) = match self.said {
            None => ("interrupted".to_owned(), AGAIN),
            Some((said, what_to_do)) => (format!("interrupted: {said}"), what_to_do),
        };
        Problem::new(Kind::Interrupted, what, STOPPED, what_to_do)
    }

    /// A signal came. The exit code, if the process is to end with it.
    fn hear(&mut self, now: Instant) -> Option<u8> {
        let again = self.heard.replace(now);
        if again.is_some_and(|before| now.saturating_duration_since(before) < TOGETHER) {
            return None;
        }
        let waits = self.question.as_ref().is_some_and(|question| !question.beside);
        let asked = self.put_back();
        let code = Kind::Interrupted.exit_code();
        if let Some(orderly) = self.orderly.as_ref().filter(|_| !waits) {
            return orderly.swap(true, Ordering::Relaxed).then_some(code);
        }
        if asked {
            // Below the question, in the line of which the cursor still stands.
            let below = if obeys_escapes() { "\n\u{1b}[J" } else { "\n" };
            let _ = console::Term::stderr().write_str(below);
        }
        Output::new(self.json).problem(&self.problem());
        Some(code)
    }
}

/// Looks after signals from now on.
///
/// # Errors
/// If the operating system does not let it.
pub(super) fn watch(json: bool) -> Result<(), Problem> {
    state().json = json;
    let fail = |error| Problem::other("cannot start", error, "stop other programs and try again");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(fail)?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut quit = signal(SignalKind::quit()).map_err(fail)?;
    let mut go_on = signal(SignalKind::from_raw(process::Signal::CONT.as_raw())).map_err(fail)?;
    // What nohup and a shell's trap have this process ignore, it goes on ignoring.
    let mut hang_up = if hang_ups_are_ignored() {
        None
    } else {
        Some(signal(SignalKind::hangup()).map_err(fail)?)
    };
    drop(inside);
    std::thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = next(&mut hang_up) => {}
                    _ = go_on.recv() => {
                        CONTINUED.store(true, Ordering::Relaxed);
                        continue;
                    }
                    // Ctrl-\\ asks for no good order, but the terminal is put back all the same.
                    _ = quit.recv() => {
                        state().put_back();
                        exit(QUIT);
                    }
                }
                // Nobody says anything meanwhile.
                let mut state = state();
                if let Some(code) = state.hear(Instant::now()) {
                    exit(i32::from(code));
                }
            }
        });
    });
    Ok(())
}

async fn next(hang_up: &mut Option<Signal>) {
    if let Some(signal) = hang_up {
        signal.recv().await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Whether this process was started so that it outlives its terminal.
fn hang_ups_are_ignored() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        // Not on Linux: whoever starts a program so has it read from elsewhere.
        return !stdin().is_terminal();
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is the first.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Whether the command was stopped and goes on since this was last asked: what it had drawn may stand anywhere by now.
pub(super) fn continued() -> bool {
    CONTINUED.swap(false, Ordering::Relaxed)
}

/// From now on the first signal only sets what this returns: the command ends in good order. A second one ends the process.
pub(super) fn in_good_order() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    state().orderly = Some(flag.clone());
    flag
}

/// What a signal finds done and not done until what this returns is dropped, in a few words; `what` follows "interrupted: ".
pub(super) fn meanwhile(what: &'static str) -> Meanwhile {
    meanwhile_or(what, AGAIN)
}

/// The same, with what to do about it if the same command again is not all.
pub(super) fn meanwhile_or(what: &'static str, what_to_do: &'static str) -> Meanwhile {
    Meanwhile(state().said.replace((what, what_to_do)))
}

/// Ends what [`meanwhile`] began.
#[must_use]
pub(super) struct Meanwhile(Option<Words>);

impl Drop for Meanwhile {
    fn drop(&mut self) {
        state().said = self.0;
    }
}

/// A question stands in the terminal until what this returns is dropped; with it, how the terminal was before. `beside`: the
/// command goes on meanwhile.
pub(super) fn asking(beside: bool) -> (Asking, Option<Termios>) {
    let before = tcgetattr(stdin()).ok();
    state().question = Some(Question {
        beside,
        before: before.clone(),
    });
    (Asking, before)
}

/// Whether a signal has ended the question that [`asking`] began.
pub(super) fn ended() -> bool {
    state().question.is_none()
}

/// Ends what [`asking`] began: the terminal is as it was.
#[must_use]
pub(super) struct Asking;

impl Drop for Asking {
    fn drop(&mut self) {
        put_back();
    }
}

/// What a signal that ended a question has stopped.
pub(super) fn interrupted() -> Problem {
    state().problem()
}

/// Puts the terminal back as it was, if a question that nobody answered stands in it.
pub(super) fn put_back() {
    state().put_back();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> State {
        State {
            json: true,
            said: None,
            question: None,
            orderly: None,
            heard: None,
        }
    }

    #[test]
    fn what_ends_in_good_order_is_ended_by_a_second_signal_only() {
        let (mut state, flag, now) = (fresh(), Arc::new(AtomicBool::new(false)), Instant::now());
        state.orderly = Some(flag.clone());
        state.question = Some(Question {
            beside: true,
            before: None,
        });
        assert_eq!(state.hear(now), None);
        assert!(flag.load(Ordering::Relaxed) && state.question.is_none());
        // The same keystroke, heard of in another way.
        assert_eq!(state.hear(now + TOGETHER / 2), None);
        assert_eq!(state.hear(now + TOGETHER * 2), Some(130));
        // What waits for an answer looks at no flag.
        let (mut state, flag) = (fresh(), Arc::new(AtomicBool::new(false)));
        state.orderly = Some(flag.clone());
        state.question = Some(Question {
            beside: false,
            before: None,
        });
        assert_eq!(state.hear(now), Some(130));
        assert!(!flag.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_not_done_is_in_the_words() {
        let mut state = fresh();
        assert_eq!(state.problem().what, "interrupted");
        state.said = Some(("no plan was written", AGAIN));
        assert_eq!(state.problem().what, "interrupted: no plan was written");
        assert_eq!(state.hear(Instant::now()), Some(130));
    }
}
