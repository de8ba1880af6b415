//! What is asked of a page, and what it grants.

use bitflags::bitflags;

bitflags! {
    /// What may be done with a page.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Rights: u8 {
        /// It may be read.
        const READ = 1;
        /// It may be written.
        const WRITE = 2;
        /// Instructions in it may be executed.
        const EXECUTE = 4;
    }
}

/// What a request asks of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// All of these.
    pub rights: Rights,
    /// Whether it is made with privilege.
    pub privileged: bool,
    /// Whether the page counts as written.
    pub dirties: Dirties,
}

/// Whether a page that is used counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dirties {
    /// It does not.
    No,
    /// Only if it is to be marked as used at the same time.
    WithUse,
    /// It does.
    Yes,
}

impl Access {
    /// Reading, without privilege.
    pub const READ: Self = Self::new(Rights::READ);
    /// Writing, without privilege.
    pub const WRITE: Self = Self::new(Rights::WRITE);
    /// Executing, without privilege.
    pub const EXECUTE: Self = Self::new(Rights::EXECUTE);

    /// All of these, without privilege.
    pub const fn new(rights: Rights) -> Self {
        let writes = rights.contains(Rights::WRITE);
        let dirties = if writes { Dirties::Yes } else { Dirties::No };
        Self { rights, privileged: false, dirties }
    }

    /// The same with privilege.
    pub const fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// Whether it marks the page as written.
    pub fn is_write(self) -> bool {
        self.dirties == Dirties::Yes
    }
}

/// What a page grants, or tables on the way to it do: to requests without privilege and with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// To requests without privilege.
    pub user: Rights,
    /// To requests with privilege.
    pub privileged: Rights,
}

impl Grant {
    /// Everything.
    pub const ALL: Self = Self { user: Rights::all(), privileged: Rights::all() };

    /// The same with and without privilege.
    pub const fn both(rights: Rights) -> Self {
        Self { user: rights, privileged: rights }
    }

    /// What both grant.
    pub const fn and(self, other: Self) -> Self {
        Self {
            user: self.user.intersection(other.user),
            privileged: self.privileged.intersection(other.privileged),
        }
    }

    /// What is granted to requests of a privilege.
    pub const fn to(self, privileged: bool) -> Rights {
        if privileged { self.privileged } else { self.user }
    }

    /// What an access asks for and does not get.
    pub const fn denied(self, access: Access) -> Rights {
        access.rights.difference(self.to(access.privileged))
    }
}
