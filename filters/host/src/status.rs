//! What a host function returned.

use std::fmt;

/// A status other than `Ok`. Every number is kept: hosts return ones that no list names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// No such thing.
    pub const NOT_FOUND: Self = Self(1);
    /// An argument that the host will not take; for a callout, an unknown upstream.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// What the host returned, or was given, can't be read.
    pub const PARSE_FAILURE: Self = Self(4);
    /// There is nothing in there.
    pub const EMPTY: Self = Self(7);
    /// The value was changed by someone else since it was read.
    pub const CAS_MISMATCH: Self = Self(8);
    /// The host failed; nginx also says so for names it does not know.
    pub const INTERNAL_FAILURE: Self = Self(10);
    /// The host has no such function.
    pub const UNIMPLEMENTED: Self = Self(12);

    /// `Ok` is 0, everything else an error.
    pub(crate) const fn check(raw: i32) -> Result<(), Self> {
        if raw == 0 { Ok(()) } else { Err(Self(raw)) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "NotFound",
            2 => "BadArgument",
            3 => "SerializationFailure",
            4 => "ParseFailure",
            5 => "BadExpression",
            6 => "InvalidMemoryAccess",
            7 => "Empty",
            8 => "CasMismatch",
            9 => "ResultMismatch",
            10 => "InternalFailure",
            11 => "BrokenConnection",
            12 => "Unimplemented",
            other => return write!(f, "status {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_survive() {
        assert_eq!(Status::check(0), Ok(()));
        assert_eq!(Status::check(77), Err(Status(77)));
        assert_eq!(Status(-1).to_string(), "status -1");
        assert_eq!(Status::CAS_MISMATCH.to_string(), "CasMismatch");
    }
}
