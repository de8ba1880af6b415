//! Error numbers of iommufd and VFIO calls, as Linux counts them on x86-64 and Arm.

use core::fmt;

macro_rules! errnos {
    ($($name:ident = $code:literal, $meaning:literal;)+) => {
        /// An error number. The name is the C library's; the meaning is the one it has in this API.
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Errno {
            $(#[doc = $meaning] $name = $code,)+
        }

        impl Errno {
            /// Every error number here, by rising code.
            pub const ALL: &'static [Errno] = &[$(Errno::$name,)+];

            /// The name, such as `ENOENT`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Errno::$name => stringify!($name),)+
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "The caller lacks the privilege, or the mapping lacks the access right.";
    ENOENT = 2, "No object of that kind has the ID, or nothing is mapped at the IOVA.";
    EINTR = 4, "A signal came first.";
    EIO = 5, "The hardware, or its model, refused.";
    ENXIO = 6, "No `mmap` region has that offset and length.";
    E2BIG = 7, "The struct has non-zero bytes that the generation does not know.";
    EBADF = 9, "The file descriptor is not open, or not for this access.";
    EAGAIN = 11, "A non-blocking read found nothing.";
    ENOMEM = 12, "Out of memory, or over the locked memory limit.";
    EACCES = 13, "The file's permissions forbid it.";
    EFAULT = 14, "A pointer of the caller leads to no memory.";
    EBUSY = 16, "The object is in use.";
    EEXIST = 17, "The IOVA, virtual ID or queue exists already.";
    ENODEV = 19, "No such device, or no IOAS for the type1 container.";
    EINVAL = 22, "All was understood, and a value is wrong.";
    ENFILE = 23, "The system has no more files.";
    EMFILE = 24, "The process has no more file descriptors.";
    ENOTTY = 25, "The generation does not know the ioctl number.";
    ENOSPC = 28, "No room for the IOVA range, or no ID left.";
    ESPIPE = 29, "A read or write of an event queue is not a multiple of its record.";
    EPIPE = 32, "The other end is gone.";
    EDOM = 33, "A value is outside the function's domain.";
    ERANGE = 34, "A value does not fit its type.";
    ENAMETOOLONG = 36, "A name is too long.";
    ENOSYS = 38, "The system call does not exist.";
    EBADE = 52, "The pages at an IOVA are not the ones expected (mock device only).";
    ENODATA = 61, "No data available.";
    ENOLINK = 67, "The link has been severed.";
    EPROTO = 71, "The other end broke the protocol.";
    EOVERFLOW = 75, "Start plus length wraps, or a value is beyond the machine's word.";
    EBADFD = 77, "The file descriptor is of another kind (mock device only).";
    EMSGSIZE = 90, "The array is too short; the needed length was written back.";
    EOPNOTSUPP = 95, "A known field has a value that the generation or the hardware does not know.";
    EADDRINUSE = 98, "The IOVA range meets a reserved or an allowed one.";
    ETIMEDOUT = 110, "The device did not answer in time.";
    ECANCELED = 125, "The operation was cancelled.";
}

impl Errno {
    /// The positive number, as in C's `errno`.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The error number with this positive code, `None` when it is not one of [`Errno::ALL`].
    pub fn from_code(code: i32) -> Option<Errno> {
        Errno::ALL.iter().copied().find(|errno| errno.code() == code)
    }
}

/// The name.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl core::error::Error for Errno {}
