//! Work that threads share: the thread that asks for it takes part, and helpers of its pool come as soon as they are awake. Whoever is
//! free takes the next piece, so that what a piece gives must not depend on who takes it.
//!
//! An operator's work takes tens of microseconds to milliseconds, and a program's main thread is none of the pool's: to hand all of it
//! over, and to sleep until it is done, costs two wake-ups of threads each time, which is as long as many an operator takes.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

thread_local! {
    /// Whether this thread is at a piece of shared work: what that shares out itself, it does alone.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// How often a thread that is done looks whether the helpers are, before it sleeps.
const LOOKS: usize = 4096;

/// How many threads there are to share work.
pub(super) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Does all pieces.
pub(super) fn shared<T: Send>(pieces: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    let (least, most) = pieces.size_hint();
    let helpers = threads().min(most.unwrap_or(usize::MAX)).saturating_sub(1);
    if least <= 1 && most == Some(least) || helpers == 0 || AT_WORK.get() {
        return pieces.for_each(work);
    }
    let pieces = Mutex::new(pieces);
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take = || {
        let _at_work = AtWork::begun();
        while let Some(piece) = next() {
            work(piece);
        }
    };
    let done = AtomicUsize::new(0);
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| {
                take();
                done.fetch_add(1, Ordering::Release);
            });
        }
        take();
        if rayon::current_thread_index().is_none() {
            for _ in 0..LOOKS {
                if done.load(Ordering::Acquire) == helpers {
                    break;
                }
                std::hint::spin_loop();
            }
        }
    });
}

/// What `work` gives of each piece, in their order.
pub(super) fn collected<T: Send, U: Send>(
    pieces: impl ExactSizeIterator<Item = T> + Send,
    work: impl Fn(T) -> U + Sync,
) -> Vec<U> {
    let mut results: Vec<Option<U>> = (0..pieces.len()).map(|_| None).collect();
    shared(results.iter_mut().zip(pieces), |(result, piece)| *result = Some(work(piece)));
    results.into_iter().flatten().collect()
}

/// While it lives the thread is at a piece of shared work.
struct AtWork(bool);

impl AtWork {
    fn begun() -> Self {
        AtWork(AT_WORK.replace(true))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.set(self.0);
    }
}
