//! The serialized form of header maps: a count, the sizes of all names and values, then all bytes, each
//! followed by a NUL. Numbers are 32 bits, little-endian.

/// One header field, borrowed.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Reads a map in place, appending to `fields`. `None` if the bytes are not exactly one map: nothing may be decided
/// on half a request.
pub fn parse<'a>(bytes: &'a [u8], fields: &mut Vec<Field<'a>>) -> Option<()> {
    // Envoy hands out an empty map as no bytes at all.
    if bytes.is_empty() {
        return Some(());
    }
    let (count, rest) = number(bytes)?;
    let sizes_len = count.checked_mul(8)?;
    let mut sizes = rest.get(..sizes_len)?;
    let mut data = rest.get(sizes_len..)?;
    fields.reserve(count);
    for _ in 0..count {
        let (name_size, after_name) = number(sizes)?;
        let (value_size, after_value) = number(after_name)?;
        sizes = after_value;
        let name = take(&mut data, name_size)?;
        let value = take(&mut data, value_size)?;
        fields.push((name, value));
    }
    data.is_empty().then_some(())
}

/// Writes a map.
pub fn serialize<'a>(fields: impl Iterator<Item = Field<'a>> + Clone) -> Vec<u8> {
    let (mut count, mut len) = (0_u32, 4_usize);
    for (name, value) in fields.clone() {
        count += 1;
        len += name.len() + value.len() + 10;
    }
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&count.to_le_bytes());
    for (name, value) in fields.clone() {
        for part in [name, value] {
            // A field of 4 GiB does not fit into the memory it would be in.
            let size = u32::try_from(part.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&size.to_le_bytes());
        }
    }
    for (name, value) in fields {
        for part in [name, value] {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
    }
    bytes
}

/// Empties a list of fields for reuse with another lifetime, keeping its memory.
pub fn recycle<'a>(mut fields: Vec<Field<'_>>) -> Vec<Field<'a>> {
    fields.clear();
    // An empty list has nothing that could outlive what it borrowed from; the collection is done in place.
    fields
        .into_iter()
        .map(|_| -> Field<'a> { (&[], &[]) })
        .collect()
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*head)).ok()?, rest))
}

fn take<'a>(data: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (part, rest) = data.split_at_checked(size)?;
    let (nul, rest) = rest.split_first()?;
    *data = rest;
    (*nul == 0).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &[Field<'static>] = &[
        (b":method", b"GET"),
        (b":path", b"/bytes/1"),
        (b"x-bytes", &[0xff, 0, 1]),
        (b"empty", b""),
    ];

    fn parsed(bytes: &[u8]) -> Option<Vec<Field<'_>>> {
        let mut fields = Vec::new();
        parse(bytes, &mut fields).map(|()| fields)
    }

    #[test]
    fn reads_what_the_abi_writes() {
        // By hand from the ABI, not by our own encoder.
        let bytes = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0a\0bc\0d\0\0";
        let expected: Vec<Field<'_>> = vec![(b"a", b"bc"), (b"d", b"")];
        assert_eq!(parsed(bytes), Some(expected.clone()));
        assert_eq!(serialize(expected.iter().copied()), bytes);
        assert_eq!(parsed(b""), Some(vec![]));
        assert_eq!(parsed(b"\0\0\0\0"), Some(vec![]));
    }

    #[test]
    fn refuses_every_truncation_and_extension() {
        let bytes = serialize(MAP.iter().copied());
        assert_eq!(parsed(&bytes).as_deref(), Some(MAP));
        for n in 1..bytes.len() {
            assert_eq!(parsed(&bytes[..n]), None, "{n}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(parsed(&longer), None);
        let mut huge = bytes;
        huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parsed(&huge), None);
    }

    #[test]
    fn recycling_keeps_the_memory() {
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(32);
        fields.extend_from_slice(MAP);
        let recycled = recycle(fields);
        assert!(recycled.is_empty());
        assert_eq!(recycled.capacity(), 32);
    }
}
