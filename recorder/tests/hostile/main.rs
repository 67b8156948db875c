//! Files that were made, or damaged, to break whoever reads them.

mod attacks;
mod hostile;
mod mutations;
mod torture;
