//! Lists of tokens in field values (RFC 9110 section 5.6.1).

/// The members of a comma-separated list, white space and empty members taken out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether every byte may stand in a token (RFC 9110 section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| CLASSES[usize::from(*byte)] & TOKEN != 0)
}

/// The same without letters in upper case (RFC 9113 section 8.2.1).
pub fn is_lower_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| CLASSES[usize::from(*byte)] & (TOKEN | UPPER) == TOKEN)
}

/// Whether no byte is a control byte but the tab (RFC 9110 section 5.5).
pub fn has_no_control(text: &[u8]) -> bool {
    text.iter().all(|byte| CLASSES[usize::from(*byte)] & CONTROL == 0)
}

const TOKEN: u8 = 1;
const UPPER: u8 = 2;
const CONTROL: u8 = 4;

/// What each byte is: one load instead of a row of comparisons.
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x80u8 {
        let stands = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        let token = if stands || byte.is_ascii_alphanumeric() { TOKEN } else { 0 };
        let upper = if byte.is_ascii_uppercase() { UPPER } else { 0 };
        let control = if byte.is_ascii_control() && byte != b'\t' { CONTROL } else { 0 };
        table[byte as usize] = token | upper | control;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_what_the_rfcs_say() {
        for byte in 0..=u8::MAX {
            let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(&[b'a', byte]), token, "{byte}");
            assert_eq!(is_lower_token(&[b'a', byte]), token && !byte.is_ascii_uppercase(), "{byte}");
            assert_eq!(has_no_control(&[byte]), byte == b'\t' || byte >= b' ' && byte != 0x7f, "{byte}");
        }
        assert!(!is_token(b"") && !is_lower_token(b"") && has_no_control(b""));
    }

    #[test]
    fn a_list_gives_its_members_without_white_space() {
        let members: Vec<_> = list(b" close ,, keep-alive\t,").collect();
        assert_eq!(members, [b"close".as_slice(), b"keep-alive"]);
        assert_eq!(list(b"").count(), 0);
    }
}
