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
mod oracle;
mod shapes;
mod sources;
mod sqlserver;
mod structured;
mod twin;
mod unfit;
