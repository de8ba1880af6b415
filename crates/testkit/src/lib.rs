//! Fake memory and failure injection for tests
