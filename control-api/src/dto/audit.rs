//! Bodies about the audit log.

use audit_log::export::Exported;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Entries of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    /// The entries, oldest first.
    data: Vec<AuditEntry>,
    /// Where the next page begins; absent at the end of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<u64>,
}

/// One entry.
#[derive(Serialize, ToSchema)]
pub struct AuditEntry {
    /// The entry, with the members that its line has in the file.
    #[schema(value_type = Object)]
    entry: Value,
    /// The SHA-256 of its line.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
}

impl AuditPage {
    /// A page of a log that has so many entries.
    #[must_use]
    pub fn of(entries: &[Exported], end: u64) -> AuditPage {
        let next = entries.last().map(|last| last.record.seq + 1);
        let view = |it: &Exported| AuditEntry {
            entry: serde_json::from_str(&it.line).unwrap_or_default(),
            hash: it.hash.to_string(),
        };
        AuditPage {
            data: entries.iter().map(view).collect(),
            next_cursor: next.filter(|next| *next < end),
        }
    }
}
