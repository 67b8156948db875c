//! Zip archives and the checkpoints in them: what is written comes back, and damage of any kind is found.

mod archive;
mod checkpoint;
mod content;
mod fixtures;
mod hostile;
mod make;
