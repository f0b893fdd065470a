//! Hostile guests on files, beyond odd paths (`escapes`) and plain limits (`disk`): races with the host, mounts that may only be read,
//! what is no file, what is very large or very many, full file systems, and what a daemon that is killed leaves.

mod disk;
mod escapes;
mod full_disk;
mod large;
mod many_guests;
mod races;
mod read_only;
mod scratch;
mod special_files;
mod timestamps;
