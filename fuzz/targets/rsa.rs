//! See `portcullis_fuzz::rsa`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::rsa::run(data));
