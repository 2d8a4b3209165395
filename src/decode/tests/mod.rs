//! The decoder as a lane sees it.

mod captured;
mod hostile;
mod keys;
mod shapes;
