//! The composition root: the only file that knows both the engine and the stages.

fn main() {}
