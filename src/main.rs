//! Arguments to a command, a command's result to an exit status.

fn main() {}
