//! `static_token`: one opaque bearer token, known by its digest.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::policy::StaticTokenPolicy;
use crate::provider::Answer;

/// Looks a bearer token up. An unknown one is [`Answer::NotForMe`]: an opaque string does not say whose it is.
pub fn judge(policy: &StaticTokenPolicy, token: &str) -> Answer {
    if knows(policy, token) {
        Answer::Verified(policy.identity.clone())
    } else {
        Answer::NotForMe
    }
}

/// Whether a token is one of these.
///
/// Digests are compared, in constant time and all of them, so timing tells neither how much of a guess was right nor which
/// token it came near to.
pub(crate) fn knows(policy: &StaticTokenPolicy, token: &str) -> bool {
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let known = policy
        .token_sha256
        .iter()
        .fold(Choice::from(0), |known, d| known | d.ct_eq(&digest));
    known.into()
}
