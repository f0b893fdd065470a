//! The smallest program that is worth a run: what it costs is what a run costs.

fn main() {
    println!("hello");
}
