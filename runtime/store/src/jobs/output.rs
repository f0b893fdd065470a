//! The output of attempts in the database and in segments.

use bytes::Bytes;
use cap_std::fs::Dir;
use capstan_core::outcome::OutputStream;
use capstan_engine::job_store::{
    AttemptError, JobStoreError, Lease, OutputChunk, OutputPage, OutputPiece, StoreLimits,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::rows::{get, length, micros, stored, time};
use super::sealed;
use super::segments::{RecordName, read_record};
use super::sql::{Result, all, execute, first};
use super::tables::SqliteTables;

/// The bytes that an attempt has in the database. What it prints after that goes to segments.
const SMALL: u64 = 16 << 10;
/// The largest chunk.
const MAX_CHUNK: usize = 64 << 10;

/// A job whose output changes.
struct Owner {
    job: i64,
    handler: String,
    attempt: u32,
}

impl SqliteTables<'_> {
    /// Appends to the output of a running attempt, and drops what exceeds `limits`.
    pub(super) fn append_output(
        &mut self,
        limits: &StoreLimits,
        lease: Lease,
        chunks: &[OutputChunk],
    ) -> Result<std::result::Result<u64, AttemptError>> {
        let sql = "SELECT jobs.number, jobs.handler, attempts.printed FROM jobs JOIN attempts \
                   ON attempts.job = jobs.number AND attempts.number = jobs.attempt \
                   WHERE jobs.id = ?1 AND jobs.state = 3 AND jobs.attempt = ?2";
        let read = |row: &Row<'_>| Ok((get(row, 0)?, get(row, 1)?, length(get(row, 2)?)?));
        let Some((job, handler, start)) = first(self.db, sql, params![lease.job.to_bytes(), lease.attempt], read)?
        else {
            return Ok(Err(AttemptError::Stale { job: lease.job, attempt: lease.attempt }));
        };
        let owner = Owner { job, handler, attempt: lease.attempt };
        let mut position = start;
        for chunk in chunks {
            for piece in chunk.bytes.chunks(MAX_CHUNK) {
                self.append_chunk(&owner, position, chunk, piece)?;
                position += piece.len() as u64;
            }
        }
        let sql = "UPDATE attempts SET printed = ?3 WHERE job = ?1 AND number = ?2";
        execute(self.db, sql, params![job, lease.attempt, stored(position)])?;
        self.count_output(&owner.handler, job, stored(position - start))?;
        self.enforce_limits(limits, &owner)?;
        Ok(Ok(position))
    }

    fn append_chunk(&mut self, owner: &Owner, position: u64, chunk: &OutputChunk, bytes: &[u8]) -> Result<()> {
        let stream = match chunk.stream {
            OutputStream::Stdout => 1,
            OutputStream::Stderr => 2,
        };
        let name = RecordName { job: owner.job, attempt: owner.attempt, position };
        let (sealed, place) = match position + bytes.len() as u64 <= SMALL {
            true => (Some(sealed::seal(&[&name.fields()], bytes)), None),
            false => (None, Some(self.memory.segments.append(self.db, name, bytes)?)),
        };
        let (segment, offset) = place.unzip();
        let sql = "INSERT INTO output (job, attempt, position, length, stream, at, bytes, segment, offset) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let size = stored(bytes.len() as u64);
        let (position, at, offset) = (stored(position), micros(chunk.at), offset.map(stored));
        let values = params![owner.job, owner.attempt, position, size, stream, at, sealed, segment, offset];
        execute(self.db, sql, values).map(drop)
    }

    /// Adds `bytes`, which may be negative, to what a job and its handler have.
    fn count_output(&mut self, handler: &str, job: i64, bytes: i64) -> Result<()> {
        let sql = "INSERT INTO output_of_jobs (handler, job, bytes) VALUES (?1, ?2, ?3) \
                   ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes";
        execute(self.db, sql, params![handler, job, bytes])?;
        let sql = "INSERT INTO output_of_handlers (handler, bytes) VALUES (?1, ?2) \
                   ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes";
        execute(self.db, sql, params![handler, bytes]).map(drop)
    }

    fn enforce_limits(&mut self, limits: &StoreLimits, owner: &Owner) -> Result<()> {
        let sql = "SELECT bytes FROM output_of_jobs WHERE handler = ?1 AND job = ?2";
        let of_job = self.bytes(sql, params![owner.handler, owner.job])?;
        self.drop_first(&owner.handler, owner.job, of_job.saturating_sub(limits.job_output))?;
        let of_handler = self.bytes("SELECT bytes FROM output_of_handlers WHERE handler = ?1", [&owner.handler])?;
        self.drop_of_handler(&owner.handler, of_handler.saturating_sub(limits.handler_output), owner)?;
        let total = self.bytes("SELECT sum(bytes) FROM output_of_handlers", [])?;
        if total > limits.total_output {
            let sql = "SELECT handler FROM output_of_handlers ORDER BY bytes DESC LIMIT 1";
            if let Some(largest) = first(self.db, sql, [], |row| get::<String>(row, 0))? {
                self.drop_of_handler(&largest, total - limits.total_output, owner)?;
            }
        }
        Ok(())
    }

    fn bytes(&self, sql: &str, values: impl rusqlite::Params) -> Result<u64> {
        let bytes = first(self.db, sql, values, |row| get::<Option<i64>>(row, 0))?.flatten();
        bytes.map_or(Ok(0), length)
    }

    /// Drops `excess` bytes of the oldest output of ended jobs of `handler`; what is then left, of the job that prints.
    fn drop_of_handler(&mut self, handler: &str, mut excess: u64, printing: &Owner) -> Result<()> {
        let mut last = i64::MIN;
        while excess > 0 {
            let sql = "SELECT output_of_jobs.job, output_of_jobs.bytes, jobs.state FROM output_of_jobs \
                       JOIN jobs ON jobs.number = output_of_jobs.job \
                       WHERE output_of_jobs.handler = ?1 AND output_of_jobs.job > ?2 ORDER BY output_of_jobs.job LIMIT 1";
            let read = |row: &Row<'_>| Ok((get::<i64>(row, 0)?, length(get(row, 1)?)?, get::<i64>(row, 2)?));
            let Some((job, bytes, state)) = first(self.db, sql, params![handler, last], read)? else { break };
            last = job;
            if state >= 5 {
                self.drop_first(handler, job, excess)?;
                excess = excess.saturating_sub(bytes);
            }
        }
        if excess > 0 && handler == printing.handler {
            self.drop_first(handler, printing.job, excess)?;
        }
        Ok(())
    }

    /// Drops at least `excess` bytes of the oldest output of a job, if it has so many.
    fn drop_first(&mut self, handler: &str, job: i64, mut excess: u64) -> Result<()> {
        while excess > 0 {
            let sql = "SELECT attempt, position, length, segment FROM output WHERE job = ?1 \
                       ORDER BY attempt, position LIMIT 1";
            let read = |row: &Row<'_>| {
                Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?, length(get(row, 2)?)?, get::<Option<i64>>(row, 3)?))
            };
            let Some((attempt, position, size, segment)) = first(self.db, sql, [job], read)? else { break };
            let sql = "DELETE FROM output WHERE job = ?1 AND attempt = ?2 AND position = ?3";
            execute(self.db, sql, params![job, attempt, position])?;
            if let Some(segment) = segment {
                self.memory.segments.release(self.db, segment, size)?;
            }
            self.count_output(handler, job, -stored(size))?;
            excess = excess.saturating_sub(size);
        }
        Ok(())
    }

    /// Drops a chunk that cannot be read. Its segment is not told.
    pub(super) fn drop_chunk(&mut self, name: RecordName) -> Result<()> {
        let sql = "DELETE FROM output WHERE job = ?1 AND attempt = ?2 AND position = ?3 RETURNING length";
        let values = params![name.job, name.attempt, stored(name.position)];
        let size = first(self.db, sql, values, |row| get::<i64>(row, 0))?.unwrap_or(0);
        let sql = "SELECT handler FROM jobs WHERE number = ?1";
        if let Some(handler) = first(self.db, sql, [name.job], |row| get::<String>(row, 0))? {
            self.count_output(&handler, name.job, -size)?;
        }
        Ok(())
    }

    /// Removes all output of a job.
    pub(super) fn remove_output(&mut self, job: i64, handler: &str) -> Result<()> {
        let sql = "SELECT segment, sum(length) FROM output WHERE job = ?1 AND segment IS NOT NULL GROUP BY segment";
        for (segment, bytes) in all(self.db, sql, [job], |row| Ok((get(row, 0)?, length(get(row, 1)?)?)))? {
            self.memory.segments.release(self.db, segment, bytes)?;
        }
        execute(self.db, "DELETE FROM output WHERE job = ?1", [job])?;
        let sql = "DELETE FROM output_of_jobs WHERE handler = ?1 AND job = ?2 RETURNING bytes";
        if let Some(bytes) = first(self.db, sql, params![handler, job], |row| get::<i64>(row, 0))? {
            let sql = "UPDATE output_of_handlers SET bytes = bytes - ?2 WHERE handler = ?1";
            execute(self.db, sql, params![handler, bytes])?;
        }
        Ok(())
    }
}

/// Returns the bytes of a chunk in the database.
pub(super) fn unseal(name: RecordName, sealed: &[u8]) -> Result<Bytes> {
    let what = || format!("output of attempt {} at byte {}", name.attempt, name.position);
    sealed::unseal(&[&name.fields()], sealed, what).map(Bytes::copy_from_slice)
}

/// What of the output of an attempt is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputRange {
    pub(super) lease: Lease,
    pub(super) position: u64,
    pub(super) limit: u64,
}

/// The result of reading output.
#[derive(Debug)]
pub(super) enum OutputRead {
    /// `None` if there is no such attempt.
    Page(Option<OutputPage>),
    /// A segment is gone or damaged. If it was removed because its output has moved, a later moment of the database names another one.
    Again,
}

/// Reads the output of an attempt; see [`JobStore::read_output`](capstan_engine::job_store::JobStore::read_output).
///
/// What cannot be read is a gap if `is_locked`: nobody removes segments since before the moment of `db`. Else it may have moved.
pub(super) fn read_output(db: &Connection, segments: &Dir, range: OutputRange, is_locked: bool) -> Result<OutputRead> {
    let OutputRange { lease, position, limit } = range;
    let Some((job, end)) = find(db, lease)? else { return Ok(OutputRead::Page(None)) };
    let mut page = OutputPage { next: position, ..OutputPage::default() };
    let sql = "SELECT position, length, stream, at, bytes, segment, offset FROM output \
               WHERE job = ?1 AND attempt = ?2 AND position >= coalesce(\
               (SELECT max(position) FROM output WHERE job = ?1 AND attempt = ?2 AND position <= ?3), 0) ORDER BY position";
    let reading = super::failure::failed("read output");
    let mut statement = db.prepare_cached(sql).map_err(&reading)?;
    let mut rows = statement.query(params![job, lease.attempt, stored(position)]).map_err(&reading)?;
    let mut size = 0;
    while let Some(row) = rows.next().map_err(&reading)? {
        let (at, length) = (length(get(row, 0)?)?, length(get(row, 1)?)?);
        if at + length <= page.next {
            continue;
        }
        if size >= limit {
            return Ok(OutputRead::Page(Some(page)));
        }
        push_gap(&mut page, at);
        let skip = page.next - at;
        match read_chunk(row, segments, RecordName { job, attempt: lease.attempt, position: at }, length) {
            Ok(chunk) => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.bytes.len());
                page.pieces.push(OutputPiece::Chunk(OutputChunk { bytes: chunk.bytes.slice(skip..), ..chunk }));
                page.next = at + length;
            }
            Err(JobStoreError::Damaged { .. }) if !is_locked => return Ok(OutputRead::Again),
            Err(error @ JobStoreError::Damaged { .. }) => {
                tracing::warn!(job = %lease.job, attempt = lease.attempt, "{error}");
                push_gap(&mut page, at + length);
            }
            Err(error) => return Err(error),
        }
        size += length - skip;
    }
    push_gap(&mut page, end);
    page.is_end = true;
    Ok(OutputRead::Page(Some(page)))
}

/// Adds what is missing before `position`.
fn push_gap(page: &mut OutputPage, position: u64) {
    if position > page.next {
        page.pieces.push(OutputPiece::Gap(position - page.next));
        page.next = position;
    }
}

fn read_chunk(row: &Row<'_>, segments: &Dir, name: RecordName, length: u64) -> Result<OutputChunk> {
    let stream = match get::<i64>(row, 2)? {
        1 => OutputStream::Stdout,
        _ => OutputStream::Stderr,
    };
    let bytes = match (get::<Option<Vec<u8>>>(row, 4)?, get::<Option<i64>>(row, 5)?, get::<Option<i64>>(row, 6)?) {
        (Some(sealed), ..) => unseal(name, &sealed)?,
        (None, Some(segment), Some(offset)) => {
            read_record(segments, segment, super::rows::length(offset)?, name, length)?.into()
        }
        _ => return Err(JobStoreError::damaged("jobs.db", "a chunk of output has no place")),
    };
    Ok(OutputChunk { stream, at: time(get(row, 3)?)?, bytes })
}

/// Returns the position of the first output at `since` or later.
pub(super) fn output_position(db: &Connection, lease: Lease, since: Timestamp) -> Result<Option<u64>> {
    let Some((job, end)) = find(db, lease)? else { return Ok(None) };
    let sql = "SELECT position FROM output WHERE job = ?1 AND attempt = ?2 AND at >= ?3 ORDER BY position LIMIT 1";
    let found = first(db, sql, params![job, lease.attempt, micros(since)], |row| length(get(row, 0)?))?;
    Ok(Some(found.unwrap_or(end)))
}

/// Returns the number of the job of an attempt, and how much the attempt has printed.
fn find(db: &Connection, lease: Lease) -> Result<Option<(i64, u64)>> {
    let sql = "SELECT attempts.job, attempts.printed FROM jobs JOIN attempts ON attempts.job = jobs.number \
               WHERE jobs.id = ?1 AND attempts.number = ?2";
    let read = |row: &Row<'_>| Ok((get(row, 0)?, length(get(row, 1)?)?));
    first(db, sql, params![lease.job.to_bytes(), lease.attempt], read)
}
