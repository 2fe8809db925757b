//! Every bound of this module, each beside its reason.

/// Bounds on what a caller or an issuer may make us read. All are inclusive
/// maxima; each is checked before the work it bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoseLimits {
    /// Octets of a whole compact token. Envoy takes 60 KiB of request head in
    /// all; an Entra token with its maximum of 200 groups has about 6 KB and the
    /// longest published test token 11 KB.
    pub token_bytes: usize,
    /// Octets of a decoded header. A chain of three certificates in `x5c`, which
    /// we ignore, fits; without one a header has about 100.
    pub header_bytes: usize,
    /// Members of a header. RFC 7515 registers eleven. Names are compared with
    /// each other to refuse duplicates, so their number has to be small.
    pub header_members: usize,
    /// Octets of a decoded payload: what fits into `token_bytes`.
    pub payload_bytes: usize,
    /// Octets of a decoded signature: RSA with 8192 bits.
    pub signature_bytes: usize,
    /// Octets of a `kid`, in a token or a key. The longest in use are URLs and
    /// resource names of key management services, about 200.
    pub kid_bytes: usize,
    /// Nesting of any JSON text, the outermost object counting as one. Real
    /// claims nest five deep, and every level costs stack.
    pub json_depth: usize,
    /// Octets of a key set. A thousand RSA keys have 400 KB; the largest public
    /// sets have about 20 KB.
    pub jwks_bytes: usize,
    /// Entries of a key set, usable or not. Each costs about 20 µs to load.
    pub jwks_keys: usize,
}

impl JoseLimits {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        token_bytes: 32 * 1024,
        header_bytes: 8 * 1024,
        header_members: 32,
        payload_bytes: 24 * 1024,
        signature_bytes: 1024,
        kid_bytes: 512,
        json_depth: 32,
        jwks_bytes: 1024 * 1024,
        jwks_keys: 2048,
    };
}

impl Default for JoseLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
