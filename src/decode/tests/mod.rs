//! The decoder as a lane sees it.

mod captured;
mod flat;
mod hostile;
mod keys;
mod shapes;
