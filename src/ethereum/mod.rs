//! Ethereum facts: networks, domains, deposits, keystores.
