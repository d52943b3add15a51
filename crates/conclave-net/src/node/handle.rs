//! How a caller speaks to its node.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use crate::{
    events::{Seen, Stopped},
    protocol::{Frame, Protocol},
};

/// What the caller can ask for; `M` is what operators say to each other.
#[derive(Debug, Clone)]
pub enum Command<M> {
    /// Send a message to an operator; dropped if the connection that the caller knows of is gone.
    Send {
        /// To whom, from 1.
        operator: u16,
        /// What.
        message: M,
    },
    /// Send a message to everybody who is connected. It is encoded once.
    Broadcast(M),
    /// Dial this address too. Ignored if it cannot be dialled.
    AddPeer(Multiaddr),
    /// An operator broke the rules of the layer above: disconnect it and let it wait before it comes back.
    Misbehaved {
        /// Who, from 1.
        operator: u16,
        /// What it did, for people.
        why: String,
    },
    /// Send what is queued, say goodbye and stop. The node's events end when it is done.
    Shutdown,
}

/// A command on its way: messages are frames already, for the sessions that the caller knows of.
#[derive(Debug)]
pub(super) enum Order {
    Send(u16, u64, Arc<Frame>),
    Broadcast(Vec<u64>, Arc<Frame>),
    AddPeer(Multiaddr),
    Misbehaved(u16, String),
    Shutdown,
}

/// Gives commands to a node. When the last one is dropped, the node stops.
pub struct Handle<P: Protocol> {
    orders: mpsc::Sender<Order>,
    seen: Seen,
    peer: PeerId,
    protocol: PhantomData<fn(P)>,
}

impl<P: Protocol> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Self::new(self.orders.clone(), self.seen.clone(), self.peer)
    }
}

impl<P: Protocol> Handle<P> {
    pub(super) fn new(orders: mpsc::Sender<Order>, seen: Seen, peer: PeerId) -> Self {
        Self {
            orders,
            seen,
            peer,
            protocol: PhantomData,
        }
    }

    /// Gives a command. Waits only while the node is busy, never for an operator.
    ///
    /// # Errors
    /// [`Stopped`] when the node has stopped.
    pub async fn give(&self, command: Command<P::Message>) -> Result<(), Stopped> {
        self.orders.send(self.order(command)).await.map_err(|_| Stopped)
    }

    /// Gives a command from a thread outside the async runtime.
    ///
    /// # Errors
    /// [`Stopped`] when the node has stopped.
    pub fn blocking_give(&self, command: Command<P::Message>) -> Result<(), Stopped> {
        self.orders
            .blocking_send(self.order(command))
            .map_err(|_| Stopped)
    }

    /// This node's own peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    fn order(&self, command: Command<P::Message>) -> Order {
        let session = |number: &AtomicU64| number.load(Ordering::SeqCst);
        let frame = |message: &P::Message| Arc::new(P::encode(message).with_fields(&P::fields(message)));
        match command {
            Command::Send { operator, message } => Order::Send(
                operator,
                self.seen.get(usize::from(operator)).map_or(0, session),
                frame(&message),
            ),
            Command::Broadcast(message) => {
                Order::Broadcast(self.seen.iter().map(session).collect(), frame(&message))
            }
            Command::AddPeer(address) => Order::AddPeer(address),
            Command::Misbehaved { operator, why } => Order::Misbehaved(operator, why),
            Command::Shutdown => Order::Shutdown,
        }
    }
}
