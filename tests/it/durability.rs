//! Durable jobs of the whole daemon when something fails: the process, the disk, its files, and the clock.

mod crash;
mod preload;
