//! Event: what can happen that an entry tells of; a closed set.

use crate::words::words;

words! {
    /// The type of an event (PCI DSS 10.2.1, 10.2.2).
    Event {
        /// The log was opened, at a start: the first entry, and the first behind a closed one.
        LogOpened = "log.opened",
        /// The log was closed; only an opened one follows.
        LogClosed = "log.closed",
        /// A line without an end, left by a crash, was cut off.
        LogTornLineCut = "log.torn_line_cut",
        /// A checkpoint without an end, left by a crash, was cut off.
        LogTornCheckpointCut = "log.torn_checkpoint_cut",
        /// The anchor did not take a checkpoint, for the first time since it last did.
        LogAnchorFailed = "log.anchor_failed",
        /// The anchor takes checkpoints again.
        LogAnchorRecovered = "log.anchor_recovered",
        /// The log was verified.
        LogVerified = "log.verified",
        /// Entries were read or exported.
        LogRead = "log.read",
        /// The program has started.
        ProcessStarted = "process.started",
        /// The program stops.
        ProcessStopped = "process.stopped",
        /// A configuration is in force.
        ConfigurationLoaded = "configuration.loaded",
        /// A configuration was refused.
        ConfigurationRefused = "configuration.refused",
        /// A request whose key proved itself.
        AuthAccepted = "auth.accepted",
        /// A request without a key that is valid.
        AuthDenied = "auth.denied",
        /// A request whose key may not do that.
        AuthForbidden = "auth.forbidden",
        /// Too many denied requests from one place.
        AuthAlarm = "auth.alarm",
        /// A key was made.
        KeyCreated = "key.created",
        /// A key was replaced by another one.
        KeyRotated = "key.rotated",
        /// A key was revoked.
        KeyRevoked = "key.revoked",
        /// A token for a call's model was issued.
        ModelTokenIssued = "model_token.issued",
        /// A token for a call's model was revoked.
        ModelTokenRevoked = "model_token.revoked",
        /// The keys of recordings were read again.
        RecordingKeysLoaded = "recording_keys.loaded",
        /// A call was opened.
        CallOpened = "call.opened",
        /// A call's media was changed.
        CallChanged = "call.changed",
        /// A call's media is copied to somebody else, or to another place; of a session it is
        /// silence.
        CallSubscribed = "call.subscribed",
        /// Copies of a call's media ended.
        CallUnsubscribed = "call.unsubscribed",
        /// Somebody asked that a call ends; a secure session may hold that back.
        CallHungUp = "call.hung_up",
        /// A call ended.
        CallEnded = "call.ended",
        /// A call was armed: it can be cut with a look-ahead.
        SessionArmed = "session.armed",
        /// A call is no longer armed.
        SessionDisarmed = "session.disarmed",
        /// A secure session is about to be entered: without this on the disk nothing is cut, and
        /// nobody is told that something was.
        SessionEntering = "session.entering",
        /// A secure session was entered, or was to be.
        SessionEntered = "session.entered",
        /// A secure session has its verdict.
        SessionConcluded = "session.concluded",
        /// A secure session was ended early by somebody.
        SessionCancelled = "session.cancelled",
        /// A call stays cut until an operator acts.
        SessionHeld = "session.held",
        /// The route of a call is open again.
        SessionReopened = "session.reopened",
        /// What was keyed was handed to a sink.
        SinkDelivered = "sink.delivered",
        /// Sealed data was fetched.
        SealedFetched = "sealed.fetched",
        /// A recording was begun.
        RecordingStarted = "recording.started",
        /// A recording holds silence from now on.
        RecordingPaused = "recording.paused",
        /// A recording was ended before its call.
        RecordingStopped = "recording.stopped",
        /// A recording is whole on the disk.
        RecordingCompleted = "recording.completed",
        /// A recording failed.
        RecordingFailed = "recording.failed",
        /// A recording was exported.
        RecordingExported = "recording.exported",
        /// A recording was erased.
        RecordingErased = "recording.erased",
        /// The keys of recordings were wrapped anew.
        RecordingRewrapped = "recording.rewrapped",
        /// A webhook's event was given up.
        WebhookGivenUp = "webhook.given_up",
        /// A webhook's event was sent again because somebody asked for it.
        WebhookReplayed = "webhook.replayed",
        /// Another request that may have changed something.
        ApiRequest = "api.request",
    }
}

words! {
    /// Whether what was asked for was done.
    Outcome {
        /// It was done.
        Success = "success",
        /// It was refused, or went wrong.
        Failure = "failure",
    }
}

words! {
    /// By which door it came.
    Listener {
        /// The REST API.
        Control = "control",
        /// Metrics and health.
        Metrics = "metrics",
        /// A call's MCP server.
        Mcp = "mcp",
        /// SIP.
        Sip = "sip",
        /// rtpengine's control protocol.
        Ng = "ng",
        /// The connection of a call's engine, which the relay has made.
        Engine = "engine",
        /// Callers by AudioSocket.
        AudioSocket = "audiosocket",
        /// A command on the machine itself.
        CommandLine = "command_line",
        /// None: the relay did it by itself.
        Internal = "internal",
    }
}

words! {
    /// The kind of what was affected.
    Kind {
        /// A call.
        Call = "call",
        /// A secure session.
        Session = "session",
        /// A recording.
        Recording = "recording",
        /// A key of the API.
        Key = "key",
        /// A token of a call's model.
        ModelToken = "model_token",
        /// What was sealed.
        SealedData = "sealed_data",
        /// An event that waits for a webhook.
        WebhookEvent = "webhook_event",
        /// The configuration.
        Configuration = "configuration",
        /// This log.
        AuditLog = "audit_log",
        /// The API as a whole.
        Api = "api",
        /// The process.
        Process = "process",
    }
}

words! {
    /// What a key is for.
    Role {
        /// Runs the relay.
        Operator = "operator",
        /// Drives calls.
        Script = "script",
        /// Is an engine.
        Engine = "engine",
        /// Fetches what was sealed.
        Payment = "payment",
        /// A model with a token for one call.
        Model = "model",
    }
}

words! {
    /// A request's method.
    Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
    }
}
