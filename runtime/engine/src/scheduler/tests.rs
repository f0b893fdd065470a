mod changes;
mod firing;
mod manifest;
mod overlap;
mod running;
mod world;
