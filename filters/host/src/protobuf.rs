//! The two protobuf messages of Envoy's `verify_signature`, by hand: five fields do not earn a code generator.
//!
//! `envoy.source.extensions.common.wasm.VerifySignatureArguments` and `VerifySignatureResult`.

/// Wire type 2: a length and that many bytes.
const LENGTH_DELIMITED: u8 = 2;

/// `VerifySignatureArguments`: hash_function = 1, public_key = 2, signature = 3, text = 4.
pub fn verify_signature_arguments(
    hash: &str,
    spki_der: &[u8],
    signature: &[u8],
    text: &[u8],
) -> Vec<u8> {
    let fields: [(u8, &[u8]); 4] = [
        (1, hash.as_bytes()),
        (2, spki_der),
        (3, signature),
        (4, text),
    ];
    let len = fields.iter().map(|(_, value)| value.len() + 6).sum();
    let mut out = Vec::with_capacity(len);
    for (number, value) in fields {
        out.push(number << 3 | LENGTH_DELIMITED);
        varint(&mut out, value.len());
        out.extend_from_slice(value);
    }
    out
}

/// `VerifySignatureResult`: bool result = 1, string error = 2. `None` if it can't be read.
pub fn verify_signature_result(mut bytes: &[u8]) -> Option<bool> {
    // A message that leaves out a field means its default (proto3).
    let mut result = false;
    while let Some((tag, rest)) = bytes.split_first() {
        match tag {
            0x08 => {
                let (value, rest) = rest.split_first()?;
                result = match value {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                bytes = rest;
            }
            0x12 => {
                let (len, rest) = read_varint(rest)?;
                bytes = rest.get(len..)?;
            }
            _ => return None,
        }
    }
    Some(result)
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    // Four groups of seven bits fit into 32.
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_as_the_encoding_says() {
        // By hand from the encoding, with a text of 300 bytes for a length of two. Envoy is asked for real when a VM starts.
        let bytes = verify_signature_arguments("sha256", &[1, 2], &[3], &[b'x'; 300]);
        let mut expected = b"\x0a\x06sha256\x12\x02\x01\x02\x1a\x01\x03\x22\xac\x02".to_vec();
        expected.extend_from_slice(&[b'x'; 300]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn only_a_plain_true_is_true() {
        assert_eq!(verify_signature_result(b"\x08\x01"), Some(true));
        assert_eq!(verify_signature_result(b""), Some(false));
        assert_eq!(verify_signature_result(b"\x08\x00\x12\x03bad"), Some(false));
        assert_eq!(verify_signature_result(b"\x12\x03bad"), Some(false));
        let broken: [&[u8]; 7] = [
            b"\x08",
            b"\x08\x02",
            b"\x08\x81\x00",
            b"\x12\x04bad",
            b"\x12\xff\xff\xff\xff\xff",
            b"\x18\x01",
            b"\x12",
        ];
        for broken in broken {
            assert_eq!(verify_signature_result(broken), None, "{broken:?}");
        }
    }
}
