//! The decoder as a lane sees it.

mod captured;
mod cloud;
mod figures;
mod flat;
mod frames;
mod golden;
mod hostile;
mod keys;
mod labels;
mod laws;
mod mysql;
mod shapes;
mod sources;
mod structured;
mod twin;
