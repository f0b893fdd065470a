//! The handles of a guest: what it may open before it gets an error.
//!
//! wasmtime-wasi ends a run that needs one more handle than its table has. Programs expect an error of `open` instead, so the calls that open
//! something ask first. They leave some handles free: a program that has used up all it may open still writes to stderr, for example.

use wasmtime::component::ResourceTable;

/// Handles beyond the limit that only streams and waiting may use.
pub(super) const RESERVED: usize = 16;

/// Returns the number that the next handle gets. `None` if the guest has reached its limit.
pub(super) fn next(table: &mut ResourceTable) -> Option<u32> {
    let probes: Vec<_> = (0..=RESERVED).map_while(|_| table.push(()).ok()).collect();
    let next = (probes.len() > RESERVED).then(|| probes[0].rep());
    // The table gives the number that was freed last to the next handle.
    for probe in probes.into_iter().rev() {
        table.delete(probe).ok()?;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_the_number_of_the_next_handle_until_the_limit() {
        let mut table = ResourceTable::new();
        table.set_max_capacity(3 + RESERVED);
        let mut handles = Vec::new();
        for _ in 0..3 {
            let number = next(&mut table).unwrap();
            handles.push(table.push('x').unwrap());
            assert_eq!(handles.last().unwrap().rep(), number);
        }
        assert_eq!(next(&mut table), None);
        assert!(table.push('y').is_ok(), "a stream may still be opened");
        let freed = handles.remove(1);
        let number = freed.rep();
        table.delete(freed).unwrap();
        assert_eq!(next(&mut table), None, "the stream has its place");
        assert_eq!(table.push('z').unwrap().rep(), number);
    }
}
