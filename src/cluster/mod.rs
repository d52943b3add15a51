//! Cluster definition and lock.
