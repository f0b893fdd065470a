//! Which proposals of WebAssembly instructions and types belong to.

use std::collections::BTreeSet;

use wasmparser::{CanonicalFunction, CanonicalOption, CompositeInnerType, FunctionBody, MemoryType, Operator, SubType};

/// The names of proposals.
pub(super) type Proposals = BTreeSet<&'static str>;

macro_rules! define_proposal_of {
    ($(@$proposal:ident $operator:ident $({ $($field:ident: $type:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        /// Returns the name of the proposal that an instruction belongs to, as wasmparser spells it.
        fn proposal_of(operator: &Operator<'_>) -> &'static str {
            match operator {
                $(Operator::$operator { .. } => stringify!($proposal),)*
                _ => "unknown",
            }
        }
    };
}
wasmparser::for_each_operator!(define_proposal_of);

/// Adds the proposals of the instructions of a function. Stops at the first that cannot be parsed.
pub(super) fn add_function(proposals: &mut Proposals, body: &FunctionBody<'_>) {
    let Ok(operators) = body.get_operators_reader() else { return };
    let mut last = "mvp";
    for operator in operators {
        let Ok(operator) = operator else { return };
        let proposal = proposal_of(&operator);
        if proposal != "mvp" && proposal != last {
            proposals.insert(proposal);
            last = proposal;
        }
    }
}

/// Adds the proposals of a type.
pub(super) fn add_type(proposals: &mut Proposals, ty: &SubType) {
    match &ty.composite_type.inner {
        CompositeInnerType::Func(function) if function.results().len() > 1 => {
            proposals.insert("multi_value");
        }
        CompositeInnerType::Func(_) => {}
        _ => {
            proposals.insert("gc");
        }
    }
}

/// Adds the proposals of a memory.
pub(super) fn add_memory(proposals: &mut Proposals, memory: &MemoryType) {
    for (is_used, name) in [
        (memory.memory64, "memory64"),
        (memory.shared, "threads"),
        (memory.page_size_log2.is_some(), "custom_page_sizes"),
    ] {
        if is_used {
            proposals.insert(name);
        }
    }
}

/// Adds the proposals of a built-in function of a component.
pub(super) fn add_canonical(proposals: &mut Proposals, function: &CanonicalFunction) {
    let is_async = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.iter().any(|option| matches!(option, CanonicalOption::Async))
        }
        _ => false,
    };
    if is_async {
        proposals.insert("component_model_async");
    }
}
