//! The decoder as a lane sees it.

mod captured;
mod shapes;
