//! Numbers of the proxy-wasm ABI 0.2.1, written down a second time on purpose: the filter's own list is under test.

/// A status that a host function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// No such thing.
    pub const NOT_FOUND: Self = Self(1);
    /// An argument that the host will not take.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// Bytes that can't be read.
    pub const PARSE_FAILURE: Self = Self(4);
    /// A pointer outside of the guest's memory.
    pub const INVALID_MEMORY_ACCESS: Self = Self(6);
    /// Nothing in there.
    pub const EMPTY: Self = Self(7);
    /// Changed by someone else since it was read.
    pub const CAS_MISMATCH: Self = Self(8);
    /// The host failed.
    pub const INTERNAL_FAILURE: Self = Self(10);
    /// Not in this host.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Every failure that the ABI names, and two that it doesn't: hosts return more numbers than lists have.
    pub const FAILURES: [Self; 14] = [
        Self(1),
        Self(2),
        Self(3),
        Self(4),
        Self(5),
        Self(6),
        Self(7),
        Self(8),
        Self(9),
        Self(10),
        Self(11),
        Self(12),
        Self(77),
        Self(u32::MAX),
    ];
}

/// Header maps by number.
pub mod map {
    #![allow(missing_docs)]
    pub const REQUEST_HEADERS: u32 = 0;
    pub const REQUEST_TRAILERS: u32 = 1;
    pub const CALL_RESPONSE_HEADERS: u32 = 6;
    pub const CALL_RESPONSE_TRAILERS: u32 = 7;
}

/// Buffers by number.
pub mod buffer {
    #![allow(missing_docs)]
    pub const REQUEST_BODY: u32 = 0;
    pub const CALL_RESPONSE_BODY: u32 = 4;
    pub const VM_CONFIGURATION: u32 = 6;
    pub const PLUGIN_CONFIGURATION: u32 = 7;
}

/// Name and value of a header, bytes as they are.
pub type Field = (Vec<u8>, Vec<u8>);

/// A header map as it goes through the guest's memory: a count, all sizes, all bytes with a NUL behind each part.
pub fn encode_pairs(fields: &[Field]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = number(fields.len()).to_vec();
    for (name, value) in fields {
        out.extend(number(name.len()));
        out.extend(number(value.len()));
    }
    for part in fields.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(part);
        out.push(0);
    }
    out
}

/// The other way; `None` for what is not exactly one map. No bytes are an empty one.
pub fn decode_pairs(bytes: &[u8]) -> Option<Vec<Field>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let number = |at: usize| {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let count = number(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    let mut part = |size: usize| {
        let taken = bytes.get(at..at.checked_add(size)?)?.to_vec();
        let nul = at + size;
        at = nul + 1;
        (*bytes.get(nul)? == 0).then_some(taken)
    };
    let mut fields = Vec::new();
    for n in 0..count {
        let name = part(number(4 + 8 * n)?)?;
        let value = part(number(8 + 8 * n)?)?;
        fields.push((name, value));
    }
    (at == bytes.len()).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_by_hand() {
        let bytes = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0a\0bc\0d\0\0";
        let fields = vec![(b"a".to_vec(), b"bc".to_vec()), (b"d".to_vec(), Vec::new())];
        assert_eq!(encode_pairs(&fields), bytes);
        assert_eq!(decode_pairs(bytes), Some(fields));
        assert_eq!(decode_pairs(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode_pairs(b""), Some(Vec::new()));
    }
}
