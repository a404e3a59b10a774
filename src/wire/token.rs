//! Lists of tokens in field values (RFC 9110 section 5.6.1).

/// The members of a comma-separated list, white space and empty members taken out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether every byte may stand in a token (RFC 9110 section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_its_members_without_white_space() {
        let members: Vec<_> = list(b" close ,, keep-alive\t,").collect();
        assert_eq!(members, [b"close".as_slice(), b"keep-alive"]);
        assert_eq!(list(b"").count(), 0);
    }
}
