//! The light-weight training phase of CoDA.
#![deny(unsafe_code)]

pub mod model;
pub mod ops;
pub mod random;
