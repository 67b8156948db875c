//! Signals that ask a run to end: told between two steps, and passed on to the system once the run is saved.

use rekindle_recorder::Result;

/// Listens for SIGINT and SIGTERM, as long as it lives. Afterwards they end the process as if nobody had listened.
#[derive(Debug)]
pub(super) struct Signals {
    /// The signal that came.
    #[cfg(not(target_family = "wasm"))]
    came: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

#[cfg(not(target_family = "wasm"))]
mod handled {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use rekindle_recorder::IoResultExt as _;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::{flag, low_level};

    use super::{Result, Signals};

    /// What the handlers of the process share, which are there once.
    struct State {
        /// The signal that came.
        came: Arc<AtomicUsize>,
        /// Whether the next one ends the process at once: where nobody listens, and where one came already.
        at_once: Arc<AtomicBool>,
        /// How many listen.
        listeners: usize,
    }

    static STATE: Mutex<Option<State>> = Mutex::new(None);

    fn state() -> MutexGuard<'static, Option<State>> {
        STATE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl State {
        fn begin() -> Result<State> {
            let (came, at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
            for signal in [SIGINT, SIGTERM] {
                let number = usize::try_from(signal).unwrap_or_default();
                // In this order: what the first signal sets, the second one finds.
                flag::register_conditional_default(signal, Arc::clone(&at_once))
                    .and_then(|_| flag::register(signal, Arc::clone(&at_once)))
                    .and_then(|_| flag::register_usize(signal, Arc::clone(&came), number))
                    .doing("cannot listen for signals")?;
            }
            Ok(State { came, at_once, listeners: 0 })
        }
    }

    impl Signals {
        /// Listens from now on. The second signal that comes ends the process at once.
        pub(crate) fn listen() -> Result<Self> {
            let mut state = state();
            let mut listening = match state.take() {
                Some(listening) => listening,
                None => State::begin()?,
            };
            if listening.listeners == 0 {
                listening.came.store(0, Ordering::SeqCst);
                listening.at_once.store(false, Ordering::SeqCst);
            }
            listening.listeners += 1;
            let came = Arc::clone(&listening.came);
            *state = Some(listening);
            Ok(Signals { came })
        }

        /// The one that came.
        pub(crate) fn came(&self) -> Option<i32> {
            i32::try_from(self.came.load(Ordering::SeqCst)).ok().filter(|&signal| signal != 0)
        }

        /// Ends the process as the signal asks that came, if one did.
        pub(crate) fn pass_on(&self) -> Result<()> {
            match self.came() {
                Some(signal) => low_level::emulate_default_handler(signal).doing("cannot pass the signal on"),
                None => Ok(()),
            }
        }
    }

    impl Drop for Signals {
        fn drop(&mut self) {
            if let Some(state) = state().as_mut() {
                state.listeners = state.listeners.saturating_sub(1);
                if state.listeners == 0 {
                    state.at_once.store(true, Ordering::SeqCst);
                }
            }
        }
    }
}

/// Where there are no signals.
#[cfg(target_family = "wasm")]
impl Signals {
    pub(super) fn listen() -> Result<Self> {
        Ok(Signals {})
    }

    pub(super) fn came(&self) -> Option<i32> {
        None
    }

    pub(super) fn pass_on(&self) -> Result<()> {
        Ok(())
    }
}
