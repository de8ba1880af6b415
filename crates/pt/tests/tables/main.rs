//! Page tables of every format, by one harness ([`common`]), and against the answers of others.

mod common;
mod entries;
mod hostile;
mod mapping;
mod marks;
mod nested;
mod qemu;
