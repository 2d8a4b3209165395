//! The decoder as a lane sees it.

mod captured;
mod flat;
mod golden;
mod hostile;
mod keys;
mod laws;
mod shapes;
mod twin;
