//! gzip without compression (RFC 1952 around the stored blocks of RFC 1951). It gives the same bytes
//! on every machine and with every version of every library, so that the demo's layers have the
//! same digests everywhere.

/// The largest stored block.
const BLOCK: usize = 0xFFFF;

/// Wraps bytes in a gzip file.
pub(super) fn wrap(content: &[u8]) -> Vec<u8> {
    // Magic, deflate, no flags, no time, no hint, unknown system.
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    let mut blocks: Vec<&[u8]> = content.chunks(BLOCK).collect();
    if blocks.is_empty() {
        blocks.push(&[]);
    }
    let last = blocks.len() - 1;
    for (at, block) in blocks.into_iter().enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(at == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(crc32(content).to_le_bytes());
    out.extend((content.len() as u32).to_le_bytes());
    out
}

/// CRC-32 as in RFC 1952, section 8, bit by bit: the demo's layers are small.
fn crc32(content: &[u8]) -> u32 {
    !content.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn blocks_carry_everything() {
        for size in [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let content: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let wrapped = wrap(&content);
            let mut rest = &wrapped[10..];
            let mut found: Vec<u8> = Vec::new();
            loop {
                let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
                found.extend(&rest[5..5 + length]);
                let last = rest[0] == 1;
                rest = &rest[5 + length..];
                if last {
                    break;
                }
            }
            assert_eq!(found, content);
            assert_eq!(rest.len(), 8);
        }
    }
}
