//! [`Suitability`]: whether the file system of a data directory can keep what the job store promises.
//!
//! SQLite shares the index of its log through memory that is mapped from a file, and locks files. Network file systems do not keep either
//! between machines, and some lose what was synced when their server fails. <https://sqlite.org/wal.html> says so for the log.

use std::io;

use cap_std::fs::Dir;

/// What a file system is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suitability {
    /// It is local, or unknown.
    Suitable,
    /// It depends on its server or on the host of this virtual machine. The text is its name.
    Uncertain(&'static str),
    /// It is on another machine. The text is its name.
    Network(&'static str),
}

/// Returns what the file system of `dir` is good for.
///
/// # Errors
/// Those of `fstatfs`.
pub fn suitability(dir: &Dir) -> io::Result<Suitability> {
    let found = rustix::fs::fstatfs(dir)?;
    // The kernel's numbers have 32 bits. The type of the field differs between architectures, and may be signed.
    let magic = i128::from(found.f_type) & i128::from(u32::MAX);
    Ok(of_magic(u32::try_from(magic).expect("32 bits are left")))
}

/// Returns what a file system is good for that has this number in `linux/magic.h`.
fn of_magic(magic: u32) -> Suitability {
    match magic {
        0x0000_6969 => Suitability::Network("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => Suitability::Network("SMB"),
        0x5346_414f | 0x6b41_4653 => Suitability::Network("AFS"),
        0x00c3_6400 => Suitability::Network("Ceph"),
        0x7375_7245 => Suitability::Network("Coda"),
        0x0bd0_0bd0 => Suitability::Network("Lustre"),
        0x4750_4653 => Suitability::Network("GPFS"),
        // Many are local, as those of containers and of virtual machines.
        0x6573_5546 => Suitability::Uncertain("FUSE"),
        0x0102_1997 => Suitability::Uncertain("9P"),
        0x786f_4256 => Suitability::Uncertain("a shared folder of VirtualBox"),
        0xbacb_acbc => Suitability::Uncertain("a shared folder of VMware"),
        _ => Suitability::Suitable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_magic_refuses_network_file_systems_and_doubts_those_of_servers_in_user_space() {
        assert_eq!(of_magic(0x6969), Suitability::Network("NFS"));
        assert_eq!(of_magic(0xff53_4d42), Suitability::Network("SMB"));
        assert_eq!(of_magic(0x6573_5546), Suitability::Uncertain("FUSE"));
        // ext4, btrfs, xfs, overlayfs and tmpfs.
        for local in [0xef53, 0x9123_683e, 0x5846_5342, 0x794c_7630, 0x0102_1994] {
            assert_eq!(of_magic(local), Suitability::Suitable, "{local:#x}");
        }
    }

    #[test]
    fn suitability_reads_the_file_system_of_a_directory() {
        let proc = Dir::open_ambient_dir("/proc", cap_std::ambient_authority()).unwrap();
        assert_eq!(suitability(&proc).unwrap(), Suitability::Suitable);
    }
}
