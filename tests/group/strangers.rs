//! Strangers who open connections, say nothing that makes sense, and open those again that are closed.

// Not every test file uses everything.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// What a stranger does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Hold,
    /// Sends what nobody understands.
    Garbage,
    /// Begins as everybody does, and goes on very slowly.
    Slow,
}

/// Strangers at work until they are dropped.
pub struct Strangers {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// An address that is nobody else's here.
pub fn one_address() -> Vec<Ipv4Addr> {
    vec![Ipv4Addr::new(127, 9, 9, 9)]
}

/// Addresses of different /16.
pub fn many_addresses() -> Vec<Ipv4Addr> {
    (0..=255)
        .map(|network| Ipv4Addr::new(127, network, 0, 1))
        .collect()
}

impl Strangers {
    /// So many connections to a port of this machine, from these addresses in turn. Returns once all have been opened.
    pub fn at(port: u16, connections: usize, from: &[Ipv4Addr], mode: Mode) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicUsize::new(0));
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let from: Vec<Ipv4Addr> = from.iter().copied().cycle().take(connections).collect();
        let thread = std::thread::spawn({
            let (stop, made) = (stop.clone(), made.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for from in from {
                        tokio::spawn(call_again_and_again(from, to, mode, made.clone()));
                    }
                    while !stop.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                });
            }
        });
        let strangers = Self {
            stop,
            made,
            thread: Some(thread),
        };
        let begun = Instant::now();
        while strangers.made() < connections && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        strangers
    }

    /// Connections so far.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn call_again_and_again(from: Ipv4Addr, to: SocketAddr, mode: Mode, made: Arc<AtomicUsize>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        if let Ok(mut stream) = socket.connect(to).await {
            made.fetch_add(1, Ordering::SeqCst);
            let opening: &[u8] = match mode {
                Mode::Hold => &[],
                Mode::Garbage => &[0xa7; 4096],
                Mode::Slow => b"\x13/multistream/1.0.0\n",
            };
            let mut sent = stream.write_all(opening).await;
            while sent.is_ok() {
                let mut answer = [0; 64];
                match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut answer)).await {
                    Ok(Ok(0) | Err(_)) => break,
                    Err(_) if mode == Mode::Slow => sent = stream.write_all(b"\x07").await,
                    Ok(Ok(_)) | Err(_) => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
