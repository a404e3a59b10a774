//! Fields of requests and responses: how tests write them down and look them up.

pub type Fields = Vec<(String, String)>;

/// The first value of a field.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    all(fields, name).into_iter().next()
}

/// Every value of a field, in order.
pub fn all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

/// The pseudo fields of a request for the host `a.test`, and then these.
pub fn asking<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)];
    pseudo.into_iter().chain(more.iter().copied()).collect()
}

/// A GET of a path.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    asking("GET", path, &[])
}

/// A POST to a path.
pub fn post(path: &str) -> Vec<(&str, &str)> {
    asking("POST", path, &[])
}

const OF_ONE_HOP: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// What kind of block the fields are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Request,
    Response,
    Trailers,
}

/// RFC 9113 section 8.2 and 8.3: what Lintel must never send.
pub fn check(fields: &Fields, block: Block) -> Result<(), String> {
    let pseudo = fields.iter().take_while(|(name, _)| name.starts_with(':')).count();
    let mut names: Vec<&str> = fields[..pseudo].iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let fits = match block {
        Block::Trailers => names.is_empty(),
        Block::Response => names == [":status"] && is_status(&fields[0].1),
        Block::Request => {
            names == [":authority", ":method", ":path", ":scheme"]
                || names == [":method", ":path", ":scheme"]
                || (names == [":authority", ":method", ":path", ":protocol", ":scheme"]
                    && field(fields, ":method") == Some("CONNECT"))
        }
    };
    if !fits {
        return Err(format!("pseudo fields {names:?} in {block:?} {fields:?}"));
    }
    for (name, value) in &fields[pseudo..] {
        check_field(name, value).map_err(|why| format!("{why}: {name:?}: {value:?}"))?;
    }
    Ok(())
}

fn is_status(value: &str) -> bool {
    value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_field(name: &str, value: &str) -> Result<(), &'static str> {
    let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_sign) {
        return Err("not a name of lower case");
    }
    if OF_ONE_HOP.contains(&name) || (name == "te" && value != "trailers") {
        return Err("a field of HTTP/1.1 connections");
    }
    if value.contains(['\r', '\n', '\0']) || value.trim_matches([' ', '\t']) != value {
        return Err("not a value");
    }
    Ok(())
}
