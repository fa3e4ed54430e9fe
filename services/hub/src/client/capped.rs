//! A bound on what one answer may be on the wire.
//!
//! The body has its own; but a peer can send `100 Continue` without an end, or its body byte by byte in chunks, and
//! each byte of a body costs the work of many then.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which no more than so many bytes are read.
#[derive(Debug)]
pub(super) struct Capped<T> {
    inner: T,
    left: usize,
}

impl<T> Capped<T> {
    pub(super) fn new(inner: T, most: usize) -> Self {
        Self { inner, left: most }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Capped<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let Some(left) = self.left.checked_sub(buffer.filled().len() - before) else {
            // An error comes without bytes.
            buffer.set_filled(before);
            return Poll::Ready(Err(ErrorKind::FileTooLarge.into()));
        };
        self.left = left;
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Capped<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_fits_is_read_and_more_is_an_error() {
        let read = async |most: usize| {
            let mut read = Vec::new();
            let ended = Capped::new(&b"twelve bytes"[..], most).read_to_end(&mut read).await;
            ended.map_err(|error| error.kind())
        };
        assert_eq!((read(13).await, read(12).await), (Ok(12), Ok(12)));
        assert_eq!(read(11).await, Err(ErrorKind::FileTooLarge));
    }
}
