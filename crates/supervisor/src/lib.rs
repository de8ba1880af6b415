//! Spawns the program and serves its shim
