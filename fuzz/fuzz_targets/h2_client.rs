#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lintel_fuzz::h2_client::check(input));
