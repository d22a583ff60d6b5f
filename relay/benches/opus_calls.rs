//! What a call costs whose caller speaks Opus and whose engine speaks PCMU: calls a core can carry,
//! and the codec's own share of that. A relay with one worker on loopback, by sockets.
//!
//! usage: cargo bench -p relay --bench opus_calls [-- CALLS ROUNDS SECONDS]

#![expect(clippy::unwrap_used, reason = "a bench may")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use dtmf::g711::Law;
use opus::{Application, Bitrate, Channels};
use relay::codec::{Codec, Decoder, Encoder, NARROW};
use relay::io::IoMethod;
use relay::switchboard::{CallId, LegMedia, SourceRule};
use relay::wire::rtp::Header;
use relay::{CallRequest, RelayConfig, Started};

const PACKET_TIME: Duration = Duration::from_millis(20);
const FIRST: u16 = 20_000;
const WARM_UP: Duration = Duration::from_secs(2);
/// Slices of a packet time in which a part of the streams is sent.
const SLICES: usize = 20;
/// Packets of speech that are said over and over: 2 s.
const SPEECH: usize = 100;
const OPUS: u8 = 111;
/// As Chromium sends.
const BITS: i32 = 32_000;

fn main() {
    // Cargo adds words of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |place: usize, usual| words.get(place).map_or(usual, |word| word.parse().unwrap());
    let (calls, rounds, seconds) = (number(0, 100), number(1, 5), number(2, 4));
    let speech = Speech::new();
    let measured: Vec<(f64, f64)> = (0..rounds)
        .map(|_| (whole(calls, &speech, Duration::from_secs(seconds as u64)), codec(&speech)))
        .collect();
    let call = median(measured.iter().map(|(call, _)| *call));
    let codec = median(measured.iter().map(|(_, codec)| *codec));
    println!("{calls} calls, Opus to PCMU and back, medians of {rounds} rounds:");
    println!(
        "  a call takes {:.2} ms of a core each second: {:.0} calls a core",
        call * 1e3,
        1.0 / call
    );
    println!("  of it decoding and encoding: {:.2} ms, {:.0} %", codec * 1e3, 100.0 * codec / call);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Something like speech, as both parties send it.
struct Speech {
    opus: Vec<Vec<u8>>,
    codes: Vec<[u8; 160]>,
    pcm: Vec<[i16; 160]>,
}

impl Speech {
    fn new() -> Speech {
        let mut encoder = opus::Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
        encoder.set_bitrate(Bitrate::Bits(BITS)).unwrap();
        encoder.set_inband_fec(true).unwrap();
        let mut speech = Speech { opus: Vec::new(), codes: Vec::new(), pcm: Vec::new() };
        for frame in 0..SPEECH {
            let wide: Vec<i16> = (0..960).map(|at| sample(frame * 960 + at, 48_000)).collect();
            let narrow: [i16; 160] = std::array::from_fn(|at| sample(frame * 160 + at, 8000));
            let mut wire = [0; 1500];
            let len = encoder.encode(&wide, &mut wire).unwrap();
            speech.opus.push(wire[..len].to_vec());
            speech.codes.push(narrow.map(|sample| Law::Mu.encode(sample)));
            speech.pcm.push(narrow);
        }
        speech
    }
}

/// Harmonics of a voice that rises and falls, louder and fainter four times a second.
fn sample(at: usize, rate: u32) -> i16 {
    let time = at as f64 / f64::from(rate);
    let pitch = std::f64::consts::TAU * (120.0 * time + 6.0 * (time * 5.0).sin());
    let voice: f64 = (1..20).map(|n| (pitch * f64::from(n)).sin() / f64::from(n)).sum();
    (4000.0 * voice * (0.55 + 0.45 * (time * 8.0 * std::f64::consts::PI).sin())) as i16
}

/// Seconds of processor time that decoding and encoding take for a second of one call.
fn codec(speech: &Speech) -> f64 {
    let mut decoder = Decoder::new(Codec::Opus, NARROW).unwrap();
    let mut encoder = Encoder::new(Codec::Opus, NARROW).unwrap();
    let (mut pcm, mut wire) = ([0; 2880], [0; 1500]);
    let before = thread_time();
    for (payload, said) in speech.opus.iter().zip(&speech.pcm) {
        decoder.decode(payload, &mut pcm).unwrap();
        encoder.encode(said, &mut wire).unwrap();
    }
    (thread_time() - before).as_secs_f64() / (SPEECH as f64 / 50.0)
}

/// Seconds of the worker's time for a second of one call.
fn whole(calls: usize, speech: &Speech, time: Duration) -> f64 {
    let started = relay::start(&config(calls)).unwrap();
    let ends = [socket(), socket()];
    let streams = open_calls(&started, calls, ends.each_ref().map(|end| end.local_addr().unwrap()));
    let (stopped, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let share = std::thread::scope(|scope| {
        scope.spawn(|| talk(&ends, &streams, speech, &stopped, &sent));
        std::thread::sleep(WARM_UP);
        let (before, begun) = (worker_time(), sent.load(Ordering::Relaxed));
        std::thread::sleep(time);
        let (after, ended) = (worker_time(), sent.load(Ordering::Relaxed));
        stopped.store(true, Ordering::Relaxed);
        // Seconds of one call that were really said: the talker may be late.
        let said = (ended - begun) as f64 / 100.0;
        (after - before).as_secs_f64() / said
    });
    let Started { relay, threads, .. } = started;
    drop(relay);
    threads.join();
    share
}

fn socket() -> UdpSocket {
    UdpSocket::bind(("127.0.0.1", 0)).unwrap()
}

fn config(calls: usize) -> RelayConfig {
    RelayConfig {
        media_v4: Some(Ipv4Addr::LOCALHOST),
        media_v6: None,
        ports: FIRST..=FIRST + 4 * calls as u16 - 1,
        workers: 1,
        pin: false,
        io: IoMethod::Sockets,
        io_interfaces: Vec::new(),
        media_timeout: Duration::from_secs(60),
        recordings: None,
        seed: [7; 32],
        unix_time: Duration::from_secs(1_800_000_000),
    }
}

/// Opens calls; where their callers' and their engines' packets go to.
fn open_calls(started: &Started, calls: usize, peers: [SocketAddr; 2]) -> Vec<SocketAddr> {
    let opened = (0..calls).map(|number| {
        let caller = leg(peers[0], Codec::Opus, OPUS);
        let engine = leg(peers[1], Codec::G711(Law::Mu), 0);
        let call = CallId(number as u128 + 1);
        let request =
            CallRequest { call, caller, engine, armed: None, record: false, links: [None, None] };
        wait_for(started.relay.open_call(request)).unwrap()
    });
    opened.flat_map(|call| [call.caller.rtp, call.engine.rtp]).collect()
}

fn leg(remote: SocketAddr, codec: Codec, payload_type: u8) -> LegMedia {
    LegMedia {
        remote_rtp: remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        codec,
        payload_type,
        telephone_event: None,
        redundancy: None,
        wants_events: false,
        ptime: PACKET_TIME,
        they_send: true,
        they_receive: true,
        srtp: None,
        source: SourceRule::Signalled,
    }
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Sends each stream's packets, spread over a packet time: callers' and engines' in turn.
fn talk(
    ends: &[UdpSocket; 2],
    streams: &[SocketAddr],
    speech: &Speech,
    stopped: &AtomicBool,
    sent: &AtomicU64,
) {
    let (mut due, mut sequence, mut packet) = (Instant::now(), 0_u16, [0; 1500]);
    while !stopped.load(Ordering::Relaxed) {
        sequence = sequence.wrapping_add(1);
        let place = usize::from(sequence) % SPEECH;
        for part in streams.chunks((streams.len() / SLICES).next_multiple_of(2).max(2)) {
            for (number, address) in part.iter().enumerate() {
                let (payload_type, step, payload) = match number % 2 {
                    0 => (OPUS, 960, &speech.opus[place][..]),
                    _ => (0, 160, &speech.codes[place][..]),
                };
                let timestamp = u32::from(sequence) * step;
                let header = Header { marker: false, payload_type, sequence, timestamp, ssrc: 7 };
                header.write(packet.first_chunk_mut().unwrap());
                packet[12..12 + payload.len()].copy_from_slice(payload);
                ends[number % 2].send_to(&packet[..12 + payload.len()], address).unwrap();
            }
            sent.fetch_add(part.len() as u64, Ordering::Relaxed);
            due += PACKET_TIME / SLICES as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processor time of the thread `media-0`: the first figure of its `schedstat`, in nanoseconds.
fn worker_time() -> Duration {
    let threads =
        std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let is_worker = |thread: &std::path::PathBuf| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "media-0")
    };
    let worker = { threads }.find(is_worker).unwrap();
    let told = std::fs::read_to_string(worker.join("schedstat")).unwrap();
    Duration::from_nanos(told.split_whitespace().next().unwrap().parse().unwrap())
}
