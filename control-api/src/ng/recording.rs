//! Recordings by NG: begun, paused and ended within a call, as by REST.

use ng_protocol::Reply;
use relay::switchboard::RecordingAction;

use super::dialog::Dialog;
use super::refused::Refused;
use crate::calls::CallPath;
use crate::keys::Role;
use crate::{Control, recording_actions};

/// Does what is asked; the reply comes when it is in force.
pub(super) async fn obey(
    control: &Control,
    dialog: &Dialog,
    action: RecordingAction,
    role: Role,
) -> Result<Reply, Refused> {
    if control.recordings.is_none() {
        return Err(Refused::because(OFF));
    }
    let call = CallPath(dialog.entry().clone());
    recording_actions::obey(control, &call, action, role).await?;
    Ok(Reply::ok())
}

/// Why nothing can be recorded at all.
pub(super) const OFF: &str = "Sotto keeps no recordings: recordings.enabled is false";
