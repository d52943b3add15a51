//! Cryptography over BLS12-381.
