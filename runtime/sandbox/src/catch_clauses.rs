//! Limits the catch clauses around a call.
//!
//! A throw looks at every catch clause around every call on the stack, in one step that no deadline interrupts. Without a limit, a function with
//! 100,000 clauses that calls itself 10,000 times makes that a billion.

use wasmparser::{FunctionBody, Operator, Parser, Payload, Result};

use super::LoadError;

/// Clauses of all `try_table` instructions around one instruction. Compilers write one for each type that a `catch` names, and one for destructors.
const MAX_CLAUSES: usize = 256;

/// Checks the valid program `wasm`, which uses exceptions.
///
/// # Errors
/// [`LoadError::TooComplex`]
pub(super) fn check(wasm: &[u8]) -> std::result::Result<(), LoadError> {
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        if let Payload::CodeSectionEntry(body) = payload {
            let most = most_clauses(&body).expect("the program is valid");
            if most > MAX_CLAUSES {
                return Err(LoadError::TooComplex(format!(
                    "a function of it has {most} catch clauses around one instruction, more than {MAX_CLAUSES}"
                )));
            }
        }
    }
    Ok(())
}

/// Returns the number of clauses around the instruction that has the most of them.
fn most_clauses(body: &FunctionBody<'_>) -> Result<usize> {
    // The clauses of each block around the current instruction.
    let mut blocks = Vec::new();
    let (mut now, mut most) = (0, 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::TryTable { try_table } => {
                blocks.push(try_table.catches.len());
                now += try_table.catches.len();
                most = most.max(now);
            }
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => blocks.push(0),
            // The last one ends the function.
            Operator::End => now -= blocks.pop().unwrap_or(0),
            _ => {}
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(tables: usize, clauses: usize) -> Vec<u8> {
        let clauses = "(catch $t $b)".repeat(clauses);
        let (open, close) = (format!("(try_table {clauses}").repeat(tables), ")".repeat(tables));
        let one_more = "(if (i32.const 1) (then nop)) (try_table (catch_all $b))".repeat(3);
        let text = format!("(module (tag $t) (func (block $b {one_more} {open} (call 0) {close} {one_more})))");
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn clauses_around_one_instruction_are_limited() {
        for (tables, clauses, is_accepted) in
            [(1, 1, true), (1, MAX_CLAUSES, true), (MAX_CLAUSES, 1, true), (1, MAX_CLAUSES + 1, false), (2, 129, false)]
        {
            let checked = check(&program(tables, clauses));
            assert_eq!(checked.is_ok(), is_accepted, "{tables} {clauses}: {checked:?}");
        }
    }
}
