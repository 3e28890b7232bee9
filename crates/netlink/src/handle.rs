//! The socket, and one request with its answer.

use futures_util::StreamExt;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket as _;

use crate::error::{Error, Task, kernel_sentence};

/// A connection to the kernel, for the network namespace of the thread that opened it.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

/// A dump that changed under the kernel's hands is asked again this often before the last answer is taken.
const DUMP_ATTEMPTS: usize = 5;

impl Netlink {
    /// Opens a netlink socket in the calling thread's network namespace; it closes when the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Open`] where the socket cannot be made, or outside a tokio runtime.
    ///
    /// # Panics
    /// In a tokio runtime that was built without `enable_io`.
    pub fn open() -> Result<Netlink, Error> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|error| Error::Open(std::io::Error::new(std::io::ErrorKind::Unsupported, error)))?;
        let (mut connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        let socket = connection.socket_mut().socket_mut();
        // Both since Linux 4.12 and 4.3; without them an error has its number but no sentence.
        if socket.set_cap_ack(true).is_ok() {
            let _ = socket.set_ext_ack(true);
        }
        // An exchange ends with one of these: a stream that ends without is a connection that broke.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        runtime.spawn(connection);
        Ok(Netlink { handle })
    }

    /// Asks for a change.
    pub(crate) async fn change(
        &self,
        task: Task,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Error> {
        self.exchange(task, message, flags).await.map(|_| ())
    }

    /// Asks for one object.
    pub(crate) async fn one(
        &self,
        task: Task,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, Error> {
        let (mut answers, _) = self.exchange(task.clone(), message, 0).await?;
        answers.pop().ok_or_else(|| task.no_answer())
    }

    /// Asks for all objects of a kind.
    pub(crate) async fn dump(
        &self,
        task: Task,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        for _ in 1..DUMP_ATTEMPTS {
            let (answers, interrupted) = self.exchange(task.clone(), message.clone(), NLM_F_DUMP).await?;
            if !interrupted {
                return Ok(answers);
            }
        }
        self.exchange(task, message, NLM_F_DUMP).await.map(|(answers, _)| answers)
    }

    /// Sends one request and collects its answers, and whether the kernel says that they are inconsistent.
    ///
    /// A request for one object asks for the acknowledgement too: it ends the exchange even if the answer before it
    /// is one that the packet library cannot read.
    async fn exchange(
        &self,
        task: Task,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags | if flags == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        let Ok(mut stream) = self.handle.clone().request(request) else { return Err(task.no_answer()) };
        let (mut answers, mut interrupted) = (Vec::new(), false);
        while let Some(message) = stream.next().await {
            let (header, payload) = message.into_parts();
            interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            if let NetlinkPayload::InnerMessage(inner) = payload {
                answers.push(inner);
                continue;
            }
            let (code, rest) = if let NetlinkPayload::Error(error) = payload {
                (error.raw_code(), error.header)
            } else if let NetlinkPayload::Done(done) = payload {
                (done.code, Vec::new())
            } else {
                break;
            };
            return match code {
                0 => Ok((answers, interrupted)),
                code => Err(task.refused(code.saturating_abs(), kernel_sentence(&rest))),
            };
        }
        Err(task.no_answer())
    }
}
