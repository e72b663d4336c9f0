//! What the quota promises, one fact at a time. The promises under chance are in `tests/quota_simulation.rs`.
