//! The images of the job `thumbnail`: decodes a PNG and encodes a smaller one. The job `resize` uses it too.

pub mod image;
mod shrink;
