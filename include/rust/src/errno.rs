// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

use core::fmt;

/// Why a call or a change has failed: the number that C has in `errno`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
            pub const $name: Self = Self($number);)*

            /// Its name and what it means, for those that the manual pages list.
            fn known(self) -> Option<(&'static str, &'static str)> {
                match self {
                    $(Self::$name => Some((stringify!($name), $text)),)*
                    _ => None,
                }
            }
        }
    };
}

// The manual pages of kqueue(2), kevent(2) and the device, and what open(2) says where
// the module is not loaded.
errnos! {
    ENOENT = 2, "there is no such file, or nothing like this is watched";
    ESRCH = 3, "there is no such process";
    EINTR = 4, "interrupted by a signal";
    EBADF = 9, "not a descriptor, or not a kqueue of this process";
    ENOMEM = 12, "there is no memory, or a limit is reached";
    EACCES = 13, "not permitted";
    EFAULT = 14, "bad address";
    ENODEV = 19, "there is no such device";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many files are open in the system";
    EMFILE = 24, "too many files are open in the process";
    ENOTTY = 25, "not a request that this file knows";
    ELOOP = 40, "a kqueue would be watched by itself, or too deep";
    EOPNOTSUPP = 95, "this kernel lacks what the filter needs";
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, text)) => f.write_str(text),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl core::error::Error for Errno {}
