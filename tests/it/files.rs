//! Guests and files: quotas, escapes from a mount, races with the host, read-only mounts, special files, very large or very many files,
//! full file systems, and files that a killed daemon leaves behind.

mod disk;
mod escapes;
mod full_disk;
mod large;
mod large_buffers;
mod listing;
mod many_guests;
mod races;
mod read_only;
mod scratch;
mod special_files;
mod timestamps;
