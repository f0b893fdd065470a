//! Durable jobs of the whole daemon when something fails: the process, the disk, its files, and the clock.

mod clock;
mod crash;
mod damage;
mod disk;
mod preload;
mod requests;
mod upgrade;

use std::path::Path;

use capstan_tests::{Cli, Finished};

use crate::CAPSTAN;

/// Runs `capstan store check` on a data directory.
async fn check_store(data: &Path) -> Finished {
    let data = data.to_str().expect("temporary directories have names in UTF-8");
    Cli::new(CAPSTAN).args(["store", "check", "--data", data]).run().await
}
