//! Messages between shim and supervisor
