//! Accepts TCP connections for a gRPC listener: no delay, and no more of them at once than the
//! limit. A connection holds its permit until it closes; above the limit further ones wait in the
//! kernel's queue, and so do those that the process has no descriptor for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long to wait after a failed accept (out of file descriptors, mostly), at first and at most:
/// the cause needs time to pass, and a failed accept leaves the connection in the kernel's queue.
const ACCEPT_RETRY_FIRST: Duration = Duration::from_millis(10);
const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(1);

/// A connection that counts against the limit while it lives.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// Accept the next connection, when the limit admits one.
pub(crate) async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Connection {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .expect("the semaphore of connections is never closed");
    let mut failures = Failures::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failures.end();
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection closed before it was served");
                    continue;
                }
                return Connection {
                    stream,
                    _permit: permit,
                };
            }
            Err(error) => tokio::time::sleep(failures.note(&error)).await,
        }
    }
}

/// Accepts that have failed since the last that did not. Said once, when they begin, and once when
/// they end: a process without descriptors would else fill its log.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
}

impl Failures {
    /// How long to wait after one more.
    fn note(&mut self, error: &io::Error) -> Duration {
        if self.count == 0 {
            tracing::warn!(
                %error,
                "a connection could not be accepted; it waits until the cause has passed \
                 (out of file descriptors? raise `ulimit -n`)"
            );
        }
        let pause = ACCEPT_RETRY_FIRST.saturating_mul(1 << self.count.min(16));
        self.count = self.count.saturating_add(1);
        pause.min(ACCEPT_RETRY_MAX)
    }

    /// One went through.
    fn end(&mut self) {
        if self.count > 0 {
            tracing::info!(failed = self.count, "connections are accepted again");
        }
        self.count = 0;
    }
}

/// Connections of `listener`; the stream does not end.
pub(crate) fn incoming(
    listener: TcpListener,
    permits: Arc<Semaphore>,
) -> impl Stream<Item = Result<Connection, io::Error>> {
    futures::stream::unfold((listener, permits), |(listener, permits)| async move {
        let connection = accept(&listener, &permits).await;
        Some((Ok(connection), (listener, permits)))
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[deny(clippy::missing_trait_methods)]
impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_a_failed_accept_doubles_up_to_a_second_and_begins_anew() {
        let error = io::Error::from_raw_os_error(24); // EMFILE
        let mut failures = Failures::default();
        let pauses: Vec<u128> = (0..9).map(|_| failures.note(&error).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        failures.count = u32::MAX;
        assert_eq!(failures.note(&error), ACCEPT_RETRY_MAX);
        failures.end();
        assert_eq!(failures.note(&error), ACCEPT_RETRY_FIRST);
    }
}
