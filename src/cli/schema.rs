//! `stackcron schema`.
