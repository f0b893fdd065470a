#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    capstan::fuzzing::module(bytes);
});
