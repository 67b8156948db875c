//! The allocator of the command and of the benches: mimalloc, which keeps memory that was given back for whoever asks next.

/// Keeps the memory that a step's gradients had for those of the next, where glibc may give it back to the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 and 3, which the bindings have no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// After so many milliseconds memory that nobody has asked for again is given back to the system.
const KEPT: std::ffi::c_long = 60_000;

/// Keeps memory a minute, where it is a second by default: of a network of 124 million parameters each step has half a gigabyte of gradients,
/// and memory that is new to a process costs more than what is computed in it. The environment's `MIMALLOC_PURGE_DELAY` goes before.
#[allow(unsafe_code)] // the bindings are C's
pub(crate) fn keep_memory() {
    // SAFETY: it sets a number that the allocator looks at when memory is given back, and does nothing for a number that it does not know.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT) }
}
