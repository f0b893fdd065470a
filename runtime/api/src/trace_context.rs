//! [`TraceContext`]: which trace a request belongs to, as <https://www.w3.org/TR/trace-context/> says.
//!
//! A valid context is kept, with a new id for the part of the handler. Else a new trace begins, which is not sampled: the daemon records no
//! spans itself. One bit of each new id is set, because an id of zeros is not valid.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of a `tracestate` that are passed on. A longer one is dropped.
const MAX_STATE: usize = 512;

/// Which trace a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// 32 hexadecimal digits.
    pub(crate) trace_id: String,
    is_sampled: bool,
}

impl TraceContext {
    /// Replaces the context of a request with that of its handler, and returns it.
    pub(crate) fn continue_in(headers: &mut HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter().map(|value| value.to_str().ok());
        let parent = match (parents.next(), parents.next()) {
            (Some(Some(parent)), None) => Self::parse(parent),
            _ => None,
        };
        let state = parent.as_ref().and_then(|_| state(headers));
        headers.remove(TRACESTATE);
        if let Some(state) = state {
            headers.insert(TRACESTATE, state);
        }
        let context = parent.unwrap_or_else(|| Self {
            trace_id: format!("{:032x}", rand::random::<u128>() | 1 << 120),
            is_sampled: false,
        });
        headers.insert(TRACEPARENT, context.to_header());
        context
    }

    /// Parses a `traceparent`. Returns `None` if it is not valid.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let (version, trace_id, parent_id) = (parts.next()?, parts.next()?, parts.next()?);
        let (flags, more) = (parts.next()?, parts.next());
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
        // A later version may have more parts.
        let is_version = is_hex(version, 2) && version != "ff" && (version != "00" || more.is_none());
        if !(is_version && is_id(trace_id, 32) && is_id(parent_id, 16) && is_hex(flags, 2)) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id: trace_id.to_owned(), is_sampled: flags & 1 == 1 })
    }

    fn to_header(&self) -> HeaderValue {
        let (span_id, flags) = (rand::random::<u64>() | 1 << 56, u8::from(self.is_sampled));
        let text = format!("00-{}-{span_id:016x}-{flags:02x}", self.trace_id);
        HeaderValue::try_from(text).expect("hexadecimal digits and dashes are header text")
    }
}

/// Returns the lines of `tracestate` as one, unless they are too long or not text.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(TRACESTATE).iter().map(|line| line.to_str().ok());
    let state = lines.collect::<Option<Vec<_>>>()?.join(",");
    (1..=MAX_STATE).contains(&state.len()).then(|| HeaderValue::try_from(state).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let parents = parents.iter().map(|value| (TRACEPARENT, value.parse().unwrap()));
        parents.chain(states.iter().map(|value| (TRACESTATE, value.parse().unwrap()))).fold(
            HeaderMap::new(),
            |mut all, (name, value)| {
                all.append(name, value);
                all
            },
        )
    }

    #[test]
    fn valid_context_keeps_its_trace_and_gets_a_new_span() {
        for (flags, kept) in [("01", "01"), ("00", "00"), ("03", "01")] {
            let parent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let mut headers = headers(&[&parent], &["a=1", "b=2"]);
            assert_eq!(TraceContext::continue_in(&mut headers).trace_id, TRACE);
            let passed = headers[TRACEPARENT].to_str().unwrap();
            assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with(kept), "{passed}");
            assert!(!passed.contains("00f067aa0ba902b7"), "{passed}");
            assert_eq!(headers.get_all(TRACESTATE).iter().collect::<Vec<_>>(), ["a=1,b=2"]);
        }
    }

    #[test]
    fn invalid_context_begins_a_trace_without_state() {
        let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for parents in [
            &[][..],
            &[""],
            &["00"],
            &[&valid.to_uppercase()],
            &[&valid, &valid],
            &[&format!("{valid}-x")],
            &[&format!("ff{}", &valid[2..])],
            &[&valid.replace(TRACE, &"0".repeat(32))],
            &[&valid.replace("00f067aa0ba902b7", &"0".repeat(16))],
        ] {
            let mut headers = headers(parents, &["a=1"]);
            let context = TraceContext::continue_in(&mut headers);
            assert_ne!(context.trace_id, TRACE, "{parents:?}");
            assert!(TraceContext::parse(headers[TRACEPARENT].to_str().unwrap()).is_some());
            assert!(!headers.contains_key(TRACESTATE), "{parents:?}");
        }
        assert!(TraceContext::parse(&format!("cc{}-more", &valid[2..])).is_some(), "a later version");
    }
}
