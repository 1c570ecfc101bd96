//! Benchmarks: what tests cannot show in seconds. `bench` (`bin/bench.rs`) runs them and prints what came out; scenarios
//! run some of them at a small size.

mod bill;
mod cold;
mod cost;
mod growth;
mod load;
mod pending;
mod process;
mod soak;
mod warm;

pub use bill::{BillItem, Counted, IDLE, table};
pub use cold::{ColdStart, cold_starts};
pub use cost::{COST_HEAD, Cost, CostCase, Outcome, SendCost, SendMode, cost, payload, send_cost};
pub use growth::{Amount, Growth, growth};
pub use load::{ENDPOINTS, Latencies, LoadOptions, load};
pub use pending::{RunCost, scheduler_run};
pub use soak::{SoakOptions, SoakReport, soak};
pub use warm::{Sample, Warm, WarmOptions, warm};
