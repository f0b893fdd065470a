//! The smallest program for measurements: its cost is the cost of a run.

fn main() {
    println!("hello");
}
