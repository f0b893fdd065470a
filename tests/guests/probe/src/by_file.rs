//! Calls that take a path below a descriptor, made with a descriptor that is a file.

#[cfg(all(target_os = "wasi", target_env = "p2"))]
pub(crate) use self::p2::by_file;

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
pub(crate) fn by_file(_: &str, _: &str) -> Option<std::io::Result<()>> {
    // By preview 1 the same is asked by a guest in text format.
    None
}

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod p2 {
    use std::io::{self, Write as _};

    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};

    /// Opens a file of a mount, and prints what each call answers that is made with the file in the place of a directory.
    pub(crate) fn by_file(mount: &str, name: &str) -> Option<io::Result<()>> {
        let (directory, _) = get_directories().into_iter().find(|(_, path)| path == mount)?;
        let file = directory.open_at(PathFlags::empty(), name, OpenFlags::empty(), DescriptorFlags::READ);
        let print = |file: Descriptor| {
            answers(&directory, &file, name).into_iter().try_for_each(|(call, answer)| {
                let answer = answer.map_or_else(|code| code.name().to_owned(), |()| "ok".to_owned());
                writeln!(io::stdout(), "{call} {answer}")
            })
        };
        Some(file.map_err(|code| io::Error::other(code.name())).and_then(print))
    }

    fn answers(directory: &Descriptor, file: &Descriptor, name: &str) -> Vec<(&'static str, Result<(), ErrorCode>)> {
        let stay = PathFlags::empty();
        let open = |path, how, flags| file.open_at(stay, path, how, flags).map(drop);
        let now = NewTimestamp::Now;
        vec![
            ("open", open(name, OpenFlags::empty(), DescriptorFlags::READ)),
            ("create", open("made", OpenFlags::CREATE, DescriptorFlags::WRITE)),
            ("open-directory", open(name, OpenFlags::DIRECTORY, DescriptorFlags::READ)),
            ("stat", file.stat_at(stay, name).map(drop)),
            ("metadata-hash", file.metadata_hash_at(stay, name).map(drop)),
            ("set-times", file.set_times_at(stay, name, now, now)),
            ("readlink", file.readlink_at(name).map(drop)),
            ("mkdir", file.create_directory_at("made")),
            ("rmdir", file.remove_directory_at("sub")),
            ("unlink", file.unlink_file_at(name)),
            ("symlink", file.symlink_at(name, "made")),
            ("link-from", file.link_at(stay, name, directory, "made")),
            ("link-to", directory.link_at(stay, name, file, "made")),
            ("rename-from", file.rename_at(name, directory, "made")),
            ("rename-to", directory.rename_at(name, file, "made")),
            ("read-directory", file.read_directory().map(drop)),
        ]
    }
}
