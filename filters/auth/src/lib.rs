//! The shipped filter.
