//! The libp2p node.
