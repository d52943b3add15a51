//! The ceremony protocol: a pure state machine.
