//! Machines whose stores cannot be made by hand yet.

/// Nothing is to be done before the program runs.
pub(crate) fn start() {}

/// Takes faults from now on; false where it cannot be done.
pub(super) fn prepare() -> bool {
    false
}
