//! Start and stop of the daemon: configuration, listeners, the gate, shutdown, and the protocol of the service manager.

mod boot;
mod data_folder;
pub(crate) mod gate;
mod listeners;
mod service_manager;
mod shutdown;
