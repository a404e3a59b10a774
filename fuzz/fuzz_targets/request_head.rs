#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lintel_fuzz::request_head::check(input));
