#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stackcron::fuzz::cron_expression(input));
