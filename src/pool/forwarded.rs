//! What requests tell the servers of a pool about the way that they came.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::head::{Known, Names};

/// A field that Lintel writes into requests. A client's own field of this name never passes, a trusted proxy's only where
/// Lintel writes the field too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// The client's address, behind those that a trusted proxy sent.
    XForwardedFor,
    /// `http` or `https` as the client spoke it.
    XForwardedProto,
    /// Host as the client wrote it.
    XForwardedHost,
    /// The port that the client came to.
    XForwardedPort,
    /// Address, host and scheme as RFC 7239 writes them.
    Forwarded,
    /// The version that the client spoke and this process (RFC 9110 section 7.6.3). Without it no loop is noticed.
    Via,
    /// The id that the access log has; the client gets it too.
    XRequestId,
}

impl ForwardedHeader {
    /// All of them, which is what servers get unless told otherwise.
    pub const ALL: [Self; 7] = [
        Self::XForwardedFor,
        Self::XForwardedProto,
        Self::XForwardedHost,
        Self::XForwardedPort,
        Self::Forwarded,
        Self::Via,
        Self::XRequestId,
    ];

    fn known(self) -> Known {
        match self {
            Self::XForwardedFor => Known::XForwardedFor,
            Self::XForwardedProto => Known::XForwardedProto,
            Self::XForwardedHost => Known::XForwardedHost,
            Self::XForwardedPort => Known::XForwardedPort,
            Self::Forwarded => Known::Forwarded,
            Self::Via => Known::Via,
            Self::XRequestId => Known::XRequestId,
        }
    }
}

/// The fields that are listed, ready to be asked for by every request.
pub fn names(listed: &[ForwardedHeader]) -> Names {
    listed.iter().fold(Names::default(), |names, header| names.or(Names::of(&[header.known()])))
}
