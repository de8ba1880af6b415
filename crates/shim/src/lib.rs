//! The object preloaded into the program
