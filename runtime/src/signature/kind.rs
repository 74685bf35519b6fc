//! What an envelope is for.

use crate::format::PackageKind;

/// What an envelope is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum SignedKind {
    /// A base package.
    Base = 1,
    /// A task package.
    Task = 2,
    /// A bundle.
    Bundle = 3,
    /// A key list.
    KeyList = 4,
}

impl SignedKind {
    /// That of a package.
    #[must_use]
    pub const fn of(kind: PackageKind) -> Self {
        match kind {
            PackageKind::Base => Self::Base,
            PackageKind::Task => Self::Task,
            PackageKind::Bundle => Self::Bundle,
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Task => "task",
            Self::Bundle => "bundle",
            Self::KeyList => "key list",
        }
    }
}
