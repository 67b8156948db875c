//! Loops compiled once more for processors that fuse multiplication and addition: the plain x86-64 build does without, and calls a function
//! for each.

/// A loop that fills values.
pub(crate) trait Fill {
    /// Runs it: `FUSED` where it is compiled for a processor that fuses. What it gives does not depend on that. Inlined, and all that it calls,
    /// so that it is compiled for the processor that the caller is compiled for.
    fn run<const FUSED: bool>(self);
}

/// Runs the loop as the processor does it best.
pub(crate) fn vectorised(fill: impl Fill) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has all that the function was compiled for: the line above asked it.
        #[allow(unsafe_code)]
        return unsafe { fused(fill) };
    }
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        fill.run::<true>();
    } else {
        fill.run::<false>();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fused<F: Fill>(fill: F) {
    fill.run::<true>();
}
