//! Zip archives and the checkpoints in them: what is written comes back, and damage of any kind is found.

mod archive;
mod hostile;
mod make;
