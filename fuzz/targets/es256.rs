//! See `portcullis_fuzz::es256`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::es256::run(data));
