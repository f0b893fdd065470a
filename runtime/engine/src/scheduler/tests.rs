mod changes;
mod firing;
mod overlap;
mod running;
mod world;
