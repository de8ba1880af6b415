//! Memory that others also touch
