//! placeholder
pub const REBALANCES_TOTAL: &str = "afterimage_rebalances_total";
pub const RETRIES_TOTAL: &str = "afterimage_retries_total";
