//! rtpengine as the relay under load, driven over its NG protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use loadtest::client::NotDone;
use loadtest::relay_process::Failure;
use loadtest::sdp;
use rand::CryptoRng;

use super::bencode::{Value, dictionary, find};
use super::peer::{CallKind, OpenedCall, Peer, Verdict, caller_key, leg};
use super::process::Process;

/// Where it listens for commands.
const NG: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2223);
/// Longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pings until it has started, at one each [`LOOK`].
const PINGS: u32 = 100;
const LOOK: Duration = Duration::from_millis(100);
/// The only mode of its that keeps tones from the other side as well as events.
const DTMF_SECURITY: (&str, &str) = ("DTMF-security", "silence");
/// ms by which it delays audio, so that the beginning of a tone can still be taken back.
const DELAY_BUFFER: (&str, i64) = ("delay-buffer", 60);

/// An rtpengine that runs in user space.
pub(crate) struct Rtpengine {
    runs: Runs,
    socket: UdpSocket,
    asked: u64,
    calls: u64,
}

enum Runs {
    /// Started for the test, and ended after it.
    Here(Child),
    /// By somebody else, in a process that may be known.
    Elsewhere(Option<u32>),
}

impl Rtpengine {
    /// Starts the program with one media thread, receiving at `media`.
    pub(crate) fn start(binary: &Path, media: Ipv4Addr) -> Result<Rtpengine, Failure> {
        let mut command = Command::new(binary);
        command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr"]);
        command.args(["--log-level=3", "--port-min=10000", "--port-max=20000"]);
        command.args(["--delete-delay=0", "--timeout=3600", "--num-threads=1"]);
        command.arg(format!("--interface={media}")).arg(format!("--listen-ng={NG}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().map_err(Failure::kernel("start rtpengine"))?;
        let mut rtpengine = Rtpengine::reach(Runs::Here(child), NG.into())?;
        rtpengine.wait_until_ready()?;
        Ok(rtpengine)
    }

    /// Finds one that runs, and answers at this NG port.
    pub(crate) fn find(address: SocketAddr, pid: Option<u32>) -> Result<Rtpengine, Failure> {
        let mut rtpengine = Rtpengine::reach(Runs::Elsewhere(pid), address)?;
        rtpengine.ask("ping", &mut Vec::new())?;
        Ok(rtpengine)
    }

    fn reach(runs: Runs, ng: SocketAddr) -> Result<Rtpengine, Failure> {
        let socket = connect(ng).map_err(Failure::kernel("reach rtpengine"))?;
        Ok(Rtpengine { runs, socket, asked: 0, calls: 0 })
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        for _ in 0..PINGS {
            if self.ask("ping", &mut Vec::new()).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(NotDone { doing: "start", detail: "rtpengine answers no ping".to_owned() }.into())
    }

    fn ask(
        &mut self,
        doing: &'static str,
        members: &mut Vec<(&str, Value<'_>)>,
    ) -> Result<Vec<u8>, Failure> {
        self.asked += 1;
        members.push(("command", Value::Text(doing)));
        // Another load test's would be answered with what that was answered.
        let cookie = format!("load-{}-{} ", std::process::id(), self.asked);
        let mut request = cookie.clone().into_bytes();
        request.extend(dictionary(members));
        let mut reply = vec![0; 1 << 16];
        let exchange = self.socket.send(&request).and_then(|_| self.socket.recv(&mut reply));
        reply.truncate(exchange.map_err(Failure::kernel("ask rtpengine"))?);
        let body = reply.strip_prefix(cookie.as_bytes()).unwrap_or_default();
        match find(body, "result").as_deref() {
            Some("ok" | "pong") => Ok(body.to_vec()),
            result => {
                let why = find(body, "error-reason").unwrap_or_default();
                Err(NotDone { doing, detail: format!("{result:?} {why}") }.into())
            }
        }
    }

    fn sdp(
        &mut self,
        doing: &'static str,
        members: &mut Vec<(&str, Value<'_>)>,
    ) -> Result<String, Failure> {
        let reply = self.ask(doing, members)?;
        let missing = || NotDone { doing, detail: "no SDP in the reply".to_owned() };
        Ok(find(&reply, "sdp").ok_or_else(missing)?)
    }
}

impl Peer for Rtpengine {
    fn process(&self) -> Process {
        match &self.runs {
            Runs::Here(child) => Process::new(child.id()),
            Runs::Elsewhere(pid) => Process::elsewhere(*pid),
        }
    }

    fn open(
        &mut self,
        ends: [SocketAddrV4; 2],
        kind: CallKind,
        rng: &mut dyn CryptoRng,
    ) -> Result<OpenedCall, Failure> {
        self.calls += 1;
        let id = format!("load-{}-{}", std::process::id(), self.calls);
        let ours = kind.srtp.then(|| caller_key(rng));
        let [caller, engine] = ends.map(SocketAddr::from);
        let offered = sdp::offer(caller, ours.as_ref());
        let members = |text| {
            let mut members = vec![
                ("call-id", Value::Text(&id)),
                ("from-tag", Value::Text("caller")),
                ("sdp", text),
            ];
            if kind.secure {
                members.push((DTMF_SECURITY.0, Value::Text(DTMF_SECURITY.1)));
                members.push((DELAY_BUFFER.0, Value::Number(DELAY_BUFFER.1)));
            }
            members
        };
        let mut offer = members(Value::Text(&offered));
        offer.push(("transport-protocol", Value::Text("RTP/AVP")));
        offer.push(("ICE", Value::Text("remove")));
        let to_engine = self.sdp("offer", &mut offer)?;
        let answered = sdp::offer(engine, None);
        let mut answer = members(Value::Text(&answered));
        answer.push(("to-tag", Value::Text("engine")));
        let to_caller = self.sdp("answer", &mut answer)?;
        let theirs = ours.as_ref().and_then(|_| sdp::key(&to_caller));
        let address = |sdp: &str| match sdp::media_address(sdp) {
            Some(SocketAddr::V4(address)) => Ok(address),
            Some(SocketAddr::V6(_)) | None => {
                Err(NotDone { doing: "open a call", detail: "no IPv4 address".to_owned() })
            }
        };
        let legs = [
            leg(address(&to_caller)?, ours.as_ref(), theirs.as_ref()),
            leg(address(&to_engine)?, None, None),
        ];
        Ok(OpenedCall { id, legs })
    }

    fn enter(&mut self, call: &str) -> Result<(), Failure> {
        self.ask("block DTMF", &mut masking(call)).map(|_| ())
    }

    fn flipped_within(&self, _: f64) -> Result<Option<f64>, Failure> {
        Ok(None)
    }

    fn collect(&mut self, _: &str) -> Result<(), Failure> {
        let detail = "rtpengine collects nothing".to_owned();
        Err(NotDone { doing: "collect a card number", detail }.into())
    }

    fn verdict(&mut self, _: &str) -> Result<Verdict, Failure> {
        Ok(Verdict::Pending)
    }

    fn leave(&mut self, call: &str) -> Result<(), Failure> {
        self.ask("unblock DTMF", &mut masking(call)).map(|_| ())
    }

    fn close(&mut self, call: &str) -> Result<(), Failure> {
        let mut members = vec![("call-id", Value::Text(call))];
        self.ask("delete", &mut members).map(|_| ())
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        if let Runs::Here(child) = &mut self.runs {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn masking(call: &str) -> Vec<(&str, Value<'_>)> {
    vec![
        ("call-id", Value::Text(call)),
        ("from-tag", Value::Text("caller")),
        (DTMF_SECURITY.0, Value::Text(DTMF_SECURITY.1)),
        (DELAY_BUFFER.0, Value::Number(DELAY_BUFFER.1)),
    ]
}

fn connect(ng: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match ng.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(ng)?;
    Ok(socket)
}
