//! Writes and creates files. On 0.2 it calls the host directly, because the C library of some distributions cannot create files.

use std::io::{self, Write as _};

use self::host::File;

/// Writes `count` bytes in pieces of `piece` bytes to a new file.
pub(crate) fn put(path: &str, count: usize, piece: usize) -> io::Result<()> {
    let file = File::create(path)?;
    let bytes = vec![b'x'; piece];
    let mut at = 0;
    while at < count {
        let next = piece.min(count - at);
        file.write_all(&bytes[..next], at as u64)?;
        at += next;
    }
    writeln!(io::stdout(), "ok")
}

/// Writes `size` bytes to each new file, continues after an error, and prints for each file whether it succeeded.
pub(crate) fn spread(size: usize, paths: &[&str]) -> io::Result<()> {
    let bytes = vec![b'x'; size];
    for path in paths {
        let done = File::create(path).and_then(|file| file.write_all(&bytes, 0));
        writeln!(io::stdout(), "{}", if done.is_ok() { "yes" } else { "no" })?;
    }
    Ok(())
}

/// Repeatedly writes `size` bytes to a new file and removes it.
pub(crate) fn churn(path: &str, count: usize, size: usize) -> io::Result<()> {
    let bytes = vec![b'x'; size];
    for _ in 0..count {
        File::create(path)?.write_all(&bytes, 0)?;
        host::remove(path)?;
    }
    writeln!(io::stdout(), "ok")
}

/// Creates an empty file and removes it.
pub(crate) fn make_and_remove(path: &str) -> io::Result<()> {
    File::create(path)?;
    host::remove(path)
}

/// Writes a text at an offset of a file, which is created if it does not exist.
pub(crate) fn put_at(path: &str, offset: u64, text: &str) -> io::Result<()> {
    File::open_or_create(path)?.write_all(text.as_bytes(), offset)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn append(path: &str, text: &str) -> io::Result<()> {
    File::append(path, text.as_bytes())?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn resize(path: &str, size: u64) -> io::Result<()> {
    File::open_or_create(path)?.resize(size)?;
    writeln!(io::stdout(), "ok")
}

/// Creates up to `count` empty files and prints how many it could create.
pub(crate) fn many(prefix: &str, count: usize) -> io::Result<()> {
    let mut made = 0;
    let mut stream_error = None;
    while made < count && stream_error.is_none() {
        stream_error = File::create(&format!("{prefix}{made}")).err();
        made += usize::from(stream_error.is_none());
    }
    writeln!(io::stdout(), "{made}")?;
    stream_error.map_or(Ok(()), Err)
}

pub(crate) fn mkdir(path: &str) -> io::Result<()> {
    host::mkdir(path)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn symlink(target: &str, path: &str) -> io::Result<()> {
    host::symlink(target, path)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn link(from: &str, path: &str) -> io::Result<()> {
    host::link(from, path)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn rename(from: &str, path: &str) -> io::Result<()> {
    host::rename(from, path)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn remove(path: &str) -> io::Result<()> {
    host::remove(path)?;
    writeln!(io::stdout(), "ok")
}

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
mod host {
    use std::fs::{self, OpenOptions};
    use std::io::{self, Seek as _, SeekFrom, Write as _};

    pub(super) struct File(fs::File);

    impl File {
        pub(super) fn create(path: &str) -> io::Result<Self> {
            fs::File::create(path).map(Self)
        }

        pub(super) fn open_or_create(path: &str) -> io::Result<Self> {
            OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Self)
        }

        pub(super) fn append(path: &str, bytes: &[u8]) -> io::Result<()> {
            OpenOptions::new().append(true).create(true).open(path)?.write_all(bytes)
        }

        pub(super) fn write_all(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            let mut file = &self.0;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)
        }

        pub(super) fn resize(&self, size: u64) -> io::Result<()> {
            self.0.set_len(size)
        }
    }

    pub(super) fn mkdir(path: &str) -> io::Result<()> {
        fs::create_dir(path)
    }

    #[expect(deprecated, reason = "the only function for it that is stable on this target")]
    pub(super) fn symlink(target: &str, path: &str) -> io::Result<()> {
        fs::soft_link(target, path)
    }

    pub(super) fn link(from: &str, path: &str) -> io::Result<()> {
        fs::hard_link(from, path)
    }

    pub(super) fn rename(from: &str, path: &str) -> io::Result<()> {
        fs::rename(from, path)
    }

    pub(super) fn remove(path: &str) -> io::Result<()> {
        fs::remove_file(path)
    }
}

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod host {
    use std::io;

    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{
        Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags, filesystem_error_code,
    };
    use wasip2::io::streams::{OutputStream, StreamError};

    pub(super) struct File(Descriptor);

    fn io_error(code: ErrorCode) -> io::Error {
        io::Error::other(code.name())
    }

    fn stream_error(error: StreamError) -> io::Error {
        match error {
            StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
            StreamError::LastOperationFailed(error) => {
                filesystem_error_code(&error).map_or_else(|| io::Error::other(error.to_debug_string()), io_error)
            }
        }
    }

    /// Returns the mount that contains `path`, and the path relative to it.
    fn mount_of(path: &str) -> io::Result<(Descriptor, String)> {
        for (directory, name) in get_directories() {
            if let Some(rest) = path.strip_prefix(&name) {
                return Ok((directory, rest.trim_start_matches('/').to_owned()));
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn open(path: &str, how: OpenFlags) -> io::Result<Descriptor> {
        let (directory, path) = mount_of(path)?;
        directory.open_at(PathFlags::SYMLINK_FOLLOW, &path, how, DescriptorFlags::WRITE).map_err(io_error)
    }

    fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            stream.subscribe().block();
            let permitted = usize::try_from(stream.check_write().map_err(stream_error)?).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(permitted.min(bytes.len()));
            stream.write(now).map_err(stream_error)?;
            bytes = later;
        }
        stream.blocking_flush().map_err(stream_error)
    }

    impl File {
        pub(super) fn create(path: &str) -> io::Result<Self> {
            open(path, OpenFlags::CREATE | OpenFlags::TRUNCATE).map(Self)
        }

        pub(super) fn open_or_create(path: &str) -> io::Result<Self> {
            open(path, OpenFlags::CREATE).map(Self)
        }

        pub(super) fn append(path: &str, bytes: &[u8]) -> io::Result<()> {
            let file = open(path, OpenFlags::CREATE)?;
            write_all(&file.append_via_stream().map_err(io_error)?, bytes)
        }

        /// Writes through a stream, or, for at most one page of memory at an even offset, with a call on the file itself.
        pub(super) fn write_all(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            if at % 2 == 1 || bytes.len() > 4096 {
                return write_all(&self.0.write_via_stream(at).map_err(io_error)?, bytes);
            }
            let mut written = 0;
            while written < bytes.len() {
                let count = self.0.write(&bytes[written..], at + written as u64).map_err(io_error)?;
                written += usize::try_from(count).map_err(io::Error::other)?;
            }
            Ok(())
        }

        pub(super) fn resize(&self, size: u64) -> io::Result<()> {
            self.0.set_size(size).map_err(io_error)
        }
    }

    pub(super) fn mkdir(path: &str) -> io::Result<()> {
        let (directory, path) = mount_of(path)?;
        directory.create_directory_at(&path).map_err(io_error)
    }

    pub(super) fn symlink(target: &str, path: &str) -> io::Result<()> {
        let (directory, path) = mount_of(path)?;
        directory.symlink_at(target, &path).map_err(io_error)
    }

    pub(super) fn link(from: &str, path: &str) -> io::Result<()> {
        let ((from_directory, from), (directory, path)) = (mount_of(from)?, mount_of(path)?);
        from_directory.link_at(PathFlags::empty(), &from, &directory, &path).map_err(io_error)
    }

    pub(super) fn rename(from: &str, path: &str) -> io::Result<()> {
        let ((from_directory, from), (directory, path)) = (mount_of(from)?, mount_of(path)?);
        from_directory.rename_at(&from, &directory, &path).map_err(io_error)
    }

    pub(super) fn remove(path: &str) -> io::Result<()> {
        let (directory, path) = mount_of(path)?;
        directory.unlink_file_at(&path).map_err(io_error)
    }
}
