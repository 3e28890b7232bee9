//! Being told when links or routes change.

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::SocketAddr;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::error::Error;

/// Hears of changes of links and routes in the network namespace of the thread that opened it.
///
/// What has changed is not told: many changes are one, and the kernel may drop what it has to say of them when there are too many.
/// Whoever hears of one looks again at what it needs to know.
pub struct Watch {
    messages: BoxStream<'static, (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Watch {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Error::Open`] where the socket cannot be made, or outside a tokio runtime.
    ///
    /// # Panics
    /// In a tokio runtime that was built without `enable_io`.
    pub fn open() -> Result<Watch, Error> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|error| Error::Open(std::io::Error::new(std::io::ErrorKind::Unsupported, error)))?;
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups).map_err(Error::Open)?;
        runtime.spawn(connection);
        Ok(Watch { messages: messages.boxed() })
    }

    /// Waits for a change, and takes in all that are told of by then. `false` when nothing will be told any more.
    ///
    /// To drop the future loses no change.
    pub async fn changed(&mut self) -> bool {
        let heard = self.messages.next().await.is_some();
        while heard && futures_util::FutureExt::now_or_never(self.messages.next()).flatten().is_some() {}
        heard
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
