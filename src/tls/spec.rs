//! What a user writes under `listeners.NAME.tls`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::form;

/// TLS to clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Certificates, picked by SNI: an exact name, then a wildcard, then the first of the list.
    pub certificates: Vec<CertificateSpec>,
    /// The oldest protocol version that is answered.
    #[serde(default)]
    pub min_version: MinVersion,
    /// Asks clients for a certificate. Off unless written.
    #[serde(default)]
    pub client_auth: Option<ClientAuthSpec>,
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// PEM file with the leaf first, then its issuers.
    #[serde(deserialize_with = "form::path")]
    pub cert: PathBuf,
    /// PEM file with the private key (PKCS#8, SEC1 or PKCS#1).
    #[serde(deserialize_with = "form::path")]
    pub key: PathBuf,
}

/// The oldest TLS version to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = form::also_numbers)]
pub enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuthSpec {
    /// PEM file with the authorities whose certificates are accepted.
    #[serde(deserialize_with = "form::path")]
    pub ca: PathBuf,
    /// `required` ends the handshake without a valid certificate; `optional` lets clients without one in.
    #[serde(default)]
    pub mode: ClientAuthMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    #[default]
    Required,
    Optional,
}
