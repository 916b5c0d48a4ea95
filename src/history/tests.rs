//! The history, written and read, across processes and faults.
