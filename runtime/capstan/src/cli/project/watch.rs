//! [`Watch`]: notices changes of the files of a job, without those that its `.gitignore` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ignore::WalkBuilder;
use notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_mini::{DebounceEventResult, Debouncer, new_debouncer};
use tokio::sync::mpsc;

use super::error::ProjectError;

/// How long files must stay unchanged. An editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// Directories of built files, which are not watched even if nothing ignores them.
const BUILT: [&str; 6] = ["target", "node_modules", ".git", ".zig-cache", "zig-out", ".capstan-build"];

/// The files of a job: the size and the time of the last change of each.
pub(super) type Files = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// A watch over the directory of a job.
#[derive(Debug)]
pub(super) struct Watch {
    root: PathBuf,
    debouncer: Debouncer<RecommendedWatcher>,
    changes: mpsc::Receiver<()>,
    watched: BTreeSet<PathBuf>,
    /// Files that the build writes, relative to the root.
    outputs: Vec<PathBuf>,
}

/// Tells files that a build writes from those that the user changes meanwhile: a build that is repeated changes only the former again.
#[derive(Debug, Default)]
pub(super) struct BuiltFiles(BTreeSet<PathBuf>);

impl BuiltFiles {
    /// Returns the files to which later ones are compared, of those `before` and `after` a build.
    pub(super) fn base(&mut self, before: Files, after: Files) -> Files {
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changed = names.into_iter().filter(|file| before.get(*file) != after.get(*file)).cloned().collect();
        let previous = std::mem::replace(&mut self.0, changed);
        if self.0.is_subset(&previous) { after } else { before }
    }
}

impl Watch {
    /// Starts to watch `root`, except for `outputs`.
    ///
    /// # Errors
    /// [`ProjectError::Watch`]
    pub(super) fn start(root: &Path, outputs: &[PathBuf]) -> Result<Self, ProjectError> {
        // One message that waits is enough: its receiver looks at all files.
        let (sender, changes) = mpsc::channel(1);
        let debouncer = new_debouncer(QUIET, move |_: DebounceEventResult| {
            let _ = sender.try_send(());
        })
        .map_err(failed(root))?;
        let outputs = outputs.to_vec();
        let mut watch = Self { root: root.to_owned(), debouncer, changes, watched: BTreeSet::new(), outputs };
        watch.watch_directories()?;
        Ok(watch)
    }

    /// Waits until a file may have changed. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The debouncer lives as long as the watch, and holds the sender.
            std::future::pending().await
        }
    }

    /// Returns the files as they are now, and watches directories that are new.
    ///
    /// # Errors
    /// [`ProjectError::Watch`]
    pub(super) fn files(&mut self) -> Result<Files, ProjectError> {
        self.watch_directories()?;
        let mut files = Files::new();
        for entry in self.walk().filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file())) {
            // A file that is gone again has not changed what is to be built.
            let Ok(metadata) = entry.metadata() else { continue };
            files.insert(entry.into_path(), (metadata.len(), metadata.modified().ok()));
        }
        Ok(files)
    }

    fn watch_directories(&mut self) -> Result<(), ProjectError> {
        let directories = self.walk().filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()));
        let directories: BTreeSet<_> = directories.map(ignore::DirEntry::into_path).collect();
        // One that was removed may come back, and needs a new watch then.
        self.watched.retain(|directory| directories.contains(directory));
        for directory in directories {
            if !self.watched.contains(&directory) {
                match self.debouncer.watcher().watch(&directory, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => continue,
                    Err(error) => return Err(failed(&directory)(error)),
                }
                self.watched.insert(directory);
            }
        }
        Ok(())
    }

    fn walk(&self) -> impl Iterator<Item = ignore::DirEntry> + use<> {
        let outputs: Vec<_> = self.outputs.iter().map(|output| self.root.join(output)).collect();
        let is_source = move |entry: &ignore::DirEntry| {
            let is_built = entry.depth() > 0 && BUILT.iter().any(|name| entry.file_name() == *name);
            !is_built && !outputs.iter().any(|output| entry.path() == output)
        };
        // A directory counts that is in no repository, and so do hidden files such as .cargo/config.toml.
        let mut walk = WalkBuilder::new(&self.root);
        walk.hidden(false).require_git(false).filter_entry(is_source).build().flatten()
    }
}

fn failed(dir: &Path) -> impl FnOnce(notify::Error) -> ProjectError {
    move |error| ProjectError::Watch { dir: dir.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the test makes the files that are watched")]

    use std::fs;

    use super::*;

    fn names(watch: &mut Watch) -> Vec<String> {
        let root = watch.root.clone();
        watch.files().unwrap().into_keys().map(|file| file.strip_prefix(&root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn files_that_two_builds_change_start_no_third() {
        let files = |entries: &[(&str, u64)]| -> Files {
            entries.iter().map(|(name, size)| ((*name).into(), (*size, None))).collect()
        };
        let (clean, built, rebuilt) =
            (files(&[("a.c", 1)]), files(&[("a.c", 1), ("a.o", 1)]), files(&[("a.c", 1), ("a.o", 2)]));
        let mut built_files = BuiltFiles::default();
        assert_eq!(built_files.base(clean.clone(), built.clone()), clean);
        assert_eq!(built_files.base(built.clone(), rebuilt.clone()), rebuilt);
        let edited = files(&[("a.c", 2), ("a.o", 3)]);
        assert_eq!(built_files.base(rebuilt.clone(), edited), rebuilt);
        assert_eq!(built_files.base(clean.clone(), clean.clone()), clean);
    }

    #[tokio::test]
    async fn sources_are_watched_and_built_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join(".gitignore"), "*.tmp\n").unwrap();
        for directory in ["src", "target", "node_modules/x"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["a.c", "b.tmp", "src/größe.c", "target/x", "node_modules/x/y", "out.wasm"] {
            fs::write(root.join(file), "").unwrap();
        }
        let mut watch = Watch::start(root, &["out.wasm".into()]).unwrap();
        assert_eq!(names(&mut watch), [".gitignore", "a.c", "src/größe.c"]);

        let before = watch.files().unwrap();
        fs::create_dir(root.join("src/new")).unwrap();
        watch.changed().await;
        assert_eq!(watch.files().unwrap(), before);
        fs::write(root.join("src/new/b.c"), "int b;").unwrap();
        while watch.files().unwrap() == before {
            watch.changed().await;
        }
        assert_eq!(names(&mut watch), [".gitignore", "a.c", "src/größe.c", "src/new/b.c"]);
    }
}
