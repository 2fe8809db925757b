//! Base64url as JOSE wants it (RFC 7515 section 2): no padding, no white space,
//! nothing outside the alphabet, and one spelling only for each octet string.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Unused trailing bits must be zero: otherwise one signature has several
/// spellings, and whatever is keyed by the token's text can be dodged.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// Why a text is not base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base64UrlError {
    /// An octet outside the alphabet (padding and white space included), at this offset.
    Octet {
        /// Offset in the text, in octets.
        offset: usize,
    },
    /// No octet string has an encoding of this length (one more than a multiple of four).
    Length {
        /// Length of the text, in octets.
        length: usize,
    },
    /// The last character carries bits that decode to nothing.
    TrailingBits,
}

/// Decodes `text`, which may be empty.
///
/// # Errors
///
/// [`Base64UrlError`] when `text` is not the one canonical encoding.
#[inline(never)]
pub fn decode(text: &[u8]) -> Result<Vec<u8>, Base64UrlError> {
    use base64::DecodeError;
    ENGINE.decode(text).map_err(|error| match error {
        DecodeError::InvalidByte(offset, _) => Base64UrlError::Octet { offset },
        DecodeError::InvalidLength(_) => Base64UrlError::Length { length: text.len() },
        DecodeError::InvalidLastSymbol(..) => Base64UrlError::TrailingBits,
        DecodeError::InvalidPadding => Base64UrlError::Octet { offset: text.len() },
    })
}

/// Encodes `octets` without padding.
#[inline(never)]
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    ENGINE.encode(octets)
}

/// The number of octets that `length` characters decode to.
#[must_use]
pub const fn decoded_length(length: usize) -> usize {
    length / 4 * 3 + (length % 4) * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn decodes_every_remainder() {
        for length in 0..70_usize {
            let octets: Vec<u8> = (0..length).map(|i| (i * 37 + 250) as u8).collect();
            let text = encode(&octets);
            assert_eq!(decode(text.as_bytes()), Ok(octets));
            assert_eq!(decoded_length(text.len()), length);
        }
    }

    #[test]
    fn takes_one_spelling_only() {
        assert_eq!(decode(b"Zm8"), Ok(b"fo".to_vec()));
        assert_eq!(decode(b"Zm9"), Err(Base64UrlError::TrailingBits));
        assert_eq!(decode(b"Zh"), Err(Base64UrlError::TrailingBits));
        assert_eq!(decode(b"Z"), Err(Base64UrlError::Length { length: 1 }));
        assert_eq!(decode(b"Zm9vZ"), Err(Base64UrlError::Length { length: 5 }));
    }

    #[test]
    fn refuses_what_is_outside_the_alphabet() {
        for text in [
            &b"Zm8="[..],
            b"Zg==",
            b"Zm9v=",
            b"=",
            b"Zm 9v",
            b"Zm9v\n",
            b"\tZm9v",
            b"Zm+v",
            b"Zm/v",
            b"Zm%v",
            b"Zm\x009v",
            "Zm\u{43e}v".as_bytes(),
            b"Zm9v\xff\xff\xff\xff",
            b"Zm.v",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
        assert!(decode(b"-_-_").is_ok());
    }
}
